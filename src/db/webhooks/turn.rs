//! A turn for one endpoint: in one transaction the results of the last requests are recorded, new
//! rows are queued, and the next orders are taken.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};

use super::leases::DueOrder;
use super::{endpoint, in_state, leases};
use crate::db::connection::DbConnection;
use crate::db::messages::unreadable;
use crate::db::schema::{orders, participants, webhook_outbox as outbox};
use crate::webhooks::event::EventKind;
use crate::webhooks::health::{Admission, Attempt, EndpointState};
use crate::webhooks::schedule::RetrySchedule;
use protocol::ids::UserId;
use protocol::time::Timestamp;

/// The most rows that one turn hands out.
const MAX_ROWS: usize = 256;
/// The most of them of one order.
const MAX_ROWS_OF_ORDER: usize = 32;

/// By an index for each order, whatever the planner thinks of their number.
const ROWS_ON_POSTGRES: &str = "SELECT o.* FROM unnest($2) AS wanted (order_id) CROSS JOIN LATERAL \
     (SELECT number, order_id, id, kind, data, created_at_ms FROM webhook_outbox \
     WHERE webhook_outbox.endpoint = $1 AND webhook_outbox.order_id = wanted.order_id \
     AND webhook_outbox.state = 1 ORDER BY number LIMIT $3) AS o";
/// The server's clock: those of hubs may differ by more than a lease outlasts its request.
const NOW_ON_POSTGRES: &str =
    "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms";

/// What a turn records, and how much it may take.
#[derive(Debug, Clone)]
pub struct TurnRequest {
    /// The endpoint's name.
    pub endpoint: Arc<str>,
    /// The hash of its entry.
    pub entry: String,
    /// The id of this report. Sent once more under the same id, its attempts have no effect.
    pub report: String,
    /// The requests that have ended, in their order, each with a random number from 0 to 1.
    pub attempts: Vec<(Attempt, f64)>,
    /// What became of the orders in hand.
    pub results: Vec<OrderResult>,
    /// The most orders to take.
    pub most: usize,
    /// How long they are leased.
    pub lease: Duration,
    /// The waits of an endpoint that is down.
    pub schedule: Arc<RetrySchedule>,
}

/// What became of an order in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderResult {
    /// The order.
    pub order: String,
    /// The token by which it was taken.
    pub token: String,
    /// The rows that were delivered.
    pub delivered: Vec<i64>,
    /// The row that died, and why.
    pub dead: Option<(i64, String)>,
    /// How often the order's next row has failed.
    pub failures: u32,
    /// When that may be tried again.
    pub wait: Duration,
}

/// An order that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedOrder {
    /// The order, or an empty text.
    pub order: String,
    /// Without it no result counts.
    pub token: String,
    /// How often its first row has failed.
    pub failures: u32,
    /// Its rows, in the order in which they are sent. There may be more.
    pub rows: Vec<ClaimedRow>,
    /// Who takes part in the order, if a row is a message.
    pub involved: Vec<UserId>,
}

/// A row to send.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
#[diesel(table_name = outbox)]
pub struct ClaimedRow {
    /// Its number.
    pub number: i64,
    order_id: String,
    /// The `webhook-id`.
    pub id: String,
    /// The `type` of the webhook.
    pub kind: String,
    /// JSON of its data.
    pub data: String,
    created_at_ms: i64,
}

/// The end of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnOutcome {
    /// How the endpoint fares.
    pub state: EndpointState,
    /// What may be sent.
    pub admission: Admission,
    /// The orders that were taken.
    pub orders: Vec<ClaimedOrder>,
    /// In how long another order is due; none if none waits.
    pub next_due: Option<Duration>,
    /// Results that had no effect, because their leases were lost.
    pub lost: usize,
}

impl ClaimedRow {
    /// When it happened.
    pub fn created_at(&self) -> Timestamp {
        Timestamp::from_millis(self.created_at_ms)
    }
}

/// Takes a turn. Until it is committed, other hubs wait with theirs for this endpoint. `now` is for
/// tests; without one the database's clock counts.
///
/// # Errors
/// If a query fails; nothing is recorded and nothing is taken then.
pub fn take_turn(
    connection: &mut DbConnection,
    request: &TurnRequest,
    now: Option<Timestamp>,
) -> QueryResult<TurnOutcome> {
    // The first statement writes, so on SQLite the transaction is a writer from its start.
    connection.transaction(|connection| {
        let mut state = endpoint::lock(connection, &request.endpoint)?;
        let now = now.map_or_else(|| database_now(connection), Ok)?;
        let before = state.clone();
        let lost = leases::record(connection, &request.endpoint, &request.results, now)?;
        let mut is_back = state.use_entry(&request.entry);
        let is_counted = !request.attempts.is_empty() && state.is_new_report(&request.report);
        for (attempt, random) in request.attempts.iter().filter(|_| is_counted) {
            is_back |= state.apply(attempt, &request.entry, &request.schedule, *random);
        }
        if is_back && !state.is_down() {
            leases::make_due(connection, &request.endpoint, now)?;
        }
        let admission = state.admission(&request.entry, now);
        let mut more = false;
        let mut claimed = Vec::new();
        if request.most > 0 && !matches!(admission, Admission::Stopped | Admission::Closed(_)) {
            more = leases::take_in(connection, &request.endpoint, now)?;
            claimed = claim(connection, request, admission, now)?;
        }
        if admission == Admission::Probe && !claimed.is_empty() {
            // Other hubs wait for the result of this one.
            state.retry_at = Some(now.plus(request.lease));
        }
        if state != before {
            endpoint::save(connection, &request.endpoint, &state)?;
        }
        let next_due = match admission {
            Admission::Stopped => None,
            Admission::Closed(at) => Some(at.until_from(now)),
            _ if more => Some(Duration::ZERO),
            _ => {
                let due = leases::next_due(connection, &request.endpoint)?;
                let opens = if let Admission::OneNew(at) = admission { Some(at) } else { None };
                due.map(|due| due.max(opens.unwrap_or(due)).until_from(now))
            }
        };
        Ok(TurnOutcome { state, admission, orders: claimed, next_due, lost })
    })
}

