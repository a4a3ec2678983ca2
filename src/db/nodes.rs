//! The table of the nodes of a cluster. Only PostgreSQL has it. Times are those of the database's
//! clock, and only their differences leave it.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::connection::DbConnection;
use protocol::ids::BootId;
use protocol::time::Timestamp;

/// Nodes that start take turns by this lock, which ends with the transaction.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7105112101114105)";

/// Writes a node's row, or that it is still there.
const WRITE: &str = "INSERT INTO nodes (boot_id, name, prefix, version, started_at, beat_at, connections, \
     rooms) VALUES ($1, $2, $3, $4, clock_timestamp(), clock_timestamp(), $5, $6) \
     ON CONFLICT (boot_id) DO UPDATE SET beat_at = excluded.beat_at, \
     connections = excluded.connections, rooms = excluded.rooms";

/// The nodes that wrote their row in the last seconds, in the order of their starts.
const READ: &str = "SELECT boot_id, name, prefix, version, \
     (extract(epoch FROM started_at) * 1000)::bigint AS started_ms, connections, rooms, \
     greatest(0, extract(epoch FROM clock_timestamp() - beat_at) * 1000)::bigint AS silent_ms \
     FROM nodes WHERE beat_at > clock_timestamp() - interval '5 seconds' ORDER BY boot_id";

/// Rows of nodes that are gone for long.
const SWEEP: &str = "DELETE FROM nodes WHERE beat_at < clock_timestamp() - interval '1 minute'";

/// What a node writes of itself.
#[derive(Debug, Clone)]
pub struct NodeRow {
    /// Which run of a hub it is.
    pub boot: BootId,
    /// Its name.
    pub name: String,
    /// `REDIS_PREFIX`.
    pub prefix: String,
    /// The version of the program.
    pub version: String,
    /// Its open sessions.
    pub connections: i64,
    /// Its rooms.
    pub rooms: i64,
}

/// A node that wrote its row a moment ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenNode {
    /// Which run of a hub it is.
    pub boot: BootId,
    /// Its name.
    pub name: String,
    /// Its `REDIS_PREFIX`.
    pub prefix: String,
    /// The version of its program.
    pub version: String,
    /// When it started.
    pub started: Timestamp,
    /// Its open sessions.
    pub connections: i64,
    /// Its rooms.
    pub rooms: i64,
    /// How long ago it wrote the row.
    pub silent_for: Duration,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    boot_id: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    prefix: String,
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = BigInt)]
    started_ms: i64,
    #[diesel(sql_type = BigInt)]
    connections: i64,
    #[diesel(sql_type = BigInt)]
    rooms: i64,
    #[diesel(sql_type = BigInt)]
    silent_ms: i64,
}

/// Writes the first row of a node, unless one with another prefix is there; that one is returned.
/// Nodes that start at the same time take turns.
///
/// # Errors
/// If a query fails; nothing is written then.
pub fn enter(connection: &mut DbConnection, node: &NodeRow) -> QueryResult<Option<SeenNode>> {
    connection.transaction(|connection| {
        diesel::sql_query(LOCK).execute(connection)?;
        diesel::sql_query(SWEEP).execute(connection)?;
        let other = list(connection)?.into_iter().find(|other| other.prefix != node.prefix);
        if other.is_none() {
            write(connection, node)?;
        }
        Ok(other)
    })
}

/// Writes that a node is there.
///
/// # Errors
/// If the query fails.
pub fn write(connection: &mut DbConnection, node: &NodeRow) -> QueryResult<()> {
    diesel::sql_query(WRITE)
        .bind::<Text, _>(node.boot.to_string())
        .bind::<Text, _>(&node.name)
        .bind::<Text, _>(&node.prefix)
        .bind::<Text, _>(&node.version)
        .bind::<BigInt, _>(node.connections)
        .bind::<BigInt, _>(node.rooms)
        .execute(connection)
        .map(drop)
}

/// The nodes that are there.
///
/// # Errors
/// If the query fails.
pub fn list(connection: &mut DbConnection) -> QueryResult<Vec<SeenNode>> {
    let rows: Vec<Row> = diesel::sql_query(READ).load(connection)?;
    Ok(rows.into_iter().filter_map(Row::seen).collect())
}

/// Removes the row of a node that stops.
///
/// # Errors
/// If the query fails.
pub fn leave(connection: &mut DbConnection, boot: BootId) -> QueryResult<()> {
    diesel::sql_query("DELETE FROM nodes WHERE boot_id = $1")
        .bind::<Text, _>(boot.to_string())
        .execute(connection)
        .map(drop)
}

impl Row {
    /// None for an id that no hub writes.
    fn seen(self) -> Option<SeenNode> {
        Some(SeenNode {
            boot: self.boot_id.parse().ok()?,
            name: self.name,
            prefix: self.prefix,
            version: self.version,
            started: Timestamp::from_millis(self.started_ms),
            connections: self.connections,
            rooms: self.rooms,
            silent_for: Duration::from_millis(u64::try_from(self.silent_ms).unwrap_or_default()),
        })
    }
}
