-- The id by which the hubs of this database find each other on their Redis. One row.
CREATE TABLE cluster (
    one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    id TEXT NOT NULL
);
