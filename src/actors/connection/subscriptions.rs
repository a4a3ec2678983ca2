//! The rooms of a session, with the state of each subscription, and the orders that refused it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::routing::RoomEvent;
use crate::actors::order_room::RoomHandle;
use crate::actors::peer::SubscriptionId;
use crate::auth::Identity;
use crate::session::resume::KnownOrder;
use protocol::error::{ErrorCode, Failure};
use protocol::ids::OrderId;

/// How long after a resume a join may be the client's own rejoin.
const REJOIN_WINDOW: Duration = Duration::from_secs(3);
/// How long a refusal is remembered, so that a repeated join costs nothing.
const REFUSAL_MEMORY: Duration = Duration::from_secs(60);
/// The `sent_seq` of a session without a snapshot of the room.
const NOT_SHOWN: i64 = -1;
/// How many refusals are remembered.
const MAX_REFUSALS: usize = 256;

/// A session's subscription to one room.
pub(super) struct Subscription {
    /// Distinguishes it from earlier and later ones to the same room.
    pub(super) id: SubscriptionId,
    /// Joins that were neither undone nor refused. With 0 it only sends.
    pub(super) joins: u32,
    /// The `seq` of the last chat message in the outbox, or [`NOT_SHOWN`]. A new room of the order
    /// continues there.
    pub(super) sent_seq: Arc<AtomicI64>,
    /// The identity with which the session asked to enter.
    pub(super) identity: Arc<Identity>,
    /// The joins from before a resume, and until when a new join replaces one of them: many clients
    /// join again whenever they connect.
    restored: Option<(u32, Option<Instant>)>,
    /// When it last entered again after a lost room.
    pub(super) resubscribed_at: Option<Instant>,
    pub(super) state: SubscriptionState,
}

/// The state of a subscription.
pub(super) enum SubscriptionState {
    /// The session asked to enter. Events for the room wait.
    Subscribing(VecDeque<RoomEvent>),
    /// The session is in the room.
    Subscribed(Arc<RoomHandle>),
    /// The room was lost, and there cannot be a new one yet. The session tries again in a moment.
    Retrying,
}

/// Recent refusals of a session, by order.
#[derive(Default)]
pub(super) struct Refusals {
    orders: HashMap<OrderId, (Instant, Failure)>,
}

// === impl Subscription ===

impl Subscription {
    /// A subscription that is asked for.
    pub(super) fn new(id: SubscriptionId, identity: Arc<Identity>) -> Self {
        let (state, sent_seq) =
            (SubscriptionState::Subscribing(VecDeque::new()), Arc::new(AtomicI64::new(NOT_SHOWN)));
        Self { id, joins: 0, sent_seq, identity, restored: None, resubscribed_at: None, state }
    }

    /// The room, once the session is in.
    pub(super) fn room(&self) -> Option<&Arc<RoomHandle>> {
        match &self.state {
            SubscriptionState::Subscribed(room) => Some(room),
            SubscriptionState::Subscribing(_) | SubscriptionState::Retrying => None,
        }
    }

    /// What its client was last told of the order, with the number of the subscription, while it is
    /// in.
    pub(super) fn known_order(&self) -> Option<(u64, KnownOrder)> {
        let room = self.room().filter(|_| self.joins > 0)?;
        Some((self.id.0, room.stats.known_order()))
    }

    /// Takes one more join. Returns whether it counts.
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

    /// Restores the joins from before a resume. Joins soon after it is in may be the same ones
    /// again.
    pub(super) fn restore(&mut self, joins: u32) {
        self.joins = joins;
        self.restored = Some((joins, None));
    }

    /// Notes that it is in.
    pub(super) fn on_subscribed(&mut self, now: Instant) {
        if let Some((_, until @ None)) = &mut self.restored {
            *until = Some(now + REJOIN_WINDOW);
        }
    }

    /// The `seq` of the last chat message in the outbox; -1 without a snapshot.
    pub(super) fn sent_seq(&self) -> i64 {
        self.sent_seq.load(Ordering::Relaxed)
    }

    /// Notes that the client has the room's chat up to this message.
    pub(super) fn set_sent_seq(&self, seq: i64) {
        self.sent_seq.store(seq, Ordering::Relaxed);
    }

    /// Whether it waits for the next try to enter.
    pub(super) fn is_retrying(&self) -> bool {
        matches!(self.state, SubscriptionState::Retrying)
    }

    /// Whether the client got a snapshot, and so sees itself in the room.
    pub(super) fn has_snapshot(&self) -> bool {
        self.sent_seq() != NOT_SHOWN
    }
}

// === impl Refusals ===

impl Refusals {
    /// Remembers a refusal, if it is not a temporary one.
    pub(super) fn remember(&mut self, order: OrderId, failure: &Failure, now: Instant) {
        if !matches!(failure.code, ErrorCode::Forbidden | ErrorCode::NotFound) {
            return;
        }
        if self.orders.len() >= MAX_REFUSALS {
            self.orders.retain(|_, (at, _)| now < *at + REFUSAL_MEMORY);
        }
        if self.orders.len() >= MAX_REFUSALS {
            self.orders.clear();
        }
        self.orders.insert(order, (now, failure.clone()));
    }

    /// The recent refusal of an order.
    pub(super) fn find(&self, order: &OrderId, now: Instant) -> Option<&Failure> {
        let (at, failure) = self.orders.get(order)?;
        (now < *at + REFUSAL_MEMORY).then_some(failure)
    }

    /// Forgets a refusal, because the answer may have changed.
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
            role: protocol::role::Role::Customer,
            orders: Arc::from([]),
            expires_at: protocol::time::Timestamp::from_millis(0),
            deadline: protocol::time::Timestamp::from_millis(0),
            issued_at: None,
        });
        let now = Instant::now();
        let mut subscription = Subscription::new(SubscriptionId(1), identity);
        subscription.restore(2);
        assert!(!subscription.join(now), "however long the way in takes");
        subscription.on_subscribed(now);
        assert!(!subscription.join(now));
        assert_eq!(subscription.joins, 2, "both screens have come back");
        assert!(subscription.join(now));
        assert_eq!(subscription.joins, 3);
        subscription.restore(2);
        subscription.on_subscribed(now);
        assert!(subscription.join(now + REJOIN_WINDOW), "too late to be the same");
    }

    #[test]
    fn asking_for_ever_new_orders_costs_no_memory() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        for number in 0..10_000 {
            let order: OrderId = format!("o{number}").parse().expect("id");
            refusals.remember(order, &Failure::forbidden(), now);
        }
        assert!(refusals.orders.len() <= MAX_REFUSALS);
    }
}
