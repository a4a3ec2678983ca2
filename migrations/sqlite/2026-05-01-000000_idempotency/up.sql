-- What callers were answered under keys of their own, so that the same call again has no other effect.
CREATE TABLE idempotency (
    caller TEXT NOT NULL,
    route TEXT NOT NULL,
    key TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    status INTEGER NOT NULL,
    answer TEXT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (caller, route, key)
);

CREATE INDEX idempotency_expires_at_ms ON idempotency (expires_at_ms);
