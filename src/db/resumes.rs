//! Sessions that a node had when it stopped: written all at once, taken out again by their users.

use std::collections::{BTreeMap, HashMap};

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};

use super::connection::DbConnection;
use super::schema::resumes;
use crate::ids::{Pid, UserId};
use crate::time::Timestamp;

/// The most expired rows that are deleted at once: more would hold up who waits behind it.
pub const MAX_EXPIRED: usize = 1000;

/// One look into the key for each: the list of pids leads there, whatever the planner believes of
/// the size of the table.
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
    /// Under what the client asks for it.
    pub pid: Pid,
    /// Whose it is.
    pub user_id: UserId,
    /// JSON of its record.
    pub record: String,
}

/// Who asks for which session.
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

/// Writes sessions that can be had until `expires`, all in one transaction. Each replaces an earlier
/// one of its pid; of two with the same pid the last counts.
///
/// # Errors
/// Where a query fails; nothing is written then.
pub fn put(
    connection: &mut DbConnection,
    sessions: &[StoredResume],
    expires: Timestamp,
) -> QueryResult<()> {
    // Once each, because PostgreSQL updates no row twice in one statement; and by pid, so that two
    // nodes do not wait for each other.
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

/// Takes sessions out, all in one transaction: for each that is wanted its record, if there is one
/// of this user that has not expired at `now`. What is not given stays where it is.
///
/// # Errors
/// Where a query fails; all are still there then.
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

/// Gives each its own. What a user wanted twice goes to the first.
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

/// Deletes up to [`MAX_EXPIRED`] sessions that have expired at `now`, and says how many.
///
/// # Errors
/// Where a query fails.
pub fn delete_expired(connection: &mut DbConnection, now: Timestamp) -> QueryResult<usize> {
    let most = i64::try_from(MAX_EXPIRED).unwrap_or(i64::MAX);
    let expired = resumes::expires_at_ms.le(now.as_millis());
    // Two statements without a transaction: whatever happens between them, expired is expired.
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