fn database_now(connection: &mut DbConnection) -> QueryResult<Timestamp> {
    #[derive(QueryableByName)]
    struct Now {
        #[diesel(sql_type = BigInt)]
        now_ms: i64,
    }
    match connection {
        DbConnection::Sqlite(_) => Ok(Timestamp::now()),
        DbConnection::Postgres(postgres) => {
            let now: Now = diesel::sql_query(NOW_ON_POSTGRES).get_result(postgres)?;
            Ok(Timestamp::from_millis(now.now_ms))
        }
    }
}

/// Takes orders that are due, with their first rows.
fn claim(
    connection: &mut DbConnection,
    request: &TurnRequest,
    admission: Admission,
    now: Timestamp,
) -> QueryResult<Vec<ClaimedOrder>> {
    let most = request.most.min(MAX_ROWS);
    let due = leases::due(connection, &request.endpoint, admission, most, now)?;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let token = uuid::Uuid::new_v4().to_string();
    leases::lease(connection, &request.endpoint, &due, &token, now.plus(request.lease))?;
    let rows_each = (MAX_ROWS / due.len()).clamp(1, MAX_ROWS_OF_ORDER);
    let mut rows = rows_of(connection, &request.endpoint, &due, rows_each)?;
    let mut empty = Vec::new();
    let mut claimed = Vec::with_capacity(due.len());
    for DueOrder { order, failures } in &due {
        let Some(rows) = rows.remove(order) else {
            empty.push(order.as_str());
            continue;
        };
        let failures = u32::try_from(*failures).unwrap_or(0);
        let (order, token) = (order.clone(), token.clone());
        claimed.push(ClaimedOrder { order, token, failures, rows, involved: Vec::new() });
    }
    leases::forget(connection, &request.endpoint, &empty)?;
    add_involved(connection, &mut claimed)?;
    Ok(claimed)
}

/// The first queued rows of each order, in the order of their numbers.
fn rows_of(
    connection: &mut DbConnection,
    endpoint: &str,
    due: &[DueOrder],
    rows_each: usize,
) -> QueryResult<HashMap<String, Vec<ClaimedRow>>> {
    let rows_each = i64::try_from(rows_each).unwrap_or(i64::MAX);
    let mut rows = Vec::new();
    match connection {
        DbConnection::Sqlite(sqlite) => {
            for one in due {
                let of_order: Vec<(i64, String, String, String, String, i64)> = outbox::table
                    .filter(outbox::endpoint.eq(endpoint))
                    .filter(outbox::order_id.eq(&one.order))
                    .filter(in_state!(queued))
                    .order(outbox::number)
                    .limit(rows_each)
                    .select((
                        outbox::number,
                        outbox::order_id,
                        outbox::id,
                        outbox::kind,
                        outbox::data,
                        outbox::created_at_ms,
                    ))
                    .load(sqlite)?;
                rows.extend(of_order.into_iter().map(
                    |(number, order_id, id, kind, data, created_at_ms)| ClaimedRow {
                        number,
                        order_id,
                        id,
                        kind,
                        data,
                        created_at_ms,
                    },
                ));
            }
        }
        DbConnection::Postgres(postgres) => {
            let orders: Vec<&str> = due.iter().map(|one| one.order.as_str()).collect();
            rows = diesel::sql_query(ROWS_ON_POSTGRES)
                .bind::<Text, _>(endpoint)
                .bind::<Array<Text>, _>(orders)
                .bind::<BigInt, _>(rows_each)
                .load(postgres)?;
        }
    }
    rows.sort_by_key(|row: &ClaimedRow| row.number);
    let mut by_order: HashMap<String, Vec<ClaimedRow>> = HashMap::new();
    for row in rows {
        by_order.entry(row.order_id.clone()).or_default().push(row);
    }
    Ok(by_order)
}

/// Adds who takes part in the orders of which a message is told.
fn add_involved(connection: &mut DbConnection, claimed: &mut [ClaimedOrder]) -> QueryResult<()> {
    let is_message = |row: &ClaimedRow| row.kind == EventKind::ChatMessage.as_str();
    let ids: Vec<String> = claimed
        .iter()
        .filter(|claimed| claimed.rows.iter().any(is_message))
        .map(|claimed| claimed.order.clone())
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    let drivers: Vec<(String, Option<String>)> = orders::table
        .filter(orders::id.eq_any(&ids))
        .filter(orders::driver_id.is_not_null())
        .select((orders::id, orders::driver_id))
        .load(connection)?;
    let parts: Vec<(String, String)> = participants::table
        .filter(participants::order_id.eq_any(&ids))
        .filter(participants::removed.eq(false))
        .select((participants::order_id, participants::user_id))
        .load(connection)?;
    let drivers = drivers.into_iter().filter_map(|(order, driver)| Some((order, driver?)));
    let mut involved: HashMap<String, BTreeSet<UserId>> = HashMap::new();
    for (order, user) in drivers.chain(parts) {
        let user = UserId::new(&user).map_err(unreadable)?;
        involved.entry(order).or_default().insert(user);
    }
    for one in claimed {
        one.involved = involved.remove(&one.order).into_iter().flatten().collect();
    }
    Ok(())
}
