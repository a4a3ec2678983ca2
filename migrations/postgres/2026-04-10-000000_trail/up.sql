-- Where drivers were: points of each order and driver, some seconds apart, for some hours.
CREATE TABLE trail (
    order_id TEXT COLLATE "C" NOT NULL,
    at_ms BIGINT NOT NULL,
    driver_id TEXT COLLATE "C" NOT NULL,
    lat DOUBLE PRECISION NOT NULL,
    lng DOUBLE PRECISION NOT NULL,
    accuracy DOUBLE PRECISION NULL,
    heading DOUBLE PRECISION NULL,
    speed DOUBLE PRECISION NULL,
    altitude DOUBLE PRECISION NULL,
    PRIMARY KEY (order_id, at_ms, driver_id)
);

-- For what has expired.
CREATE INDEX trail_at_ms ON trail (at_ms);

-- Points of a deleted order up to this time are still to be removed.
ALTER TABLE orders ADD COLUMN purge_trail_ms BIGINT NULL;
-- Since when customers see the driver, where only some statuses show one.
ALTER TABLE orders ADD COLUMN shown_since_ms BIGINT NULL;
