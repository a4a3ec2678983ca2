-- What endpoints are told, a row for each event and endpoint, written with what it tells of. The numbers
-- of an order's rows are drawn under the order's lock, so they rise in the order of its commits.
-- state: 0 new; 1 queued, with a row in webhook_leases for its order; 2 dead; 3 delivered.
CREATE TABLE webhook_outbox (
    number BIGSERIAL PRIMARY KEY,
    endpoint TEXT COLLATE "C" NOT NULL,
    order_id TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    state SMALLINT NOT NULL,
    done_at_ms BIGINT NULL,
    error TEXT NULL
);

CREATE INDEX webhook_outbox_new ON webhook_outbox (endpoint, number) WHERE state = 0;
CREATE INDEX webhook_outbox_queued ON webhook_outbox (endpoint, order_id, number) WHERE state = 1;
CREATE INDEX webhook_outbox_dead ON webhook_outbox (endpoint, number) WHERE state = 2;
CREATE INDEX webhook_outbox_done ON webhook_outbox (state, done_at_ms)
    WHERE done_at_ms IS NOT NULL;

-- The orders of which rows are queued for an endpoint: when the next one may be tried, and, with a token,
-- when the hub that has them in hand loses them.
CREATE TABLE webhook_leases (
    endpoint TEXT COLLATE "C" NOT NULL,
    order_id TEXT COLLATE "C" NOT NULL,
    due_at_ms BIGINT NOT NULL,
    token TEXT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (endpoint, order_id)
);

CREATE INDEX webhook_leases_due ON webhook_leases (endpoint, due_at_ms);

-- How endpoints fare. Its row is locked by who takes a turn for an endpoint.
CREATE TABLE webhook_endpoints (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    entry TEXT NULL,
    stopped_entry TEXT NULL,
    streak INTEGER NOT NULL DEFAULT 0,
    level INTEGER NOT NULL DEFAULT 0,
    retry_at_ms BIGINT NULL,
    open_for_new BOOLEAN NOT NULL DEFAULT FALSE,
    last_error TEXT NULL,
    last_delivered_at_ms BIGINT NULL
);
