//! Changes of orders by back ends: committed in groups behind the chat that waits, then published
//! in the order of their commits, and answered last.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use actix::{Handler, Message, Recipient};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::reader::{QUEUE_TIMEOUT, with_timeout};
use super::writer::Writer;
use super::{
    AppliedChange, CallerClass, ChangeNote, OrderChange, OrderFilter, Store, StoreError,
    StoredOrder,
};
use crate::db::{order_changes, orders};
use crate::ids::{OrderId, UserId};
use crate::protocol::error::Failure;
use crate::room::order::MAX_LOCATION_TARGETS;
use crate::time::Timestamp;
use crate::webhooks::event::EventKind;

/// The most changes of one transaction.
const MAX_GROUP: usize = 64;
/// For how many deleted orders a start continues to remove chat, at most.
const MAX_UNPURGED: i64 = 1000;

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

/// The outcome of a change: committed, or refused because of the stored state.
pub type ChangeOutcome = Result<Arc<CommittedChange>, Failure>;

#[derive(Default)]
pub(super) struct ChangeQueue {
    waiting: Mutex<VecDeque<PendingChange>>,
    /// Held by the writer that commits a group and publishes it: two writers could publish in the
    /// wrong order.
    commit_lock: Mutex<()>,
}

struct PendingChange {
    write: ChangeRequest,
    asked: Instant,
    done: oneshot::Sender<Result<ChangeOutcome, StoreError>>,
    _permit: OwnedSemaphorePermit,
}

/// Commit the next group.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct CommitOrderChanges(Arc<ChangeQueue>);

/// Removes a part of a deleted order's chat; answers whether there is more.
#[derive(Message)]
#[rtype(result = "Result<bool, StoreError>")]
pub(super) struct PurgePart(OrderId);

