-- One row per order. It outlives its order as a tombstone, so that last_seq and rev go on from there.
CREATE TABLE orders (
    id TEXT NOT NULL PRIMARY KEY,
    status TEXT NULL,
    driver_id TEXT NULL,
    driver_name TEXT NULL,
    ended_at_ms BIGINT NULL,
    last_seq BIGINT NOT NULL DEFAULT 0,
    rev BIGINT NOT NULL DEFAULT 0,
    version BIGINT NULL,
    last_location TEXT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    deleted_at_ms BIGINT NULL
) WITHOUT ROWID;

-- Chat. WITHOUT ROWID keeps the messages of an order side by side on disk, in the order of a page.
CREATE TABLE messages (
    order_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    sender_id TEXT NOT NULL,
    sender_name TEXT NOT NULL,
    sender_role TEXT NOT NULL,
    kind TEXT NOT NULL,
    content TEXT NOT NULL,
    client_msg_id TEXT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (order_id, seq)
) WITHOUT ROWID;

-- A sender's own keys, by which a retry is recognised. Messages without a key need no entry.
CREATE UNIQUE INDEX messages_client_msg_id ON messages (order_id, sender_id, client_msg_id)
    WHERE client_msg_id IS NOT NULL;

-- Who may not come in. order_id '' is the whole hub.
CREATE TABLE bans (
    order_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    until_ms BIGINT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (order_id, user_id)
) WITHOUT ROWID;

CREATE INDEX bans_until_ms ON bans (until_ms);
