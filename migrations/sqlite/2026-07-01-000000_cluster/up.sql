-- Only hubs on PostgreSQL form a cluster.
SELECT 1;
