//! The rooms of a session: on the way in, or in; and the orders that refused it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::routing::RoomEvent;
use crate::actors::order_room::RoomHandle;
use crate::actors::peer::LinkId;
use crate::auth::Identity;
use crate::ids::OrderId;
use crate::protocol::error::{ErrorCode, Failure};
use crate::session::resume::Told;

/// For how long a join after a resume may be the client's own way of coming back.
const REJOIN_WINDOW: Duration = Duration::from_secs(3);
/// How long a refusal is remembered, so that asking again costs nothing.
const REFUSAL_MEMORY: Duration = Duration::from_secs(60);
/// The progress of one who was never shown the room.
const NOT_SHOWN: i64 = -1;
/// How many refusals are remembered.
const MOST_REFUSALS: usize = 256;

/// A session's tie to one room.
pub(super) struct Link {
    /// Tells it from others to the same room, before and after.
    pub(super) id: LinkId,
    /// Joins that were neither undone nor refused. None: it only sends.
    pub(super) joins: u32,
    /// The last chat message that went into the outbox, or [`NOT_SHOWN`]; a new room goes on there.
    pub(super) progress: Arc<AtomicI64>,
    /// As whom the session asked to be let in.
    pub(super) identity: Arc<Identity>,
    /// Joins that were there before the session was taken up again, and until when a join takes the
    /// place of one of them: many clients join anew whenever they connect.
    restored: Option<(u32, Option<Instant>)>,
    /// When it last came back into a room that was lost.
    pub(super) came_back: Option<Instant>,
    pub(super) state: LinkState,
}

/// How far a session has come with a room.
pub(super) enum LinkState {
    /// On the way in; what comes meanwhile waits.
    Entering(VecDeque<RoomEvent>),
    /// In.
    Open(Arc<RoomHandle>),
    /// It was in, the room is lost, and there cannot be another yet: it tries again in a moment.
    Away,
}

/// Orders that refused a session a moment ago.
#[derive(Default)]
pub(super) struct Refusals {
    orders: HashMap<OrderId, (Instant, Failure)>,
}

// === impl Link ===

impl Link {
    /// On the way in.
    pub(super) fn entering(id: LinkId, identity: Arc<Identity>) -> Self {
        let (state, progress) =
            (LinkState::Entering(VecDeque::new()), Arc::new(AtomicI64::new(NOT_SHOWN)));
        Self { id, joins: 0, progress, identity, restored: None, came_back: None, state }
    }

    /// The room, once the session is in.
    pub(super) fn room(&self) -> Option<&Arc<RoomHandle>> {
        match &self.state {
            LinkState::Open(room) => Some(room),
            LinkState::Entering(_) | LinkState::Away => None,
        }
    }

    /// What its client was told of the order last, with the number of the tie, while it is in.
    pub(super) fn told(&self) -> Option<(u64, Told)> {
        let room = self.room().filter(|_| self.joins > 0)?;
        Some((self.id.0, room.stats.told()))
    }

    /// Takes one more join, and says whether it counts.
    pub(super) fn join(&mut self, now: Instant) -> bool {
        if let Some((left, until)) = &mut self.restored
            && *left > 0
            && until.is_none_or(|until| now < until)
        {
            *left -= 1;
            return false;
        }
        self.joins += 1;
        true
    }

    /// The same joins as before; those that come soon after it is in may be the same once more.
    pub(super) fn restore(&mut self, joins: u32) {
        self.joins = joins;
        self.restored = Some((joins, None));
    }

    /// It is in.
    pub(super) fn opened(&mut self, now: Instant) {
        if let Some((_, until @ None)) = &mut self.restored {
            *until = Some(now + REJOIN_WINDOW);
        }
    }

    /// The last chat message that went into the outbox; -1 where the room was never shown.
    pub(super) fn progress(&self) -> i64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// The client has the room's chat up to this message.
    pub(super) fn set_progress(&self, seq: i64) {
        self.progress.store(seq, Ordering::Relaxed);
    }

    /// Whether it waits for the next try to come back.
    pub(super) fn is_away(&self) -> bool {
        matches!(self.state, LinkState::Away)
    }

    /// Whether the client was shown the room: then it believes to be in.
    pub(super) fn was_shown(&self) -> bool {
        self.progress() != NOT_SHOWN
    }
}

// === impl Refusals ===

impl Refusals {
    /// Remembers a refusal, where it is one that will not be another in a moment.
    pub(super) fn remember(&mut self, order: OrderId, failure: &Failure, now: Instant) {
        if !matches!(failure.code, ErrorCode::Forbidden | ErrorCode::NotFound) {
            return;
        }
        if self.orders.len() >= MOST_REFUSALS {
            self.orders.retain(|_, (at, _)| now < *at + REFUSAL_MEMORY);
        }
        if self.orders.len() >= MOST_REFUSALS {
            self.orders.clear();
        }
        self.orders.insert(order, (now, failure.clone()));
    }

    /// Why an order refused, a moment ago.
    pub(super) fn find(&self, order: &OrderId, now: Instant) -> Option<&Failure> {
        let (at, failure) = self.orders.get(order)?;
        (now < *at + REFUSAL_MEMORY).then_some(failure)
    }

    /// There is a reason to ask again.
    pub(super) fn forget(&mut self, order: &OrderId) {
        self.orders.remove(order);
    }

    pub(super) fn clear(&mut self) {
        self.orders.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_for_a_minute_and_an_outage_is_not() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let order: OrderId = "o1".parse().expect("id");
        refusals.remember(order.clone(), &Failure::unavailable("down", REFUSAL_MEMORY), now);
        assert!(refusals.find(&order, now).is_none());
        refusals.remember(order.clone(), &Failure::forbidden(), now);
        assert!(refusals.find(&order, now + Duration::from_secs(59)).is_some());
        assert!(refusals.find(&order, now + REFUSAL_MEMORY).is_none());
    }

    #[test]
    fn joins_right_after_a_resume_are_those_of_before_and_later_ones_count() {
        let identity = Arc::new(Identity {
            user: "u1".parse().expect("id"),
            name: String::new(),
            role: crate::protocol::role::Role::Customer,
            orders: Arc::from([]),
            expires_at: crate::time::Timestamp::from_millis(0),
            deadline: crate::time::Timestamp::from_millis(0),
            issued_at: None,
        });
        let now = Instant::now();
        let mut link = Link::entering(LinkId(1), identity);
        link.restore(2);
        assert!(!link.join(now), "however long the way in takes");
        link.opened(now);
        assert!(!link.join(now));
        assert_eq!(link.joins, 2, "both screens have come back");
        assert!(link.join(now));
        assert_eq!(link.joins, 3);
        link.restore(2);
        link.opened(now);
        assert!(link.join(now + REJOIN_WINDOW), "too late to be the same");
    }

    #[test]
    fn asking_for_ever_new_orders_costs_no_memory() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        for number in 0..10_000 {
            let order: OrderId = format!("o{number}").parse().expect("id");
            refusals.remember(order, &Failure::forbidden(), now);
        }
        assert!(refusals.orders.len() <= MOST_REFUSALS);
    }
}