/// Continues the removals that an earlier process did not finish.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct PurgeUnfinished;

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
        let (done, changed) = oneshot::channel();
        let permits = &self.permits_by_class[CallerClass::BackEnd as usize];
        let admitted = Arc::clone(permits).try_acquire_owned().map(|permit| {
            let waiting = PendingChange { write, asked: Instant::now(), done, _permit: permit };
            self.changes.waiting().push_back(waiting);
            self.writers.do_send(CommitOrderChanges(Arc::clone(&self.changes)));
        });
        let health = Arc::clone(&self.health);
        async move {
            admitted.map_err(|_| StoreError::Busy)?;
            with_timeout(health, async { changed.await.map_err(|_| StoreError::Closed)? }).await
        }
    }

    /// Removes the chat of a deleted order, part by part, behind the chat that waits.
    ///
    /// # Errors
    /// If the database is unavailable; the next start removes the rest.
    pub async fn purge(&self, order: OrderId) -> Result<(), StoreError> {
        let permits = &self.permits_by_class[CallerClass::BackEnd as usize];
        let permit = Arc::clone(permits).try_acquire_owned().map_err(|_| StoreError::Busy)?;
        let part = async || {
            self.writers.send(PurgePart(order.clone())).await.map_err(|_| StoreError::Closed)?
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
    fn waiting(&self) -> MutexGuard<'_, VecDeque<PendingChange>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next changes for one transaction, without those that have waited too long.
    fn next(&self, now: Instant) -> Vec<PendingChange> {
        let mut waiting = self.waiting();
        let mut next = Vec::new();
        while next.len() < MAX_GROUP {
            let Some(change) = waiting.pop_front() else { break };
            if now.saturating_duration_since(change.asked) > QUEUE_TIMEOUT {
                drop(change.done.send(Err(StoreError::Busy)));
            } else {
                next.push(change);
            }
        }
        next
    }

    /// The lock that a writer needs to commit. None if another writer has it; that one checks the
    /// queue again when it is done.
    fn commit_lock(&self) -> Option<MutexGuard<'_, ()>> {
        match self.commit_lock.try_lock() {
            Ok(commit_lock) => Some(commit_lock),
            Err(TryLockError::Poisoned(commit_lock)) => Some(commit_lock.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

// === impl PendingChange ===

impl PendingChange {
    /// Sends the answers, in the order of the commits.
    fn answer(self, outcome: Result<AppliedChange, Failure>, at: Timestamp) {
        let outcome = outcome.map(|changed| {
            let change = Arc::new(CommittedChange { changed, note: self.write.change.note, at });
            self.write.tell.do_send(OrderChanged(Arc::clone(&change)));
            change
        });
        // A caller that no longer waits has dropped the receiver.
        drop(self.done.send(Ok(outcome)));
    }
}

// === impl Writer ===

impl Writer {
    /// Commits and publishes a group. A refused group is committed change by change, so that only
    /// the bad change fails.
    fn change_orders(&self, group: Vec<PendingChange>) {
        let (group, failed) = match self.try_group(group) {
            Ok(()) => return,
            Err(failed) => failed,
        };
        if group.len() == 1 || matches!(failed, StoreError::Unavailable(_)) {
            for change in group {
                drop(change.done.send(Err(failed.clone())));
            }
            return;
        }
        for change in group {
            if let Err((alone, failed)) = self.try_group(vec![change]) {
                for one in alone {
                    drop(one.done.send(Err(failed.clone())));
                }
            }
        }
    }

    /// Commits and publishes a group; returns it if that fails.
    fn try_group(&self, group: Vec<PendingChange>) -> Result<(), (Vec<PendingChange>, StoreError)> {
        let changes: Vec<_> = group.iter().map(|one| one.write.change.clone()).collect();
        let now = Timestamp::now();
        // It may run twice: a change that was made already changes nothing.
        let listeners = self.listeners();
        let audience = self.audience(listeners.as_deref());
        match self.run(|connection| order_changes::apply(connection, &changes, audience, now)) {
            Ok(outcomes) => {
                self.announce(EventKind::OF_ORDERS);
                for (change, outcome) in group.into_iter().zip(outcomes) {
                    change.answer(outcome, now);
                }
                Ok(())
            }
            Err(failure) => Err((group, self.report_failure("orders were not written", failure))),
        }
    }
}

impl Handler<CommitOrderChanges> for Writer {
    type Result = ();

    fn handle(&mut self, CommitOrderChanges(changes): CommitOrderChanges, ctx: &mut Self::Context) {
        let Some(commit_lock) = changes.commit_lock() else { return };
        let group = changes.next(Instant::now());
        if group.is_empty() {
            return;
        }
        // Publishing runs code of others, and a panic in it would end this thread for good.
        if catch_unwind(AssertUnwindSafe(|| self.change_orders(group))).is_err() {
            log::error!("telling of changed orders panicked");
        }
        drop(commit_lock);
        // New changes wait behind the chat that has arrived meanwhile. This is checked after the
        // lock was released, or a change that the other writer skipped could be left behind.
        if !changes.waiting().is_empty() {
            ctx.address().do_send(CommitOrderChanges(Arc::clone(&changes)));
        }
    }
}

impl Handler<PurgePart> for Writer {
    type Result = Result<bool, StoreError>;

    fn handle(&mut self, PurgePart(order): PurgePart, _: &mut Self::Context) -> Self::Result {
        // It may run twice: removed messages stay removed.
        self.run(|connection| order_changes::purge(connection, &order)).map_err(|failure| {
            self.report_failure("chat of a deleted order was not removed", failure)
        })
    }
}

impl Handler<PurgeUnfinished> for Writer {
    type Result = ();

    fn handle(&mut self, _: PurgeUnfinished, ctx: &mut Self::Context) {
        let found = self.run(|connection| order_changes::orders_to_purge(connection, MAX_UNPURGED));
        match found {
            Ok(orders) => {
                for order in orders {
                    ctx.address().do_send(PurgeInBackground(order));
                }
            }
            Err(failure) => {
                drop(self.report_failure("deleted orders were not looked for", failure));
            }
        }
    }
}

/// The same in the background, until nothing is left.
#[derive(Message)]
#[rtype(result = "()")]
struct PurgeInBackground(OrderId);

impl Handler<PurgeInBackground> for Writer {
    type Result = ();

    fn handle(&mut self, PurgeInBackground(order): PurgeInBackground, ctx: &mut Self::Context) {
        match self.run(|connection| order_changes::purge(connection, &order)) {
            // The rest waits behind the chat that has arrived meanwhile.
            Ok(true) => ctx.address().do_send(PurgeInBackground(order)),
            Ok(false) => {}
            Err(failure) => {
                drop(self.report_failure("chat of a deleted order was not removed", failure));
            }
        }
    }
}
