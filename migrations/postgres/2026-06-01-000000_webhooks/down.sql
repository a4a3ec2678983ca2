DROP TABLE webhook_endpoints;
DROP TABLE webhook_leases;
DROP TABLE webhook_outbox;
