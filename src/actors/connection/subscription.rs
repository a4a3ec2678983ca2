//! A session's subscription to one room, and the events that wait for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::actors::order_room::RoomHandle;
use crate::actors::peer::{Answer, LocationReply, Peer, SubscriptionId};
use crate::auth::Identity;
use crate::session::resume::KnownOrder;
use protocol::client::ClientEvent;
use protocol::error::Failure;
use protocol::events::location::Fix;

/// How long after a resume a join may be the client's own rejoin.
const REJOIN_WINDOW: Duration = Duration::from_secs(3);
/// The `sent_seq` of a session without a snapshot of the room.
const NOT_SHOWN: i64 = -1;

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
    /// Whether it is in because the back end said so when it was asked.
    pub(super) by_hook: bool,
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

/// An event for one room, with its reply.
pub(super) enum RoomEvent {
    /// A fix, which may go to many rooms and have one reply.
    UpdateLocation(Fix, LocationReply),
    /// Any other event.
    Client(ClientEvent, Answer),
}

// === impl RoomEvent ===

impl RoomEvent {
    /// Answers the event with a refusal.
    pub(super) fn refuse(self, failure: Failure, peer: &Peer) {
        match self {
            Self::UpdateLocation(_, reply) => reply.refuse(failure, Some(peer)),
            Self::Client(_, answer) => answer.refuse(failure),
        }
    }

    /// Its answer, where that is large.
    pub(super) fn large_answer(&mut self) -> Option<&mut Answer> {
        match self {
            Self::Client(ClientEvent::Join(_) | ClientEvent::History(_), answer) => Some(answer),
            _ => None,
        }
    }
}

// === impl Subscription ===

impl Subscription {
    /// A subscription that is asked for.
    pub(super) fn new(id: SubscriptionId, identity: Arc<Identity>) -> Self {
        let (state, sent_seq) =
            (SubscriptionState::Subscribing(VecDeque::new()), Arc::new(AtomicI64::new(NOT_SHOWN)));
        Self {
            id,
            joins: 0,
            sent_seq,
            identity,
            by_hook: false,
            restored: None,
            resubscribed_at: None,
            state,
        }
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

    /// Starts the time in which a join replaces a restored one.
    pub(super) fn on_subscribed(&mut self, now: Instant) {
        if let Some((_, until @ None)) = &mut self.restored {
            *until = Some(now + REJOIN_WINDOW);
        }
    }

    /// The `seq` of the last chat message in the outbox; -1 without a snapshot.
    pub(super) fn sent_seq(&self) -> i64 {
        self.sent_seq.load(Ordering::Relaxed)
    }

    /// Sets the `seq` of the last chat message in the outbox.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_right_after_a_resume_do_not_count_and_later_ones_do() {
        let identity = Arc::new(Identity {
            user: "u1".parse().expect("id"),
            name: String::new(),
            role: protocol::role::Role::Customer,
            orders: Arc::from([]),
            expires_at: protocol::time::Timestamp::from_millis(0),
            deadline: protocol::time::Timestamp::from_millis(0),
            issued_at: None,
            by_hook: false,
            claims: None,
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
}
