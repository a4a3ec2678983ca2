//! Changes of orders by back ends: committed in groups behind the chat that waits, then published
//! in the order of their commits, and answered last.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use actix::{Message, Recipient};
use parking_lot::Mutex;

use super::db_thread::{DbThread, with_timeout};
use super::error::StoreError;
use super::group_queue::{GroupQueue, Reply};
use super::{AppliedChange, CallerClass, ChangeNote, OrderChange, OrderFilter, Store, StoredOrder};
use crate::db::{order_changes, orders};
use crate::room::order::{MAX_LOCATION_TARGETS, OrderFacts};
use crate::room::order_diff::OrderDiff;
use crate::webhooks::event::EventKind;
use protocol::error::Failure;
use protocol::ids::{OrderId, UserId};
use protocol::time::Timestamp;

/// The most changes of one transaction.
const MAX_GROUP: usize = 64;
/// What the log says when a part of a deleted order's chat was not removed.
pub(super) const NOT_PURGED: &str = "chat of a deleted order was not removed";

/// A change to write.
pub struct ChangeRequest {
    /// The change.
    pub change: OrderChange,
    /// Gets the committed change before the caller gets the answer. Also if nothing changed: a
    /// connection that was lost during a commit may have hidden that it did change, and a repeated
    /// call then updates a room that missed it.
    pub tell: Recipient<OrderChanged>,
}

/// An order has changed, or was already as requested. Sent in the order of the commits.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct OrderChanged(pub Arc<CommittedChange>);

/// A committed change.
#[derive(Debug)]
pub struct CommittedChange {
    /// The order before and after.
    pub changed: AppliedChange,
    /// What the back end adds to it.
    pub note: ChangeNote,
    /// When it was committed.
    pub at: Timestamp,
}

impl CommittedChange {
    /// What it changed for a recipient that knew the order as `before`.
    pub fn diff_since<'a>(&'a self, before: &'a OrderFacts) -> OrderDiff<'a> {
        let order = &self.changed.order;
        let at = self.note.at.unwrap_or(self.at);
        OrderDiff::new(&order.id, before, &order.facts, at).with_data(self.note.data.as_deref())
    }
}

/// The outcome of a change: committed, or refused because of the stored state.
pub type ChangeOutcome = Result<Arc<CommittedChange>, Failure>;

type PendingChange = (ChangeRequest, Reply<ChangeOutcome>);

/// Changes that wait for a writer.
#[derive(Default)]
pub(super) struct ChangeQueue {
    waiting: GroupQueue<ChangeRequest, ChangeOutcome>,
    /// Held by the writer that commits a group and publishes it: two writers could publish in the
    /// wrong order.
    commit_lock: Mutex<()>,
}

// === impl Store ===

impl Store {
    /// Has a change committed. It is admitted at once, even if the future is not awaited. When the
    /// future ends, the change has been sent to its receivers.
    ///
    /// # Errors
    /// If too many wait or the database is unavailable.
    pub fn change_order(
        &self,
        write: ChangeRequest,
    ) -> impl Future<Output = Result<ChangeOutcome, StoreError>> + use<> {
        let admitted = self.on_behalf_of(CallerClass::BackEnd).try_permit().map(|permit| {
            let answer = self.changes.waiting.push(write, permit);
            let changes = Arc::clone(&self.changes);
            self.writers.run_steps(move |thread| changes.commit_next(thread));
            answer
        });
        let health = Arc::clone(&self.health);
        async move { with_timeout(health, admitted?).await }
    }

    /// Removes the chat of a deleted order, part by part, behind the chat that waits.
    ///
    /// # Errors
    /// If the database is unavailable; the next start removes the rest.
    pub async fn purge(&self, order: OrderId) -> Result<(), StoreError> {
        let permit = self.on_behalf_of(CallerClass::BackEnd).try_permit()?;
        let part = async || {
            let order = order.clone();
            let removed = self.writers.run(move |thread| {
                // It may run twice: removed messages stay removed.
                thread.query(NOT_PURGED, |connection| order_changes::purge(connection, &order))
            });
            removed.await?
        };
        while with_timeout(Arc::clone(&self.health), part()).await? {}
        drop(permit);
        Ok(())
    }

