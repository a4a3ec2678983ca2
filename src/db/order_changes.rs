//! The transaction by which back ends change orders. It locks them, decides each change against the
//! stored state, and raises `rev` whenever something changes that rights depend on.

use std::collections::BTreeMap;
use std::sync::Arc;

use diesel::prelude::*;

use super::connection::DbConnection;
use super::idempotency::{self, CallOutcome, Idempotent, StoredAnswer};
use super::orders::{self, StoredOrder};
use super::participants;
use super::read_marks;
use super::schema::{chat_sent, messages, orders as table};
use super::{trail, unread, webhooks};
use crate::room::change::{OrderCommand, StoredState};
use crate::room::order::OrderFacts;
use crate::webhooks::order_events::ChangeToTell;
use crate::webhooks::outbox::Listeners;
use protocol::error::{ErrorCode, Failure};
use protocol::ids::{OrderId, UserId};
use protocol::time::Timestamp;

/// How many messages of a deleted order one transaction removes.
const PURGE_STEP: i64 = 500;

/// Decides the state of an order after a command, or why the command is refused.
pub type Decide = dyn Fn(&StoredState, &OrderCommand) -> Result<StoredState, Failure> + Send + Sync;

/// A change to apply.
#[derive(Clone)]
pub struct OrderChange {
    /// The order to change.
    pub order: OrderId,
    /// The command.
    pub command: OrderCommand,
    /// The function that decides.
    pub decide: Arc<Decide>,
    /// Details for the receivers of the change.
    pub note: ChangeNote,
    /// The call behind the change, if it is idempotent.
    pub idempotent: Option<Idempotent<AppliedChange>>,
}

/// What a back end adds to a change, for the receivers of the change.
#[derive(Debug, Clone, Default)]
pub struct ChangeNote {
    /// When it happened at the back end.
    pub at: Option<Timestamp>,
    /// Further data about a new status.
    pub data: Option<Box<serde_json::value::RawValue>>,
}

/// The outcome of a change.
#[derive(Debug, Clone, PartialEq)]
pub struct AppliedChange {
    /// The state before.
    pub before: OrderFacts,
    /// The order as it is stored now.
    pub order: StoredOrder,
    /// Whether this change created it.
    pub created: bool,
    /// Whether something changed that rights depend on; if so, `rev` was raised.
    pub raised: bool,
    /// The answer to an idempotent call: the one of now, or the one of the first time.
    pub answer: Option<StoredAnswer>,
}

/// Applies changes in one transaction, one after the other, with one outcome each. A refused change
/// changes nothing and does not delay the others. What changes is told to listeners of webhooks.
///
/// # Errors
/// If a query fails; nothing is changed then.
pub fn apply(
    connection: &mut DbConnection,
    changes: &[OrderChange],
    listeners: Option<&Listeners>,
    now: Timestamp,
) -> QueryResult<Vec<Result<AppliedChange, Failure>>> {
    // On SQLite the first statement locks, so the transaction is a writer from its start.
    connection.transaction(|connection| {
        let mut created_rows = lock(connection, changes, now)?;
        let mut apply_one = |change: &OrderChange| {
            let done = idempotency::apply_once(
                connection,
                change.idempotent.as_ref(),
                now,
                |connection| {
                    let decided = decide(connection, change, &mut created_rows, now)?;
                    if let (Some(listeners), Ok(applied)) = (listeners, &decided) {
                        tell(connection, change, applied, listeners, now)?;
                    }
                    Ok(decided)
                },
            )?;
            Ok(match done {
                Ok(CallOutcome::New(done, answer)) => Ok(AppliedChange { answer, ..done }),
                Ok(CallOutcome::Replayed(answer)) => replayed(connection, &change.order, answer)?,
                Err(failure) => Err(failure),
            })
        };
        changes.iter().map(&mut apply_one).collect()
    })
}

