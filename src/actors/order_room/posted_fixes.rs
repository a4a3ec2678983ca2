//! Fixes that are posted together over HTTP: the newest goes to the members like a live one, and
//! the caller learns which of them count.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{AsyncContext, Context, Handler, Message};
use tokio::sync::oneshot;

use super::{OrderRoom, RoomPermit};
use crate::actors::shared::Shared;
use crate::auth::Identity;
use crate::room::order::OrderFacts;
use crate::room::policy::{Action, driver_to_report};
use protocol::error::Failure;
use protocol::events::location::Fix;
use protocol::ids::{OrderId, UserId};
use protocol::location::Position;
use protocol::time::Timestamp;

/// How long posted fixes wait for an order that is being read, before the next try.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Who posts fixes.
#[derive(Debug, Clone)]
pub enum FixSource {
    /// A user who claims to be the order's driver.
    Driver(Arc<Identity>),
    /// A back end, on behalf of the order's current driver.
    BackEnd,
}

/// Posts fixes for one order.
#[derive(Message)]
#[rtype(result = "()")]
pub struct PublishFixes {
    /// Who posts them.
    pub by: FixSource,
    /// The fixes, in order of their times.
    pub fixes: Arc<[Fix]>,
    /// Takes the outcome.
    pub done: oneshot::Sender<Result<PublishedFixes, Failure>>,
    /// The permit of the room's queue.
    pub permit: RoomPermit,
}

/// The outcome of posted fixes.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedFixes {
    /// The driver for whom they count.
    pub driver: UserId,
    /// How many of them, counted from the first, are older than what was known.
    pub stale: usize,
    /// The last position, where it is one of these.
    pub last: Option<Position>,
}

/// The driver for whom posted fixes count.
///
/// # Errors
/// `forbidden` to all but the order's driver, `order_closed` where the order has ended, `not_found` where a back end posts for an order without a driver.
pub fn driver_for_fixes(
    shared: &Shared,
    order: &OrderId,
    facts: &OrderFacts,
    by: &FixSource,
) -> Result<UserId, Failure> {
    match by {
        FixSource::Driver(identity) => {
            shared.rights_of(identity, order, facts).to(Action::Locate)?;
            Ok(identity.user.clone())
        }
        FixSource::BackEnd => driver_to_report(&shared.rules, facts),
    }
}

impl OrderRoom {
    /// Handles posted fixes. Returns their outcome, and whether the room's next deadline may have
    /// changed.
    fn accept_posted_fixes(
        &mut self,
        posted: &PublishFixes,
        now: Instant,
    ) -> Result<(PublishedFixes, bool), Failure> {
        let driver = driver_for_fixes(&self.shared, &self.order, &self.facts, &posted.by)?;
        let at = Timestamp::now();
        let stale = self.track.accept_newest(&driver, &posted.fixes, at, now);
        let newest = posted.fixes.get(stale..).and_then(<[Fix]>::last);
        let deadline_changed =
            newest.is_some_and(|newest| self.publish_position(newest.battery, at));
        let last = newest.and(self.track.last()).cloned();
        Ok((PublishedFixes { driver, stale, last }, deadline_changed))
    }
}

impl Handler<PublishFixes> for OrderRoom {
    type Result = ();

    fn handle(&mut self, posted: PublishFixes, ctx: &mut Context<Self>) {
        if self.loading.is_some() {
            // Retries only as long as the caller waits.
            if !posted.done.is_closed() {
                ctx.notify_later(posted, LOOK_AGAIN);
            }
            return;
        }
        let (outcome, deadline_changed) = match self.accept_posted_fixes(&posted, Instant::now()) {
            Ok((accepted, deadline_changed)) => (Ok(accepted), deadline_changed),
            Err(failure) => (Err(failure), false),
        };
        // A caller that stopped waiting has dropped the receiver.
        drop(posted.done.send(outcome));
        if deadline_changed {
            self.tick(Instant::now(), ctx);
        }
    }
}