    /// Reads an order as it is stored; none if it does not exist or was deleted.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn order(&self, order: OrderId) -> Result<Option<StoredOrder>, StoreError> {
        let found = self.try_read(move |connection| orders::find(connection, &order)).await?;
        Ok(found.filter(|order| !order.facts.deleted))
    }

    /// Reads the open orders of which back ends made this user the driver: up to
    /// [`MAX_LOCATION_TARGETS`] by assignment and as many by taking part.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn open_orders(&self, user: UserId) -> Result<Vec<OrderId>, StoreError> {
        let limit = i64::try_from(MAX_LOCATION_TARGETS).unwrap_or(i64::MAX);
        self.try_read(move |connection| orders::open_of_driver(connection, &user, limit)).await
    }

    /// Reads the orders after `after`, by ascending id.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn list_orders(
        &self,
        filter: OrderFilter,
        after: Option<OrderId>,
        limit: i64,
    ) -> Result<Vec<StoredOrder>, StoreError> {
        self.try_read(move |connection| orders::list(connection, &filter, after.as_ref(), limit))
            .await
    }
}

// === impl ChangeQueue ===

impl ChangeQueue {
    /// Commits and publishes the next group; returns whether more changes wait.
    fn commit_next(&self, thread: &DbThread) -> bool {
        // Another writer that has the lock checks the queue again when it is done.
        let Some(commit_lock) = self.commit_lock.try_lock() else { return false };
        let group = self.waiting.next(MAX_GROUP, Instant::now());
        if group.is_empty() {
            return false;
        }
        // A panic must not leave the changes behind that another writer skipped.
        if catch_unwind(AssertUnwindSafe(|| commit_group(thread, group))).is_err() {
            log::error!("publishing changes of orders panicked");
        }
        drop(commit_lock);
        // After the lock was released, or a change that the other writer skipped could be left
        // behind.
        !self.waiting.is_empty()
    }
}

/// Commits and publishes a group. A refused group is committed change by change, so that only the
/// bad change fails.
fn commit_group(thread: &DbThread, group: Vec<PendingChange>) {
    let (group, failed) = match try_group(thread, group) {
        Ok(()) => return,
        Err(failed) => failed,
    };
    if group.len() == 1 || matches!(failed, StoreError::Unavailable(_)) {
        refuse(group, &failed);
        return;
    }
    for change in group {
        if let Err((alone, failed)) = try_group(thread, vec![change]) {
            refuse(alone, &failed);
        }
    }
}

/// Commits and publishes a group; returns it if that fails.
fn try_group(
    thread: &DbThread,
    group: Vec<PendingChange>,
) -> Result<(), (Vec<PendingChange>, StoreError)> {
    let changes: Vec<_> = group.iter().map(|(request, _)| request.change.clone()).collect();
    let now = Timestamp::now();
    let listeners = thread.listeners();
    // It may run twice: a change that was made already changes nothing.
    let applied = thread.query("orders were not written", |connection| {
        order_changes::apply(connection, &changes, listeners.as_deref(), now)
    });
    match applied {
        Ok(outcomes) => {
            thread.announce(EventKind::OF_ORDERS);
            for (change, outcome) in group.into_iter().zip(outcomes) {
                publish(thread, change, outcome, now);
            }
            Ok(())
        }
        Err(failed) => Err((group, failed)),
    }
}

/// Sends a change to its receivers, and then the answer.
fn publish(
    thread: &DbThread,
    (request, reply): PendingChange,
    outcome: Result<AppliedChange, Failure>,
    at: Timestamp,
) {
    let outcome = outcome.map(|changed| {
        let change = Arc::new(CommittedChange { changed, note: request.change.note, at });
        if let Some(relay) = &thread.relay {
            relay.order_committed(&change.changed, &change.note, at);
        }
        request.tell.do_send(OrderChanged(Arc::clone(&change)));
        change
    });
    reply.send(Ok(outcome));
}

fn refuse(group: Vec<PendingChange>, failed: &StoreError) {
    for (_, reply) in group {
        reply.send(Err(failed.clone()));
    }
}
