//! Session records of a node that stopped. They are written all at once, and taken out by their
//! users.

use std::collections::{BTreeMap, HashMap};

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};

use super::connection::DbConnection;
use super::schema::resumes;
use protocol::ids::{Pid, UserId};
use protocol::time::Timestamp;

/// How many expired rows are deleted at once. More would delay the work that waits behind.
pub const MAX_EXPIRED: usize = 1000;

/// One index lookup per pid: the list of pids makes the planner use the index, whatever it assumes
/// about the table's size.
const TAKE_ON_POSTGRES: &str = "DELETE FROM resumes USING unnest($1, $2) AS wanted (pid, user_id) \
     WHERE resumes.pid = wanted.pid AND resumes.user_id = wanted.user_id \
     AND resumes.pid = ANY($1) AND resumes.expires_at_ms > $3 \
     RETURNING resumes.pid, resumes.user_id, resumes.record";

const PUT_ON_POSTGRES: &str = "INSERT INTO resumes (pid, user_id, record, expires_at_ms) \
     SELECT pid, user_id, record, $4 FROM unnest($1, $2, $3) AS new (pid, user_id, record) \
     ON CONFLICT (pid) DO UPDATE SET user_id = excluded.user_id, record = excluded.record, \
     expires_at_ms = excluded.expires_at_ms";

/// A session as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResume {
    /// The private id by which the client asks for it.
    pub pid: Pid,
    /// The session's user.
    pub user_id: UserId,
    /// JSON of its record.
    pub record: String,
}

/// Which session is asked for, and by which user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeKey {
    /// The session.
    pub pid: Pid,
    /// The user who asks.
    pub user_id: UserId,
}

#[derive(QueryableByName)]
struct TakenRow {
    #[diesel(sql_type = Text)]
    pid: String,
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = Text)]
    record: String,
}

/// Writes session records that can be taken until `expires`, all in one transaction. Each replaces
/// an earlier one of the same pid; the last of several with one pid wins.
///
/// # Errors
/// If a query fails; nothing is written then.
pub fn put(
    connection: &mut DbConnection,
    sessions: &[StoredResume],
    expires: Timestamp,
) -> QueryResult<()> {
    // One row per pid, because PostgreSQL updates no row twice in one statement, and sorted by pid,
    // so that two nodes do not deadlock.
    let rows: BTreeMap<String, &StoredResume> =
        sessions.iter().map(|session| (session.pid.to_string(), session)).collect();
    match connection {
        DbConnection::Sqlite(sqlite) => {
            sqlite.immediate_transaction(|sqlite| put_on_sqlite(sqlite, &rows, expires))
        }
        DbConnection::Postgres(postgres) => {
            let pids: Vec<&str> = rows.keys().map(String::as_str).collect();
            let users: Vec<&str> = rows.values().map(|row| row.user_id.as_str()).collect();
            let records: Vec<&str> = rows.values().map(|row| row.record.as_str()).collect();
            diesel::sql_query(PUT_ON_POSTGRES)
                .bind::<Array<Text>, _>(pids)
                .bind::<Array<Text>, _>(users)
                .bind::<Array<Text>, _>(records)
                .bind::<BigInt, _>(expires.as_millis())
                .execute(postgres)
                .map(drop)
        }
    }
}

/// A statement is a function call on SQLite, so each row has its own, prepared once.
fn put_on_sqlite(
    sqlite: &mut SqliteConnection,
    rows: &BTreeMap<String, &StoredResume>,
    expires: Timestamp,
) -> QueryResult<()> {
    for (pid, row) in rows {
        let changed = (
            resumes::user_id.eq(row.user_id.as_str()),
            resumes::record.eq(row.record.as_str()),
            resumes::expires_at_ms.eq(expires.as_millis()),
        );
        diesel::insert_into(resumes::table)
            .values((resumes::pid.eq(pid), changed))
            .on_conflict(resumes::pid)
            .do_update()
            .set(changed)
            .execute(sqlite)?;
    }
    Ok(())
}

/// Takes session records out, all in one transaction. Returns the record for each key whose user
/// matches and that has not expired at `now`; other records stay.
///
/// # Errors
/// If a query fails; all records are still there then.
pub fn take(
    connection: &mut DbConnection,
    keys: &[ResumeKey],
    now: Timestamp,
) -> QueryResult<Vec<Option<String>>> {
    match connection {
        DbConnection::Sqlite(sqlite) => sqlite.immediate_transaction(|sqlite| {
            keys.iter().map(|key| take_on_sqlite(sqlite, key, now)).collect()
        }),
        DbConnection::Postgres(postgres) => {
            let pids: Vec<String> = keys.iter().map(|key| key.pid.to_string()).collect();
            let users: Vec<&str> = keys.iter().map(|key| key.user_id.as_str()).collect();
            let taken: Vec<TakenRow> = diesel::sql_query(TAKE_ON_POSTGRES)
                .bind::<Array<Text>, _>(&pids)
                .bind::<Array<Text>, _>(&users)
                .bind::<BigInt, _>(now.as_millis())
                .load(postgres)?;
            Ok(assign_to_keys(pids, users, taken))
        }
    }
}

fn take_on_sqlite(
    sqlite: &mut SqliteConnection,
    key: &ResumeKey,
    now: Timestamp,
) -> QueryResult<Option<String>> {
    let row = resumes::table
        .filter(resumes::pid.eq(key.pid.to_string()))
        .filter(resumes::user_id.eq(key.user_id.as_str()))
        .filter(resumes::expires_at_ms.gt(now.as_millis()));
    diesel::delete(row).returning(resumes::record).get_result(sqlite).optional()
}

/// Assigns the records to their keys. If a key occurs twice, the first one gets the record.
fn assign_to_keys(
    pids: Vec<String>,
    users: Vec<&str>,
    taken: Vec<TakenRow>,
) -> Vec<Option<String>> {
    let mut records: HashMap<(String, String), String> =
        taken.into_iter().map(|taken| ((taken.pid, taken.user_id), taken.record)).collect();
    let keys = pids.into_iter().zip(users.into_iter().map(str::to_owned));
    keys.map(|key| records.remove(&key)).collect()
}

/// Deletes up to [`MAX_EXPIRED`] session records that have expired at `now`, and returns how many.
///
/// # Errors
/// If a query fails.
pub fn delete_expired(connection: &mut DbConnection, now: Timestamp) -> QueryResult<usize> {
    let most = i64::try_from(MAX_EXPIRED).unwrap_or(i64::MAX);
    let expired = resumes::expires_at_ms.le(now.as_millis());
    // Two statements without a transaction: an expired row stays expired in between.
    let pids: Vec<String> = resumes::table
        .filter(expired)
        .order(resumes::expires_at_ms)
        .limit(most)
        .select(resumes::pid)
        .load(connection)?;
    if pids.is_empty() {
        return Ok(0);
    }
    let expired = resumes::expires_at_ms.le(now.as_millis());
    diesel::delete(resumes::table.filter(expired).filter(resumes::pid.eq_any(&pids)))
        .execute(connection)?;
    Ok(pids.len())
}
