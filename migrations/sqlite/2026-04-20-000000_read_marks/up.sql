-- How far each user has read an order's chat. Written behind, and gone with the order.
CREATE TABLE read_marks (
    order_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (order_id, user_id)
) WITHOUT ROWID;
