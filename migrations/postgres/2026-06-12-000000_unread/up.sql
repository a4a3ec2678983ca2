-- Orders in which a message may be unread, and when they are looked at again. Each message raises the
-- version.
CREATE TABLE unread_orders (
    order_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    due_at_ms BIGINT NOT NULL,
    version BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX unread_orders_due ON unread_orders (due_at_ms);

-- Who joined by a token and as what, what joined connections were sent, and what was told as unread.
CREATE TABLE unread_users (
    order_id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    role TEXT NULL,
    joined_at_ms BIGINT NULL,
    shown_seq BIGINT NOT NULL,
    told_seq BIGINT NOT NULL,
    told_at_ms BIGINT NOT NULL,
    PRIMARY KEY (order_id, user_id)
);

-- Users whose apps have ever told what was read.
CREATE TABLE chat_readers (
    user_id TEXT COLLATE "C" NOT NULL PRIMARY KEY
);