/// Decides one change and writes its outcome. `created_rows` are the orders whose rows are new.
fn decide(
    connection: &mut DbConnection,
    change: &OrderChange,
    created_rows: &mut BTreeMap<&OrderId, bool>,
    now: Timestamp,
) -> QueryResult<Result<AppliedChange, Failure>> {
    let OrderChange { order, command, decide, .. } = change;
    let Some(stored) = orders::find(connection, order)? else { return Ok(Err(no_such_order())) };
    // An order is new only for the first change to a row that was just created.
    let exists = !stored.facts.deleted && !created_rows.remove(order).unwrap_or(false);
    let known = StoredState { facts: stored.facts.clone(), version: stored.version, exists };
    match decide(&known, command) {
        Ok(decided) => save(connection, stored, &known, decided, now).map(Ok),
        Err(failure) => Ok(Err(failure)),
    }
}

/// Writes what endpoints are told of a change.
fn tell(
    connection: &mut DbConnection,
    change: &OrderChange,
    applied: &AppliedChange,
    listeners: &Listeners,
    now: Timestamp,
) -> QueryResult<()> {
    let AppliedChange { before, order, created, .. } = applied;
    let at = change.note.at.unwrap_or(now);
    let told = ChangeToTell {
        order_id: &order.id,
        before,
        now: &order.facts,
        rev: order.rev,
        version: order.version,
        created: *created,
        at,
        data: change.note.data.as_deref(),
    };
    let events = told.events(listeners.any()).into_iter().map(|(kind, data)| {
        let id = uuid::Uuid::now_v7().to_string();
        webhooks::NewEvent { kind, order: order.id.as_str(), id, data, at }
    });
    webhooks::insert(connection, &events.collect::<Vec<_>>(), listeners, now)
}

/// The order after a repeated idempotent call. It is reported as unchanged, so that receivers who
/// missed the change, because the connection was lost during the commit, get it now.
fn replayed(
    connection: &mut DbConnection,
    order: &OrderId,
    answer: StoredAnswer,
) -> QueryResult<Result<AppliedChange, Failure>> {
    let found = orders::find(connection, order)?.ok_or_else(no_such_order);
    Ok(found.map(|order| {
        let (before, answer) = (order.facts.clone(), Some(answer));
        AppliedChange { before, order, created: false, raised: false, answer }
    }))
}

fn no_such_order() -> Failure {
    Failure::new(ErrorCode::NotFound, "no such order")
}

/// Locks the orders by ascending id, as chat does, so that the two never deadlock. Creates missing
/// orders where the command allows it, and returns which ones it created.
fn lock<'a>(
    connection: &mut DbConnection,
    changes: &'a [OrderChange],
    now: Timestamp,
) -> QueryResult<BTreeMap<&'a OrderId, bool>> {
    let mut ids = BTreeMap::new();
    for OrderChange { order, command, .. } in changes {
        *ids.entry(order).or_insert(false) |=
            matches!(command, OrderCommand::Patch(patch) if patch.creates);
    }
    for (order, is_created) in &mut ids {
        *is_created = *is_created && create(connection, order, now)?;
        if !*is_created {
            diesel::update(table::table.find(order.as_str()))
                .set(table::rev.eq(table::rev))
                .execute(connection)?;
        }
    }
    Ok(ids)
}

/// Creates an order's row, unless it exists.
fn create(connection: &mut DbConnection, order: &OrderId, now: Timestamp) -> QueryResult<bool> {
    macro_rules! create_on {
        ($connection:expr) => {
            diesel::insert_into(table::table)
                .values((
                    table::id.eq(order.as_str()),
                    table::created_at_ms.eq(now.as_millis()),
                    table::updated_at_ms.eq(now.as_millis()),
                ))
                .on_conflict_do_nothing()
                .execute($connection)
        };
    }
    let inserted = match connection {
        DbConnection::Sqlite(sqlite) => create_on!(sqlite),
        DbConnection::Postgres(postgres) => create_on!(postgres),
    };
    inserted.map(|rows| rows == 1)
}

