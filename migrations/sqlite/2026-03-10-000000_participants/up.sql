-- Who takes part in an order, as back ends say. A removed one stays: it overrides what a token says.
CREATE TABLE participants (
    order_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    role TEXT NOT NULL,
    name TEXT NULL,
    removed BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (order_id, user_id)
) WITHOUT ROWID;

-- For lists by participant, status and driver, each in the order of the orders' ids.
CREATE INDEX participants_user_id ON participants (user_id, order_id) WHERE NOT removed;
CREATE INDEX orders_status ON orders (status, id) WHERE status IS NOT NULL;
CREATE INDEX orders_driver_id ON orders (driver_id, id) WHERE driver_id IS NOT NULL;
-- For a driver's open orders, among the many of the past.
CREATE INDEX orders_open_driver_id ON orders (driver_id, id)
    WHERE driver_id IS NOT NULL AND ended_at_ms IS NULL;

-- Whether an order ever had a driver: then a token's word no longer makes one.
ALTER TABLE orders ADD COLUMN dispatched BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE orders SET dispatched = TRUE WHERE driver_id IS NOT NULL;

-- Chat of a deleted order up to this number is still to be removed.
ALTER TABLE orders ADD COLUMN purge_to BIGINT NULL;
CREATE INDEX orders_purge_to ON orders (id) WHERE purge_to IS NOT NULL;
