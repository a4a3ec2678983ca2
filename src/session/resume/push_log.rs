//! The last chat pushes of a session, in the order in which they went into its outbox: by the last
//! one that a client has seen, what it has of every room is known.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::SavedRoom;
use super::unconfirmed::{Unconfirmed, UnconfirmedList};
use crate::ids::OrderId;

/// The most pushes of a record that is kept.
pub const MAX_PUSHES: usize = 4096;

/// The last chat pushes of a session, of all its rooms together: those that may not have arrived, and
/// the last one before them. So they are as many as may be under way, which is not more than an outbox
/// ever holds, and mostly a few.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushLog {
    /// What a client presents that has seen none of this session's pushes: the offset with which
    /// the session began. None where it began without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "begin")]
    first_offset: Option<(OrderId, i64)>,
    /// Tie and number of each push, the oldest first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    log: VecDeque<(u64, i64)>,
    /// How many of them went out before the last ping.
    #[serde(skip)]
    before_ping: usize,
    /// Older ones were pushed and are no longer in the log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    dropped: bool,
    /// The orders of subscriptions that are over but still have pushes in the log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) left: Vec<(u64, OrderId)>,
    /// What else its client may not have got.
    #[serde(default, skip_serializing_if = "UnconfirmedList::is_empty")]
    #[serde(rename = "dues")]
    unconfirmed: UnconfirmedList,
}

impl PushLog {
    /// Of a session that begins now. `begin` is the last offset that its client has from before,
    /// whether it was found or not: a client that sees none of what follows presents it again.
    pub fn new(first_offset: Option<(OrderId, i64)>) -> Self {
        Self { first_offset, ..Self::default() }
    }

    /// The message `seq` went into the outbox, by the session's subscription `subscription` to its room. At most
    /// `most` are kept.
    pub fn push(&mut self, subscription: u64, seq: i64, most: usize) {
        while self.log.len() >= most {
            self.drop_oldest();
        }
        self.log.push_back((subscription, seq));
    }

    /// A ping is about to go out.
    pub fn mark_ping(&mut self) {
        self.before_ping = self.log.len();
    }

    /// The `subscription` to `order` is over. Its pushes stay: one of them may be the last that the
    /// client saw.
    pub fn end_subscription(&mut self, subscription: u64, order: &OrderId) {
        let known = self.left.iter().any(|(left, _)| *left == subscription);
        if !known && self.has(subscription) {
            self.left.push((subscription, order.clone()));
        }
        self.unconfirmed.end_subscription(subscription);
    }

    /// The client is owed this by the `subscription`, from before it goes into the outbox.
    pub fn begin_send(&mut self, subscription: u64, unconfirmed: Unconfirmed) {
        self.unconfirmed.begin_send(subscription, unconfirmed);
    }

    /// What was owed by the `subscription` is in the outbox.
    pub fn mark_sent(&mut self, subscription: u64, now: Instant) {
        self.unconfirmed.mark_sent(subscription, self.log.len(), now);
    }

    /// What is owed by the `subscription` and is not in the outbox.
    pub fn unsent(&self, subscription: u64) -> Unconfirmed {
        self.unconfirmed.unsent(subscription)
    }

    /// The client has got all that went out until then, which is the time of the last ping. Of the
    /// pushes before it only the last can be its offset now.
    pub fn confirm_until(&mut self, until: Instant) {
        self.unconfirmed.confirm_until(until);
        while self.before_ping > 1 {
            self.drop_oldest();
        }
        // What a burst has taken is given back.
        if self.log.capacity() > 4 * self.log.len() {
            self.log.shrink_to_fit();
        }
    }

    /// What a client may not have got by the `subscription` that has seen so many of the log's pushes;
    /// where that cannot be told, all of which no pong has said that it arrived.
    pub(super) fn unconfirmed(&self, subscription: u64, seen: Option<usize>) -> Unconfirmed {
        self.unconfirmed.of(subscription, seen)
    }

    /// The number of pushes in the log.
    pub fn len(&self) -> usize {
        self.log.len()
    }

    /// Whether nothing is in the log.
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// How many of the log's pushes a client has seen whose last offset this is; none where that
    /// cannot be told.
    pub(super) fn seen(
        &self,
        offset: Option<(&OrderId, i64)>,
        rooms: &[SavedRoom],
    ) -> Option<usize> {
        let start = (!self.dropped).then_some(0);
        let Some((order, seq)) = offset else { return start };
        // Before the look into the log: where both could be meant, nothing must be lost.
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
        let ties: Vec<u64> = current.chain(left).collect();
        let found =
            self.log.iter().position(|(subscription, s)| *s == seq && ties.contains(subscription));
        if let Some(place) = found {
            return Some(place + 1);
        }
        // Nothing was pushed since the room was shown: what the client has is what it was shown.
        let shown = |room: &SavedRoom| room.order == *order && room.sent_seq == seq;
        start.filter(|_| seq >= 0 && self.log.is_empty() && rooms.iter().any(shown))
    }

    /// By subscription, the last message of the `seen` first pushes; where there is none, the one before the
    /// subscription's first push. Subscriptions without a push are absent.
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

    /// Gives back memory that was taken for pushes to come, and keeps the last [`MAX_PUSHES`].
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
        // Nobody can be there any more.
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
