//! The rows of endpoints: how each fares, and the lock that a turn holds.

use diesel::prelude::*;

use crate::db::connection::DbConnection;
use crate::db::schema::webhook_endpoints as table;
use crate::webhooks::health::EndpointState;
use protocol::time::Timestamp;

#[derive(Queryable)]
pub(super) struct StateRow {
    pub(super) name: String,
    entry: Option<String>,
    stopped_entry: Option<String>,
    streak: i32,
    level: i32,
    retry_at_ms: Option<i64>,
    open_for_new: bool,
    last_error: Option<String>,
    last_delivered_at_ms: Option<i64>,
    former_entries: Option<String>,
    reports: Option<String>,
    _left_at_ms: Option<i64>,
}

impl From<StateRow> for EndpointState {
    fn from(row: StateRow) -> Self {
        let words = |text: &Option<String>| -> Vec<String> {
            text.iter().flat_map(|text| text.split(' ')).map(ToOwned::to_owned).collect()
        };
        Self {
            entries: words(&row.former_entries).into_iter().chain(row.entry).collect(),
            reports: words(&row.reports),
            stopped_entry: row.stopped_entry,
            streak: u32::try_from(row.streak).unwrap_or(0),
            level: u32::try_from(row.level).unwrap_or(0),
            retry_at: row.retry_at_ms.map(Timestamp::from_millis),
            open_for_new: row.open_for_new,
            last_error: row.last_error,
            last_delivered: row.last_delivered_at_ms.map(Timestamp::from_millis),
        }
    }
}

/// Locks an endpoint's row until the end of the transaction, and reads it. Two hubs that take turns
/// for one endpoint wait for each other here. A missing row is made.
pub(super) fn lock(connection: &mut DbConnection, name: &str) -> QueryResult<EndpointState> {
    macro_rules! lock_on {
        ($connection:expr) => {
            diesel::insert_into(table::table)
                .values(table::name.eq(name))
                .on_conflict(table::name)
                .do_update()
                // Changes nothing, but locks the row.
                .set(table::name.eq(name))
                .execute($connection)
        };
    }
    match connection {
        DbConnection::Sqlite(sqlite) => lock_on!(sqlite)?,
        DbConnection::Postgres(postgres) => lock_on!(postgres)?,
    };
    // A statement of its own: it sees what the last holder of the lock has committed.
    let row: StateRow = table::table.find(name).first(connection)?;
    Ok(row.into())
}

/// Writes how an endpoint fares. Its row is locked.
pub(super) fn save(
    connection: &mut DbConnection,
    name: &str,
    state: &EndpointState,
) -> QueryResult<()> {
    let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let words = |words: &[String]| (!words.is_empty()).then(|| words.join(" "));
    let (entry, former) = state.entries.split_last().unzip();
    diesel::update(table::table.find(name))
        .set((
            table::entry.eq(entry),
            table::former_entries.eq(former.and_then(words)),
            table::reports.eq(words(&state.reports)),
            table::stopped_entry.eq(state.stopped_entry.as_deref()),
            table::streak.eq(count(state.streak)),
            table::level.eq(count(state.level)),
            table::retry_at_ms.eq(state.retry_at.map(Timestamp::as_millis)),
            table::open_for_new.eq(state.open_for_new),
            table::last_error.eq(state.last_error.as_deref()),
            table::last_delivered_at_ms.eq(state.last_delivered.map(Timestamp::as_millis)),
        ))
        .execute(connection)
        .map(drop)
}

/// Notes which endpoints are in the file (`known`) and which are not, with those of which only rows
/// are there (`left`). Returns those that are in no file since a time. A hub whose file has the
/// endpoint notes that as often as another one notes that it is gone.
pub(super) fn left_before(
    connection: &mut DbConnection,
    known: &[String],
    left: &[String],
    now: Timestamp,
    before: Timestamp,
) -> QueryResult<Vec<String>> {
    let stored: Vec<String> = table::table.select(table::name).load(connection)?;
    for name in left.iter().filter(|name| !stored.contains(name)) {
        lock(connection, name)?;
    }
    diesel::update(table::table.filter(table::name.eq_any(known)))
        .filter(table::left_at_ms.is_not_null())
        .set(table::left_at_ms.eq(None::<i64>))
        .execute(connection)?;
    diesel::update(table::table.filter(table::name.ne_all(known)))
        .filter(table::left_at_ms.is_null())
        .set(table::left_at_ms.eq(now.as_millis()))
        .execute(connection)?;
    let is_old = table::left_at_ms.lt(before.as_millis());
    table::table.filter(is_old).select(table::name).load(connection)
}

/// Forgets how an endpoint fared.
pub(super) fn forget(connection: &mut DbConnection, name: &str) -> QueryResult<()> {
    diesel::delete(table::table.find(name)).execute(connection).map(drop)
}