/// Writes the decided state, if it differs.
fn save(
    connection: &mut DbConnection,
    stored: StoredOrder,
    known: &StoredState,
    decided: StoredState,
    now: Timestamp,
) -> QueryResult<AppliedChange> {
    let before = stored.facts.clone();
    let created = !known.exists && decided.exists;
    let raised = created || before != decided.facts;
    if !raised && known.version == decided.version {
        return Ok(AppliedChange { before, order: stored, created, raised, answer: None });
    }
    let StoredState { facts, version, .. } = decided;
    participants::save(connection, &stored.id, &before.participants, &facts.participants)?;
    let deleted = facts.deleted;
    let order = StoredOrder {
        version,
        rev: stored.rev + i64::from(raised),
        updated_at: now,
        last_position: stored.last_position.filter(|_| !deleted),
        facts,
        ..stored
    };
    write(connection, &order, now)?;
    Ok(AppliedChange { before, order, created, raised, answer: None })
}

fn write(connection: &mut DbConnection, order: &StoredOrder, now: Timestamp) -> QueryResult<()> {
    let facts = &order.facts;
    let row = table::table.find(order.id.as_str());
    diesel::update(row)
        .set((
            table::status.eq(facts.status.as_deref()),
            table::driver_id.eq(facts.driver_id.as_ref().map(UserId::as_str)),
            table::driver_name.eq(facts.driver_name.as_deref()),
            table::ended_at_ms.eq(facts.ended_at.map(Timestamp::as_millis)),
            table::shown_since_ms.eq(facts.shown_since.map(Timestamp::as_millis)),
            table::dispatched.eq(facts.dispatched),
            table::rev.eq(order.rev),
            table::version.eq(order.version),
            table::updated_at_ms.eq(now.as_millis()),
            table::deleted_at_ms.eq(facts.deleted.then_some(now.as_millis())),
            table::purge_trail_ms.eq(facts.remade_at.map(Timestamp::as_millis)),
        ))
        .execute(connection)?;
    if facts.deleted {
        let gone = (
            table::last_location.eq(None::<&str>),
            table::purge_to.eq(order.last_seq),
            table::purge_trail_ms.eq(now.as_millis()),
        );
        diesel::update(row).set(gone).execute(connection)?;
        read_marks::forget(connection, &order.id)?;
        unread::forget(connection, &order.id)?;
    }
    Ok(())
}

/// Removes a part of a deleted order's trail or chat; true if there may be more. If the order was
/// made again meanwhile, its new messages and positions stay.
///
/// # Errors
/// If a query fails.
pub fn purge(connection: &mut DbConnection, order: &OrderId) -> QueryResult<bool> {
    let row = table::table.find(order.as_str());
    let marks: Option<(Option<i64>, Option<i64>)> =
        row.select((table::purge_to, table::purge_trail_ms)).get_result(connection).optional()?;
    let Some((Some(purge_to), trail_upto)) = marks else { return Ok(false) };
    if let Some(upto) = trail_upto
        && trail::purge(connection, order.as_str(), Timestamp::from_millis(upto))?
    {
        return Ok(true);
    }
    let of_order = messages::order_id.eq(order.as_str());
    let first: Option<i64> = messages::table
        .filter(of_order)
        .select(diesel::dsl::min(messages::seq))
        .get_result(connection)?;
    let Some(first) = first.filter(|first| *first <= purge_to) else {
        let done = row.filter(table::purge_to.eq(purge_to));
        diesel::update(done).set(table::purge_to.eq(None::<i64>)).execute(connection)?;
        return Ok(false);
    };
    let upto = purge_to.min(first.saturating_add(PURGE_STEP - 1));
    let part = messages::table.filter(of_order).filter(messages::seq.le(upto));
    diesel::delete(part).execute(connection)?;
    let hashes = chat_sent::table.filter(chat_sent::order_id.eq(order.as_str()));
    diesel::delete(hashes.filter(chat_sent::seq.le(upto))).execute(connection)?;
    Ok(true)
}

/// Deleted orders whose chat is not removed yet, because a process ended before it was done.
///
/// # Errors
/// If the query fails.
pub fn orders_to_purge(connection: &mut DbConnection, limit: i64) -> QueryResult<Vec<OrderId>> {
    let ids: Vec<String> = table::table
        .filter(table::purge_to.is_not_null())
        .select(table::id)
        .order(table::id)
        .limit(limit)
        .load(connection)?;
    ids.iter().map(|id| OrderId::new(id).map_err(super::messages::unreadable)).collect()
}
