ALTER TABLE orders DROP COLUMN shown_since_ms;
ALTER TABLE orders DROP COLUMN purge_trail_ms;
DROP TABLE trail;
