-- Sessions that a node had when it stopped: what their clients need to take them up again.
CREATE TABLE resumes (
    pid TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL,
    record TEXT NOT NULL,
    expires_at_ms BIGINT NOT NULL
);

CREATE INDEX resumes_expires_at_ms ON resumes (expires_at_ms);
