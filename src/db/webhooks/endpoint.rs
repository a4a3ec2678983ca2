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
}

impl From<StateRow> for EndpointState {
    fn from(row: StateRow) -> Self {
        Self {
            entry: row.entry,
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
    diesel::update(table::table.find(name))
        .set((
            table::entry.eq(state.entry.as_deref()),
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
