//! What admins see and do, and what is deleted after a while.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use diesel::prelude::*;

use super::endpoint::{self, StateRow};
use super::{DEAD, DELIVERED, NEW, in_state, leases};
use crate::db::connection::DbConnection;
use crate::db::schema::{webhook_endpoints, webhook_outbox as outbox};
use crate::webhooks::health::EndpointState;
use protocol::time::Timestamp;

/// How long delivered rows are kept.
const DELIVERED_RETENTION: Duration = Duration::from_secs(24 * 3600);
/// How long dead rows are kept, and those of endpoints that are in no file any more.
const DEAD_RETENTION: Duration = Duration::from_secs(14 * 24 * 3600);
/// How many rows one statement deletes or replays. More would delay the work that waits behind.
pub const MAX_STEP: i64 = 500;

/// The rows of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndpointCounts {
    /// Rows that wait.
    pub waiting: i64,
    /// Dead rows.
    pub dead: i64,
    /// When the oldest that waits happened.
    pub oldest: Option<Timestamp>,
}

/// A dead row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadRow {
    /// Its number.
    pub number: i64,
    /// The order; empty where there is none.
    pub order: String,
    /// The `webhook-id`.
    pub id: String,
    /// The `type` of the webhook.
    pub kind: String,
    /// When it happened.
    pub created_at: Timestamp,
    /// When it died.
    pub died_at: Option<Timestamp>,
    /// Why the last try failed.
    pub error: Option<String>,
}

/// Which dead rows are sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// All that were dead at this time.
    All(Timestamp),
    /// Those with these ids.
    Ids(Vec<String>),
}

/// Counts the rows of every endpoint that has any.
///
/// # Errors
/// If a query fails.
pub fn counts(connection: &mut DbConnection) -> QueryResult<BTreeMap<String, EndpointCounts>> {
    use diesel::dsl::{count_star, min};

    let by_endpoint = outbox::table.group_by(outbox::endpoint);
    let number_of = (outbox::endpoint, count_star());
    let new: Vec<(String, i64)> =
        by_endpoint.filter(in_state!(new)).select(number_of).load(connection)?;
    let queued: Vec<(String, i64, Option<i64>)> = by_endpoint
        .filter(in_state!(queued))
        .select((outbox::endpoint, count_star(), min(outbox::created_at_ms)))
        .load(connection)?;
    let dead: Vec<(String, i64)> =
        by_endpoint.filter(in_state!(dead)).select(number_of).load(connection)?;
    let mut counts = BTreeMap::<String, EndpointCounts>::new();
    for (endpoint, waiting, oldest) in queued {
        let oldest = oldest.map(Timestamp::from_millis);
        counts.insert(endpoint, EndpointCounts { waiting, oldest, dead: 0 });
    }
    for (endpoint, waiting) in new {
        // A million may wait; the first of them is found by the index that also counts them.
        let first: Option<i64> = outbox::table
            .filter(outbox::endpoint.eq(&endpoint))
            .filter(in_state!(new))
            .order(outbox::number)
            .select(outbox::created_at_ms)
            .first(connection)
            .optional()?;
        let counts = counts.entry(endpoint).or_default();
        counts.waiting += waiting;
        counts.oldest = counts.oldest.into_iter().chain(first.map(Timestamp::from_millis)).min();
    }
    for (endpoint, dead) in dead {
        counts.entry(endpoint).or_default().dead = dead;
    }
    Ok(counts)
}

/// How every endpoint fares that was ever sent something.
///
/// # Errors
/// If the query fails.
pub fn states(connection: &mut DbConnection) -> QueryResult<HashMap<String, EndpointState>> {
    let rows: Vec<StateRow> = webhook_endpoints::table.load(connection)?;
    Ok(rows.into_iter().map(|row| (row.name.clone(), row.into())).collect())
}

