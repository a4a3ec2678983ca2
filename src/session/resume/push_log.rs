//! The last chat pushes of a session, in the order in which they went into its outbox. The last
//! push that a client has seen tells what it has of every room.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::SavedRoom;
use super::unconfirmed::{Unconfirmed, UnconfirmedList};
use protocol::ids::OrderId;

/// The most pushes that a kept record has.
pub const MAX_PUSHES: usize = 4096;

/// The last chat pushes of a session, over all its rooms: those that may not have arrived, and the
/// last one before them. They are at most as many as an outbox holds, and mostly few.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushLog {
    /// The offset with which the session began, which a client presents that has seen none of its
    /// pushes. `None` where it began without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "begin")]
    first_offset: Option<(OrderId, i64)>,
    /// Subscription and `seq` of each push, the oldest first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    log: VecDeque<(u64, i64)>,
    /// How many of them were pushed before the last ping.
    #[serde(skip)]
    before_ping: usize,
    /// Whether older ones were pushed that are no longer in the log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    dropped: bool,
    /// The orders of ended subscriptions that still have pushes in the log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) left: Vec<(u64, OrderId)>,
    /// What else the client may not have received.
    #[serde(default, skip_serializing_if = "UnconfirmedList::is_empty")]
    #[serde(rename = "dues")]
    unconfirmed: UnconfirmedList,
}

impl PushLog {
    /// The log of a session that begins now. `first_offset` is the last offset that its client has
    /// from before, whether it was found or not: a client that sees none of the new pushes presents
    /// it again.
    pub fn new(first_offset: Option<(OrderId, i64)>) -> Self {
        Self { first_offset, ..Self::default() }
    }

    /// Logs that the message `seq` went into the outbox, by this subscription. At most `most`
    /// pushes are kept.
    pub fn push(&mut self, subscription: u64, seq: i64, most: usize) {
        while self.log.len() >= most {
            self.drop_oldest();
        }
        self.log.push_back((subscription, seq));
    }

    /// Notes that a ping is about to be sent.
    pub fn mark_ping(&mut self) {
        self.before_ping = self.log.len();
    }

    /// Notes the end of a subscription to `order`. Its pushes stay: one of them may be the last
    /// that the client saw.
    pub fn end_subscription(&mut self, subscription: u64, order: &OrderId) {
        let known = self.left.iter().any(|(left, _)| *left == subscription);
        if !known && self.has(subscription) {
            self.left.push((subscription, order.clone()));
        }
        self.unconfirmed.end_subscription(subscription);
    }

    /// Notes what is about to be sent for the subscription, before it goes into the outbox.
    pub fn begin_send(&mut self, subscription: u64, unconfirmed: Unconfirmed) {
        self.unconfirmed.begin_send(subscription, unconfirmed);
    }

    /// Notes that what was begun for the subscription is in the outbox.
    pub fn mark_sent(&mut self, subscription: u64, now: Instant) {
        self.unconfirmed.mark_sent(subscription, self.log.len(), now);
    }

    /// What was begun for the subscription and is not in the outbox.
    pub fn unsent(&self, subscription: u64) -> Unconfirmed {
        self.unconfirmed.unsent(subscription)
    }

    /// Notes that the client has received all that was sent until `until`, which is the time of the
    /// last ping. Of the pushes before it only the last can be its offset now.
    pub fn confirm_until(&mut self, until: Instant) {
        self.unconfirmed.confirm_until(until);
        while self.before_ping > 1 {
            self.drop_oldest();
        }
        // Frees the memory of a burst.
        if self.log.capacity() > 4 * self.log.len() {
            self.log.shrink_to_fit();
        }
    }

    /// What a client may not have received of the subscription that has seen `seen` of the log's
    /// pushes. Where that is not known, all that no pong has confirmed.
    pub(super) fn unconfirmed(&self, subscription: u64, seen: Option<usize>) -> Unconfirmed {
        self.unconfirmed.of(subscription, seen)
    }

    /// The number of pushes in the log.
    pub fn len(&self) -> usize {
        self.log.len()
    }

    /// Whether the log is empty.
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// How many of the log's pushes a client has seen whose last offset this is. `None` where that
    /// is not known.
    pub(super) fn seen(
        &self,
        offset: Option<(&OrderId, i64)>,
        rooms: &[SavedRoom],
    ) -> Option<usize> {
        let start = (!self.dropped).then_some(0);
        let Some((order, seq)) = offset else { return start };
        // Checked before the log: where both could match, nothing must be lost.
        if start.is_some()
            && self.first_offset.as_ref().is_some_and(|(o, s)| o == order && *s == seq)
        {
            return start;
        }
        let current =
            rooms.iter().filter(|room| room.order == *order).map(|room| room.subscription);
        let left = self
            .left
            .iter()
            .filter(|(_, left)| left == order)
            .map(|(subscription, _)| *subscription);
        let subscriptions: Vec<u64> = current.chain(left).collect();
        let found = self
            .log
            .iter()
            .position(|(subscription, s)| *s == seq && subscriptions.contains(subscription));
        if let Some(index) = found {
            return Some(index + 1);
        }
        // Nothing was pushed since the snapshot: the client has what the snapshot covered.
        let is_covered = |room: &SavedRoom| room.order == *order && room.sent_seq == seq;
        start.filter(|_| seq >= 0 && self.log.is_empty() && rooms.iter().any(is_covered))
    }

    /// By subscription, the last message of the first `seen` pushes; where there is none, the one
    /// before the subscription's first push. Subscriptions without a push are absent.
    pub(super) fn marks(&self, seen: usize) -> HashMap<u64, i64> {
        let mut marks = HashMap::new();
        for (at, (subscription, seq)) in self.log.iter().enumerate() {
            if at < seen {
                marks.insert(*subscription, *seq);
            } else {
                marks.entry(*subscription).or_insert(seq.saturating_sub(1));
            }
        }
        marks
    }

    /// About the memory that it holds beside itself, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let left: usize = self.left.iter().map(|(_, order)| order.as_str().len() + 16).sum();
        let first_offset =
            self.first_offset.as_ref().map_or(0, |(order, _)| order.as_str().len() + 16);
        let (log, lefts) = (self.log.capacity(), self.left.capacity());
        let unconfirmed = self.unconfirmed.heap_bytes();
        unconfirmed
            + log * size_of::<(u64, i64)>()
            + lefts * size_of::<(u64, OrderId)>()
            + left
            + first_offset
    }

    /// Frees memory that was reserved for later pushes, and keeps the last [`MAX_PUSHES`].
    pub(super) fn shrink(&mut self) {
        while self.log.len() > MAX_PUSHES {
            self.drop_oldest();
        }
        self.log.shrink_to_fit();
        self.left.shrink_to_fit();
        self.unconfirmed.shrink();
    }

    fn has(&self, subscription: u64) -> bool {
        self.log.iter().any(|(pushed, _)| *pushed == subscription)
    }

    fn drop_oldest(&mut self) {
        self.dropped = true;
        self.before_ping = self.before_ping.saturating_sub(1);
        // No client can present the first offset any more.
        self.first_offset = None;
        self.unconfirmed.shift();
        let Some((subscription, _)) = self.log.pop_front() else { return };
        if let Some(at) = self.left.iter().position(|(left, _)| *left == subscription)
            && !self.has(subscription)
        {
            self.left.swap_remove(at);
        }
    }
}
