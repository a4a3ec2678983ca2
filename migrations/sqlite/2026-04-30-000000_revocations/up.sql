-- Whose tokens count only if they were issued at this time or later. A row stays: how long the tokens
-- before it would last is not known.
CREATE TABLE revocations (
    user_id TEXT NOT NULL PRIMARY KEY,
    issued_before_ms BIGINT NOT NULL
) WITHOUT ROWID;