/// A page of an endpoint's dead rows after a number, in their order.
///
/// # Errors
/// If the query fails.
pub fn dead(
    connection: &mut DbConnection,
    endpoint: &str,
    after: i64,
    limit: i64,
) -> QueryResult<Vec<DeadRow>> {
    type Row = (i64, String, String, String, i64, Option<i64>, Option<String>);
    let rows: Vec<Row> = outbox::table
        .filter(outbox::endpoint.eq(endpoint))
        .filter(in_state!(dead))
        .filter(outbox::number.gt(after))
        .order(outbox::number)
        .limit(limit)
        .select((
            outbox::number,
            outbox::order_id,
            outbox::id,
            outbox::kind,
            outbox::created_at_ms,
            outbox::done_at_ms,
            outbox::error,
        ))
        .load(connection)?;
    let row = |(number, order, id, kind, created_at_ms, died_at_ms, error): Row| DeadRow {
        number,
        order,
        id,
        kind,
        created_at: Timestamp::from_millis(created_at_ms),
        died_at: died_at_ms.map(Timestamp::from_millis),
        error,
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Makes some dead rows new again; they keep their ids and their places in the order. Returns how
/// many; if it is [`MAX_STEP`], there may be more.
///
/// # Errors
/// If the query fails.
pub fn replay(
    connection: &mut DbConnection,
    endpoint: &str,
    replay: &Replay,
) -> QueryResult<usize> {
    let dead = outbox::table
        .filter(outbox::endpoint.eq(endpoint))
        .filter(in_state!(dead))
        .order(outbox::number)
        .limit(MAX_STEP)
        .select(outbox::number);
    let numbers: Vec<i64> = match replay {
        Replay::All(until) => {
            dead.filter(outbox::done_at_ms.le(until.as_millis())).load(connection)?
        }
        Replay::Ids(ids) => dead.filter(outbox::id.eq_any(ids)).load(connection)?,
    };
    diesel::update(outbox::table.filter(outbox::number.eq_any(numbers)))
        .filter(in_state!(dead))
        .set((
            outbox::state.eq(NEW),
            outbox::done_at_ms.eq(None::<i64>),
            outbox::error.eq(None::<&str>),
        ))
        .execute(connection)
}

/// Starts a stopped endpoint, and one that is down, at once.
///
/// # Errors
/// If a query fails.
pub fn enable(connection: &mut DbConnection, name: &str, now: Timestamp) -> QueryResult<()> {
    connection.transaction(|connection| {
        let mut state = endpoint::lock(connection, name)?;
        state.enable();
        endpoint::save(connection, name, &state)?;
        leases::make_due(connection, name, now)
    })
}

/// Deletes some rows that were delivered or died long ago, and all of endpoints that are in no file
/// for as long as dead rows are kept. `known` are in the file; `left` have rows and are not. Returns
/// how many at most one kind had; if it is [`MAX_STEP`], there may be more.
///
/// # Errors
/// If a query fails.
pub fn delete_done(
    connection: &mut DbConnection,
    known: &[String],
    left: &[String],
    now: Timestamp,
) -> QueryResult<usize> {
    let mut most = 0;
    for (state, retention) in [(DELIVERED, DELIVERED_RETENTION), (DEAD, DEAD_RETENTION)] {
        let numbers: Vec<i64> = outbox::table
            .filter(outbox::state.eq(state))
            .filter(outbox::done_at_ms.lt(now.minus(retention).as_millis()))
            .order(outbox::done_at_ms)
            .limit(MAX_STEP)
            .select(outbox::number)
            .load(connection)?;
        most = most.max(delete(connection, numbers)?);
    }
    for name in endpoint::left_before(connection, known, left, now, now.minus(DEAD_RETENTION))? {
        let numbers: Vec<i64> = outbox::table
            .filter(outbox::endpoint.eq(&name))
            .filter(in_state!(new).or(in_state!(queued)).or(in_state!(dead)))
            .limit(MAX_STEP)
            .select(outbox::number)
            .load(connection)?;
        let deleted = delete(connection, numbers)?;
        let deleted = deleted.max(leases::delete_some(connection, &name, MAX_STEP)?);
        if deleted == 0 {
            endpoint::forget(connection, &name)?;
        }
        most = most.max(deleted);
    }
    Ok(most)
}

/// Deletes so many of an endpoint's dead rows, the oldest. Returns how many there were.
///
/// # Errors
/// If the query fails.
pub fn delete_dead(connection: &mut DbConnection, name: &str, most: i64) -> QueryResult<usize> {
    let numbers: Vec<i64> = outbox::table
        .filter(outbox::endpoint.eq(name))
        .filter(in_state!(dead))
        .order(outbox::number)
        .limit(most)
        .select(outbox::number)
        .load(connection)?;
    delete(connection, numbers)
}

fn delete(connection: &mut DbConnection, numbers: Vec<i64>) -> QueryResult<usize> {
    diesel::delete(outbox::table.filter(outbox::number.eq_any(numbers))).execute(connection)
}
