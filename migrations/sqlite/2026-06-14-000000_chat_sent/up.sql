-- Of messages that a hook has changed, a keyed hash of what was sent: by it a retry is known.
CREATE TABLE chat_sent (
    order_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (order_id, seq)
) WITHOUT ROWID;
