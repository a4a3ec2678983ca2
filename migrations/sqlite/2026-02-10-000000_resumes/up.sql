-- Sessions that a node had when it stopped: what their clients need to take them up again.
CREATE TABLE resumes (
    pid TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    record TEXT NOT NULL,
    expires_at_ms BIGINT NOT NULL
) WITHOUT ROWID;

CREATE INDEX resumes_expires_at_ms ON resumes (expires_at_ms);
