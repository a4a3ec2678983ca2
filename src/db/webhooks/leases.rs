//! Leases: which orders of an endpoint may be tried, and which a hub has in hand. The endpoint's row
//! is locked by the caller, so no two transactions work on the leases of one endpoint.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use diesel::prelude::*;

use super::{DEAD, DELIVERED, OrderResult, QUEUED, in_state};
use crate::db::connection::DbConnection;
use crate::db::schema::{webhook_leases as leases, webhook_outbox as outbox};
use crate::webhooks::health::Admission;
use protocol::time::Timestamp;

/// The most new rows that one turn queues.
pub(super) const MAX_INTAKE: i64 = 256;

/// An order that may be tried.
pub(super) struct DueOrder {
    pub(super) order: String,
    pub(super) failures: i32,
}

/// Records results. Those whose lease was lost meanwhile have no effect; returns how many.
pub(super) fn record(
    connection: &mut DbConnection,
    endpoint: &str,
    results: &[OrderResult],
    now: Timestamp,
) -> QueryResult<usize> {
    if results.is_empty() {
        return Ok(0);
    }
    let orders: Vec<&str> = results.iter().map(|result| result.order.as_str()).collect();
    let held: Vec<(String, Option<String>)> = leases::table
        .filter(leases::endpoint.eq(endpoint))
        .filter(leases::order_id.eq_any(&orders))
        .select((leases::order_id, leases::token))
        .load(connection)?;
    let held: HashMap<String, Option<String>> = held.into_iter().collect();
    let is_held = |result: &&OrderResult| {
        held.get(&result.order).is_some_and(|token| token.as_ref() == Some(&result.token))
    };
    let counted: Vec<&OrderResult> = results.iter().filter(is_held).collect();
    mark_delivered(connection, &counted, now)?;
    for (number, error) in counted.iter().filter_map(|result| result.dead.as_ref()) {
        diesel::update(outbox::table.find(number))
            .set((
                outbox::state.eq(DEAD),
                outbox::done_at_ms.eq(now.as_millis()),
                outbox::error.eq(error),
            ))
            .execute(connection)?;
    }
    release(connection, endpoint, &counted, now)?;
    Ok(results.len() - counted.len())
}

fn mark_delivered(
    connection: &mut DbConnection,
    results: &[&OrderResult],
    now: Timestamp,
) -> QueryResult<()> {
    let numbers: Vec<i64> =
        results.iter().flat_map(|result| result.delivered.iter().copied()).collect();
    if numbers.is_empty() {
        return Ok(());
    }
    diesel::update(outbox::table.filter(outbox::number.eq_any(numbers)))
        .set((outbox::state.eq(DELIVERED), outbox::done_at_ms.eq(now.as_millis())))
        .execute(connection)
        .map(drop)
}

/// Ends the leases of results: orders without queued rows have none any more.
fn release(
    connection: &mut DbConnection,
    endpoint: &str,
    results: &[&OrderResult],
    now: Timestamp,
) -> QueryResult<()> {
    let orders: Vec<&str> = results.iter().map(|result| result.order.as_str()).collect();
    let queued: Vec<String> = outbox::table
        .filter(outbox::endpoint.eq(endpoint))
        .filter(outbox::order_id.eq_any(&orders))
        .filter(in_state!(queued))
        .select(outbox::order_id)
        .distinct()
        .load(connection)?;
    let queued: BTreeSet<&str> = queued.iter().map(String::as_str).collect();
    let done: Vec<&str> = orders.into_iter().filter(|order| !queued.contains(order)).collect();
    let of_endpoint = leases::table.filter(leases::endpoint.eq(endpoint));
    diesel::delete(of_endpoint.filter(leases::order_id.eq_any(done))).execute(connection)?;
    // Mostly all go on at once, so one statement is enough for them.
    let mut kept: BTreeMap<(u32, i64), Vec<&str>> = BTreeMap::new();
    for result in results.iter().filter(|result| queued.contains(result.order.as_str())) {
        let due_at = now.plus(result.wait).as_millis();
        kept.entry((result.failures, due_at)).or_default().push(&result.order);
    }
    for ((failures, due_at_ms), orders) in kept {
        diesel::update(of_endpoint.filter(leases::order_id.eq_any(orders)))
            .set((
                leases::token.eq(None::<&str>),
                leases::failures.eq(i32::try_from(failures).unwrap_or(i32::MAX)),
                leases::due_at_ms.eq(due_at_ms),
            ))
            .execute(connection)?;
    }
    Ok(())
}

/// Makes every order of an endpoint due that waits for its next try. Failures of before do not
/// count: an endpoint that is limited or comes and goes would use up their tries in minutes.
pub(super) fn make_due(
    connection: &mut DbConnection,
    endpoint: &str,
    now: Timestamp,
) -> QueryResult<()> {
    let waiting = leases::table
        .filter(leases::endpoint.eq(endpoint))
        .filter(leases::token.is_null())
        .filter(leases::due_at_ms.gt(now.as_millis()));
    diesel::update(waiting)
        .set((leases::due_at_ms.eq(now.as_millis()), leases::failures.eq(0)))
        .execute(connection)
        .map(drop)
}

