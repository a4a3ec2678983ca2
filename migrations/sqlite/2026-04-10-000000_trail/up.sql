-- Where drivers were: points of each order and driver, some seconds apart, for some hours.
-- WITHOUT ROWID keeps the points of an order side by side on disk, in the order of a page.
CREATE TABLE trail (
    order_id TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    driver_id TEXT NOT NULL,
    lat DOUBLE NOT NULL,
    lng DOUBLE NOT NULL,
    accuracy DOUBLE NULL,
    heading DOUBLE NULL,
    speed DOUBLE NULL,
    altitude DOUBLE NULL,
    PRIMARY KEY (order_id, at_ms, driver_id)
) WITHOUT ROWID;

-- For what has expired.
CREATE INDEX trail_at_ms ON trail (at_ms);

-- Points of a deleted order up to this time are still to be removed.
ALTER TABLE orders ADD COLUMN purge_trail_ms BIGINT NULL;
-- Since when customers see the driver, where only some statuses show one.
ALTER TABLE orders ADD COLUMN shown_since_ms BIGINT NULL;
