//! The last chat pushes of a session, in the order in which they went into its outbox: by the last
//! one that a client has seen, what it has of every room is known.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::RoomMark;
use super::due::{Due, Dues};
use crate::ids::OrderId;

/// The most pushes of a record that is kept.
pub const MAX_PUSHES: usize = 4096;

/// The last chat pushes of a session, of all its rooms together: those that may not have arrived, and
/// the last one before them. So they are as many as may be under way, which is not more than an outbox
/// ever holds, and mostly a few.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushes {
    /// What a client presents that has seen none of this session's pushes: the offset with which
    /// the session began. None where it began without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    begin: Option<(OrderId, i64)>,
    /// Tie and number of each push, the oldest first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    log: VecDeque<(u64, i64)>,
    /// How many of them went out before the last ping.
    #[serde(skip)]
    pinged: usize,
    /// Older ones were pushed and are no longer in the log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    dropped: bool,
    /// The orders of ties that are over but still have pushes in the log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) left: Vec<(u64, OrderId)>,
    /// What else its client may not have got.
    #[serde(default, skip_serializing_if = "Dues::is_empty")]
    dues: Dues,
}

impl Pushes {
    /// Of a session that begins now. `begin` is the last offset that its client has from before,
    /// whether it was found or not: a client that sees none of what follows presents it again.
    pub fn new(begin: Option<(OrderId, i64)>) -> Self {
        Self { begin, ..Self::default() }
    }

    /// The message `seq` went into the outbox, by the session's tie `link` to its room. At most
    /// `most` are kept.
    pub fn note(&mut self, link: u64, seq: i64, most: usize) {
        while self.log.len() >= most {
            self.drop_oldest();
        }
        self.log.push_back((link, seq));
    }

    /// A ping is about to go out.
    pub fn pinged(&mut self) {
        self.pinged = self.log.len();
    }

    /// The tie `link` to `order` is over. Its pushes stay: one of them may be the last that the
    /// client saw.
    pub fn leave(&mut self, link: u64, order: &OrderId) {
        let known = self.left.iter().any(|(left, _)| *left == link);
        if !known && self.has(link) {
            self.left.push((link, order.clone()));
        }
        self.dues.leave(link);
    }

    /// The client is owed this by the tie `link`, from before it goes into the outbox.
    pub fn owe(&mut self, link: u64, due: Due) {
        self.dues.owe(link, due);
    }

    /// What was owed by the tie `link` is in the outbox.
    pub fn paid(&mut self, link: u64, now: Instant) {
        self.dues.paid(link, self.log.len(), now);
    }

    /// What is owed by the tie `link` and is not in the outbox.
    pub fn unpaid(&self, link: u64) -> Due {
        self.dues.unpaid(link)
    }

    /// The client has got all that went out until then, which is the time of the last ping. Of the
    /// pushes before it only the last can be its offset now.
    pub fn heard(&mut self, until: Instant) {
        self.dues.heard(until);
        while self.pinged > 1 {
            self.drop_oldest();
        }
        // What a burst has taken is given back.
        if self.log.capacity() > 4 * self.log.len() {
            self.log.shrink_to_fit();
        }
    }

    /// What a client may not have got by the tie `link` that has seen so many of the log's pushes;
    /// where that cannot be told, all of which no pong has said that it arrived.
    pub(super) fn due(&self, link: u64, seen: Option<usize>) -> Due {
        self.dues.of(link, seen)
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
        rooms: &[RoomMark],
    ) -> Option<usize> {
        let start = (!self.dropped).then_some(0);
        let Some((order, seq)) = offset else { return start };
        // Before the look into the log: where both could be meant, nothing must be lost.
        if start.is_some() && self.begin.as_ref().is_some_and(|(o, s)| o == order && *s == seq) {
            return start;
        }
        let current = rooms.iter().filter(|room| room.order == *order).map(|room| room.link);
        let left = self.left.iter().filter(|(_, left)| left == order).map(|(link, _)| *link);
        let ties: Vec<u64> = current.chain(left).collect();
        let found = self.log.iter().position(|(link, s)| *s == seq && ties.contains(link));
        if let Some(place) = found {
            return Some(place + 1);
        }
        // Nothing was pushed since the room was shown: what the client has is what it was shown.
        let shown = |room: &RoomMark| room.order == *order && room.progress == seq;
        start.filter(|_| seq >= 0 && self.log.is_empty() && rooms.iter().any(shown))
    }

    /// By tie, the last message of the `seen` first pushes; where there is none, the one before the
    /// tie's first push. Ties without a push are absent.
    pub(super) fn marks(&self, seen: usize) -> HashMap<u64, i64> {
        let mut marks = HashMap::new();
        for (at, (link, seq)) in self.log.iter().enumerate() {
            if at < seen {
                marks.insert(*link, *seq);
            } else {
                marks.entry(*link).or_insert(seq.saturating_sub(1));
            }
        }
        marks
    }

    /// About the memory that it holds beside itself, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let left: usize = self.left.iter().map(|(_, order)| order.as_str().len() + 16).sum();
        let begin = self.begin.as_ref().map_or(0, |(order, _)| order.as_str().len() + 16);
        let (log, lefts) = (self.log.capacity(), self.left.capacity());
        let dues = self.dues.heap_bytes();
        dues + log * size_of::<(u64, i64)>() + lefts * size_of::<(u64, OrderId)>() + left + begin
    }

    /// Gives back memory that was taken for pushes to come, and keeps the last [`MAX_PUSHES`].
    pub(super) fn shrink(&mut self) {
        while self.log.len() > MAX_PUSHES {
            self.drop_oldest();
        }
        self.log.shrink_to_fit();
        self.left.shrink_to_fit();
        self.dues.shrink();
    }

    fn has(&self, link: u64) -> bool {
        self.log.iter().any(|(pushed, _)| *pushed == link)
    }

    fn drop_oldest(&mut self) {
        self.dropped = true;
        self.pinged = self.pinged.saturating_sub(1);
        // Nobody can be there any more.
        self.begin = None;
        self.dues.shift();
        let Some((link, _)) = self.log.pop_front() else { return };
        if let Some(at) = self.left.iter().position(|(left, _)| *left == link)
            && !self.has(link)
        {
            self.left.swap_remove(at);
        }
    }
}
