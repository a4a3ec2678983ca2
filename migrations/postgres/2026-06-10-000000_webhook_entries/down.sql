ALTER TABLE webhook_endpoints DROP COLUMN left_at_ms;
ALTER TABLE webhook_endpoints DROP COLUMN reports;
ALTER TABLE webhook_endpoints DROP COLUMN former_entries;
