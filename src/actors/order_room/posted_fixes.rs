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
use crate::room::policy::{Action, authorize, driver_to_report};
use crate::time::Timestamp;

/// How long fixes wait for an order that is being read, before they look again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// By whom fixes are posted.
#[derive(Debug, Clone)]
pub enum FixSource {
    /// Somebody who says to be the order's driver.
    Driver(Arc<Identity>),
    /// A back end, for whoever is the driver.
    BackEnd,
}

/// Fixes for one order.
#[derive(Message)]
#[rtype(result = "()")]
pub struct PublishFixes {
    /// By whom.
    pub by: FixSource,
    /// The fixes, in order of their times.
    pub fixes: Arc<[Fix]>,
    /// Who hears what became of them.
    pub done: oneshot::Sender<Result<PublishedFixes, Failure>>,
    /// Its place in the queue.
    pub permit: RoomPermit,
}

/// What became of fixes for one order.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedFixes {
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
/// As [`authorize`]; `not_found` where a back end posts for an order without a driver.
pub fn driver_for_fixes(
    shared: &Shared,
    order: &OrderId,
    facts: &OrderFacts,
    by: &FixSource,
) -> Result<UserId, Failure> {
    match by {
        FixSource::Driver(identity) => {
            let subject = shared.subject(identity, order);
            authorize(&shared.rules, facts, subject, Action::Locate, Timestamp::now())?;
            Ok(identity.user.clone())
        }
        FixSource::BackEnd => driver_to_report(&shared.rules, facts),
    }
}

impl OrderRoom {
    /// Takes fixes. Whether a member turned out to be gone stands beside what became of them.
    fn accept_posted_fixes(
        &mut self,
        posted: &PublishFixes,
        now: Instant,
    ) -> Result<(PublishedFixes, bool), Failure> {
        let driver = driver_for_fixes(&self.shared, &self.order, &self.facts, &posted.by)?;
        let at = Timestamp::now();
        let stale = self.track.accept_newest(&driver, &posted.fixes, at, now);
        let newest = posted.fixes.get(stale..).and_then(<[Fix]>::last);
        let gone = newest.is_some_and(|newest| self.publish_position(newest.battery, at));
        let last = newest.and(self.track.last()).cloned();
        Ok((PublishedFixes { driver, stale, last }, gone))
    }
}

impl Handler<PublishFixes> for OrderRoom {
    type Result = ();

    fn handle(&mut self, posted: PublishFixes, ctx: &mut Context<Self>) {
        if self.loading.is_some() {
            // Whoever has brought them waits so long, and no longer.
            if !posted.done.is_closed() {
                ctx.notify_later(posted, LOOK_AGAIN);
            }
            return;
        }
        let (outcome, gone) = match self.accept_posted_fixes(&posted, Instant::now()) {
            Ok((accepted, gone)) => (Ok(accepted), gone),
            Err(failure) => (Err(failure), false),
        };
        // Whoever no longer wants to know has dropped the other half.
        drop(posted.done.send(outcome));
        if gone {
            self.tick(Instant::now(), ctx);
        }
    }
}
