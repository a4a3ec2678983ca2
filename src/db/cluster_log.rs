//! What every node of a cluster must carry out, whether it hears of it or not: a log that each of
//! them follows. Only PostgreSQL has it.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::{Deserialize, Serialize};

use super::connection::DbConnection;
use crate::bus::Node;
use protocol::ids::{BootId, OrderId, UserId};
use protocol::time::Timestamp;

/// Held until the transaction ends: numbers rise in the order of commits, so a reader that has seen
/// one has seen all before it.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7105112101114106)";

/// The nodes that must carry out an entry. They write every two seconds; some are late where the
/// database is slow.
const NODES: &str = "SELECT boot_id, name FROM nodes \
     WHERE beat_at > clock_timestamp() - interval '10 seconds' ORDER BY boot_id";

/// How many rows are read, or deleted, at once.
pub const MAX_ROWS: usize = 500;

/// How long rows are kept. A node that did not read for so long reads all bans and revocations.
pub const KEPT_HOURS: u64 = 24;

/// What a node carries out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Entry {
    /// A user may not enter an order, or the hub, until a time, and is removed from it. A time that
    /// has passed lifts a ban.
    Ban {
        /// The order; none for the whole hub.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        order: Option<OrderId>,
        /// The user.
        user: UserId,
        /// When the ban ends.
        until: Timestamp,
        /// What the user is told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A user's older tokens are not valid any more.
    Revoke {
        /// The user.
        user: UserId,
        /// Tokens that were issued before this.
        issued_before: Timestamp,
    },
}

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// Its number.
    pub id: i64,
    /// The node that wrote it.
    pub author: Option<BootId>,
    /// What is to be done; none if a newer version wrote it.
    pub entry: Option<Entry>,
}

/// What follows a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// At most [`MAX_ROWS`].
    pub rows: Vec<LogRow>,
    /// The database does not know the number: a failover has lost commits.
    pub is_behind: bool,
}

/// An entry that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Its number.
    pub number: i64,
    /// The nodes that wrote in the last seconds that they are there, the author included.
    pub nodes: Vec<Node>,
}

#[derive(QueryableByName)]
struct NamedNode {
    #[diesel(sql_type = Text)]
    boot_id: String,
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    boot_id: String,
    #[diesel(sql_type = Text)]
    entry: String,
}

/// Takes the turn to add entries, until the transaction ends. It is the first lock that a transaction
/// takes, so that two of them never wait for each other.
///
/// # Errors
/// If the query fails.
pub fn lock(connection: &mut PgConnection) -> QueryResult<()> {
    diesel::sql_query(LOCK).execute(connection).map(drop)
}

/// Adds an entry of a hub, in the transaction of what it tells of, which has the lock. A hub alone
/// adds them too: nodes that start later have read what it decided, but those that lost the database
/// to it have not.
///
/// # Errors
/// If a query fails.
pub fn add(connection: &mut PgConnection, author: BootId, entry: &Entry) -> QueryResult<Added> {
    let text = serde_json::to_string(entry)
        .map_err(|error| diesel::result::Error::SerializationError(Box::new(error)))?;
    let insert = "INSERT INTO cluster_log (boot_id, entry) VALUES ($1, $2) RETURNING id";
    let added: Number = diesel::sql_query(insert)
        .bind::<Text, _>(author.to_string())
        .bind::<Text, _>(text)
        .get_result(connection)?;
    // After the entry has its number: a node that is not among them reads it at its start.
    let nodes: Vec<NamedNode> = diesel::sql_query(NODES).load(connection)?;
    let nodes = nodes
        .into_iter()
        .filter_map(|node| Some(Node { name: node.name.into(), boot: node.boot_id.parse().ok()? }));
    Ok(Added { number: added.id, nodes: nodes.collect() })
}

/// The number of the last row that was committed; 0 where there is none.
///
/// # Errors
/// If the query fails.
pub fn last(connection: &mut DbConnection) -> QueryResult<i64> {
    let last = "SELECT coalesce(max(id), 0) AS id FROM cluster_log";
    diesel::sql_query(last).get_result(connection).map(|Number { id }| id)
}

/// The rows after a number.
///
/// # Errors
/// If a query fails.
pub fn after(connection: &mut DbConnection, id: i64) -> QueryResult<LogPage> {
    let drawn = "SELECT last_value AS id FROM cluster_log_id_seq";
    let drawn: Number = diesel::sql_query(drawn).get_result(connection)?;
    let rows = "SELECT id, boot_id, entry FROM cluster_log WHERE id > $1 ORDER BY id LIMIT 500";
    let rows: Vec<Row> = diesel::sql_query(rows).bind::<BigInt, _>(id).load(connection)?;
    let read = |row: Row| LogRow {
        id: row.id,
        author: row.boot_id.parse().ok(),
        entry: serde_json::from_str(&row.entry).ok(),
    };
    let rows = rows.into_iter().map(read).collect();
    Ok(LogPage { rows, is_behind: drawn.id < id })
}

/// Deletes old rows, at most [`MAX_ROWS`], and returns how many.
///
/// # Errors
/// If the query fails.
pub fn delete_old(connection: &mut DbConnection) -> QueryResult<usize> {
    let DbConnection::Postgres(connection) = connection else { return Ok(0) };
    diesel::sql_query(format!(
        "DELETE FROM cluster_log WHERE id IN (SELECT id FROM cluster_log \
         WHERE created_at < clock_timestamp() - interval '{KEPT_HOURS} hours' LIMIT {MAX_ROWS})"
    ))
    .execute(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_must_write_these_entries_and_skip_new_fields() {
        let user: UserId = "u1".parse().expect("an id");
        let until = Timestamp::from_millis(1_800_000_000_000);
        let ban = Entry::Ban { order: None, user: user.clone(), until, reason: None };
        let revoke = Entry::Revoke { user, issued_before: until };
        for (entry, text) in [
            (ban, r#"{"do":"ban","user":"u1","until":"2027-01-15T08:00:00.000Z"}"#),
            (revoke, r#"{"do":"revoke","user":"u1","issuedBefore":"2027-01-15T08:00:00.000Z"}"#),
        ] {
            assert_eq!(serde_json::to_string(&entry).expect("JSON"), text);
            let newer = text.replace('}', r#","new":1}"#);
            assert_eq!(serde_json::from_str::<Entry>(&newer).ok(), Some(entry));
        }
        assert_eq!(serde_json::from_str::<Entry>(r#"{"do":"new","user":"u1"}"#).ok(), None);
    }
}
