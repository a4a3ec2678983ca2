-- How far each user has read an order's chat. Written behind, and gone with the order. The free space
-- in each page lets a mark move without touching the index.
CREATE TABLE read_marks (
    order_id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (order_id, user_id)
) WITH (fillfactor = 70);
