-- The id by which the hubs of this database find each other on their Redis. One row.
CREATE TABLE cluster (
    one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    id TEXT NOT NULL
);

-- The nodes of the cluster, by what they last wrote. All times are those of the database's clock.
CREATE TABLE nodes (
    boot_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    version TEXT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    beat_at TIMESTAMPTZ NOT NULL,
    connections BIGINT NOT NULL DEFAULT 0,
    rooms BIGINT NOT NULL DEFAULT 0
);

-- What every node must carry out: bans, removals, revocations. Whoever writes a row holds an advisory lock
-- until its transaction ends, so that numbers rise in the order of commits.
CREATE TABLE cluster_log (
    id BIGSERIAL PRIMARY KEY,
    boot_id TEXT COLLATE "C" NOT NULL,
    entry TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX cluster_log_created_at ON cluster_log (created_at);