/// Queues new rows: from then on they are found by their order. Returns whether there may be more.
pub(super) fn take_in(
    connection: &mut DbConnection,
    endpoint: &str,
    now: Timestamp,
) -> QueryResult<bool> {
    let new: Vec<(i64, String)> = outbox::table
        .filter(outbox::endpoint.eq(endpoint))
        .filter(in_state!(new))
        .order(outbox::number)
        .limit(MAX_INTAKE)
        .select((outbox::number, outbox::order_id))
        .load(connection)?;
    if new.is_empty() {
        return Ok(false);
    }
    let numbers: Vec<i64> = new.iter().map(|(number, _)| *number).collect();
    diesel::update(outbox::table.filter(outbox::number.eq_any(numbers)))
        .set(outbox::state.eq(QUEUED))
        .execute(connection)?;
    let orders: BTreeSet<&str> = new.iter().map(|(_, order)| order.as_str()).collect();
    let rows: Vec<_> = orders
        .into_iter()
        .map(|order| {
            (
                leases::endpoint.eq(endpoint),
                leases::order_id.eq(order),
                leases::due_at_ms.eq(now.as_millis()),
            )
        })
        .collect();
    match connection {
        DbConnection::Sqlite(sqlite) => {
            for row in rows {
                diesel::insert_into(leases::table)
                    .values(row)
                    .on_conflict_do_nothing()
                    .execute(sqlite)?;
            }
        }
        DbConnection::Postgres(postgres) => {
            diesel::insert_into(leases::table)
                .values(rows)
                .on_conflict_do_nothing()
                .execute(postgres)?;
        }
    }
    Ok(i64::try_from(new.len()) == Ok(MAX_INTAKE))
}

/// The orders that may be tried now, longest due first. A lease that has ended is due like any other:
/// its hub has hung or is gone.
pub(super) fn due(
    connection: &mut DbConnection,
    endpoint: &str,
    admission: Admission,
    most: usize,
    now: Timestamp,
) -> QueryResult<Vec<DueOrder>> {
    let is_due = leases::due_at_ms.le(now.as_millis());
    let of_endpoint = leases::table
        .filter(leases::endpoint.eq(endpoint))
        .select((leases::order_id, leases::failures));
    let rows: Vec<(String, i32)> = match admission {
        Admission::Stopped | Admission::Closed(_) => Vec::new(),
        Admission::Open => of_endpoint
            .filter(is_due)
            .order(leases::due_at_ms)
            .limit(i64::try_from(most).unwrap_or(i64::MAX))
            .load(connection)?,
        Admission::OneNew(_) => of_endpoint
            .filter(is_due)
            .filter(leases::failures.eq(0))
            .order(leases::due_at_ms)
            .limit(1)
            .load(connection)?,
        // Whether or not its own wait has passed; one that has not failed says most.
        Admission::Probe => of_endpoint
            .filter(is_due.or(leases::token.is_null()))
            .order((leases::failures.gt(0), leases::due_at_ms))
            .limit(1)
            .load(connection)?,
    };
    Ok(rows.into_iter().map(|(order, failures)| DueOrder { order, failures }).collect())
}

/// Gives these orders to the holder of a token, until then.
pub(super) fn lease(
    connection: &mut DbConnection,
    endpoint: &str,
    orders: &[DueOrder],
    token: &str,
    until: Timestamp,
) -> QueryResult<()> {
    let orders = orders.iter().map(|due| due.order.as_str());
    let of_orders =
        leases::table.filter(leases::endpoint.eq(endpoint)).filter(leases::order_id.eq_any(orders));
    diesel::update(of_orders)
        .set((leases::token.eq(token), leases::due_at_ms.eq(until.as_millis())))
        .execute(connection)
        .map(drop)
}

/// Forgets leases of orders without queued rows.
pub(super) fn forget(
    connection: &mut DbConnection,
    endpoint: &str,
    orders: &[&str],
) -> QueryResult<()> {
    if orders.is_empty() {
        return Ok(());
    }
    let empty =
        leases::table.filter(leases::endpoint.eq(endpoint)).filter(leases::order_id.eq_any(orders));
    diesel::delete(empty).execute(connection).map(drop)
}

/// When the next order of an endpoint is due.
pub(super) fn next_due(
    connection: &mut DbConnection,
    endpoint: &str,
) -> QueryResult<Option<Timestamp>> {
    let first: Option<i64> = leases::table
        .filter(leases::endpoint.eq(endpoint))
        .select(diesel::dsl::min(leases::due_at_ms))
        .first(connection)?;
    Ok(first.map(Timestamp::from_millis))
}

/// Deletes some leases of an endpoint that is not there any more. Returns how many.
pub(super) fn delete_some(
    connection: &mut DbConnection,
    endpoint: &str,
    most: i64,
) -> QueryResult<usize> {
    let of_endpoint = leases::table.filter(leases::endpoint.eq(endpoint));
    let orders: Vec<String> = of_endpoint.select(leases::order_id).limit(most).load(connection)?;
    diesel::delete(of_endpoint.filter(leases::order_id.eq_any(orders))).execute(connection)
}
