-- Which entries of an endpoint were used before the one in force and which reports were applied, with
-- spaces between them, and since when the endpoint is in no hub's file.
ALTER TABLE webhook_endpoints ADD COLUMN former_entries TEXT NULL;
ALTER TABLE webhook_endpoints ADD COLUMN reports TEXT NULL;
ALTER TABLE webhook_endpoints ADD COLUMN left_at_ms BIGINT NULL;
