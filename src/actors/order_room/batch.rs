//! Fixes that came together, over HTTP: the newest goes to the members like a live one, and whoever
//! has brought them hears which count.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{AsyncContext, Context, Handler, Message};
use tokio::sync::oneshot;

use super::{OrderRoom, RoomPermit};
use crate::actors::shared::Shared;
use crate::auth::Identity;
use crate::ids::{OrderId, UserId};
use crate::protocol::client::Fix;
use crate::protocol::error::Failure;
use crate::protocol::location::Position;
use crate::room::order::OrderFacts;
use crate::room::policy::{Action, driver_to_report, judge};
use crate::time::Timestamp;

/// How long fixes wait for an order that is being read, before they look again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// By whom fixes are posted.
#[derive(Debug, Clone)]
pub enum Reporter {
    /// Somebody who says to be the order's driver.
    Driver(Arc<Identity>),
    /// A back end, for whoever is the driver.
    BackEnd,
}

/// Fixes for one order.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Batch {
    /// By whom.
    pub by: Reporter,
    /// The fixes, in order of their times.
    pub fixes: Arc<[Fix]>,
    /// Who hears what became of them.
    pub done: oneshot::Sender<Result<Batched, Failure>>,
    /// Its place in the queue.
    pub permit: RoomPermit,
}

/// What became of fixes for one order.
#[derive(Debug, Clone, PartialEq)]
pub struct Batched {
    /// Whose they are.
    pub driver: UserId,
    /// How many of them, the first ones, are older than what was known.
    pub stale: usize,
    /// The last position, where it is one of these.
    pub last: Option<Position>,
}

/// By which driver the fixes count that somebody posts for an order.
///
/// # Errors
/// As [`judge`]; `not_found` where a back end posts for an order without a driver.
pub fn driver_of(
    shared: &Shared,
    order: &OrderId,
    facts: &OrderFacts,
    by: &Reporter,
) -> Result<UserId, Failure> {
    match by {
        Reporter::Driver(identity) => {
            let asker = shared.asker(identity, order);
            judge(&shared.rules, facts, asker, Action::Locate, Timestamp::now())?;
            Ok(identity.user.clone())
        }
        Reporter::BackEnd => driver_to_report(&shared.rules, facts),
    }
}

impl OrderRoom {
    /// Takes fixes. Whether a member turned out to be gone stands beside what became of them.
    fn take_batch(&mut self, batch: &Batch, now: Instant) -> Result<(Batched, bool), Failure> {
        let driver = driver_of(&self.shared, &self.order, &self.facts, &batch.by)?;
        let at = Timestamp::now();
        let stale = self.track.accept_newest(&driver, &batch.fixes, at, now);
        let newest = batch.fixes.get(stale..).and_then(<[Fix]>::last);
        let gone = newest.is_some_and(|newest| self.took(newest.battery, at));
        let last = newest.and(self.track.last()).cloned();
        Ok((Batched { driver, stale, last }, gone))
    }
}

impl Handler<Batch> for OrderRoom {
    type Result = ();

    fn handle(&mut self, batch: Batch, ctx: &mut Context<Self>) {
        if self.loading.is_some() {
            // Whoever has brought them waits so long, and no longer.
            if !batch.done.is_closed() {
                ctx.notify_later(batch, LOOK_AGAIN);
            }
            return;
        }
        let (outcome, gone) = match self.take_batch(&batch, Instant::now()) {
            Ok((batched, gone)) => (Ok(batched), gone),
            Err(failure) => (Err(failure), false),
        };
        // Whoever no longer wants to know has dropped the other half.
        drop(batch.done.send(outcome));
        if gone {
            self.tick(Instant::now(), ctx);
        }
    }
}
