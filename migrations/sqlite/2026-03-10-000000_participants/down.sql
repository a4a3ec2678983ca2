DROP INDEX orders_purge_to;
DROP INDEX orders_open_driver_id;
DROP INDEX orders_driver_id;
DROP INDEX orders_status;
DROP TABLE participants;
ALTER TABLE orders DROP COLUMN purge_to;
ALTER TABLE orders DROP COLUMN dispatched;
