//! Checks the hub's promises against what was sent, acknowledged and seen.
//!
//! Numbers of messages (`seq`) have no gaps in a room, so every member knows the next number: the
//! last one plus 1. So the check is one comparison per message, however large the room is. This
//! file knows no sockets and no time.

use std::collections::BTreeSet;

/// A promise of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Promise {
    /// An acknowledged message is seen by every member.
    ChatSeen,
    /// No member sees a message twice.
    ChatOnce,
    /// Members see messages in order of `seq`.
    ChatOrder,
    /// A message's number is the same for all members, its sender included.
    ChatSame,
    /// No position comes after a newer one of the same driver.
    LocationForward,
    /// Every event that asks for a reply gets one.
    Answered,
}

/// How often a promise was broken, with the first cases.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Breach {
    /// How often.
    pub count: u64,
    /// The first few, in words.
    pub examples: Vec<String>,
}

/// A member's number, counted over all rooms.
pub type MemberId = usize;
/// Identifies a message: the sender's key, or 0 if it is unknown.
pub type Key = u64;

/// At most so many missing messages of one gap are counted: a larger gap is not a loss but another
/// room.
const MAX_MISSING: usize = 10_000;
/// How many cases are described in words.
const EXAMPLES: usize = 3;

#[derive(Debug, Clone, Default)]
struct RoomCheck {
    /// The first number that this run checks; none before the first join.
    base: Option<i64>,
    /// The keys of messages, from `base` on.
    keys: Vec<Key>,
    /// The newest acknowledged message.
    acked: i64,
}

#[derive(Debug, Clone, Default)]
struct MemberCheck {
    room: usize,
    /// The last message that it has; none before its first join.
    last: Option<i64>,
    /// Whether it is in the room now.
    inside: bool,
    /// The newest message that was acknowledged before the member asked to join; its snapshot must
    /// include it.
    floor: i64,
    /// Numbers that were skipped since the last join.
    missing: BTreeSet<i64>,
    /// The stamp of the last position, by driver.
    positions: Vec<(usize, u64)>,
}

/// The check of one run.
#[derive(Debug, Clone, Default)]
pub struct Checker {
    rooms: Vec<RoomCheck>,
    members: Vec<MemberCheck>,
    breaches: [Breach; 6],
}

/// The answer to a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined<'a> {
    /// The newest message of the room.
    pub last_seq: i64,
    /// The `sinceSeq` of the request.
    pub since_seq: Option<i64>,
    /// Whether `messages` has everything since then.
    pub recovered: bool,
    /// The messages that came with it, with their keys.
    pub messages: &'a [(i64, Key)],
}

// === impl Promise ===

impl Promise {
    /// All promises.
    pub const ALL: [Self; 6] = [
        Self::ChatSeen,
        Self::ChatOnce,
        Self::ChatOrder,
        Self::ChatSame,
        Self::LocationForward,
        Self::Answered,
    ];

    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChatSeen => "chat-seen",
            Self::ChatOnce => "chat-once",
            Self::ChatOrder => "chat-order",
            Self::ChatSame => "chat-same",
            Self::LocationForward => "location-forward",
            Self::Answered => "answered",
        }
    }

    /// The promise in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::ChatSeen => "an acknowledged message is seen by every member",
            Self::ChatOnce => "no member sees a message twice",
            Self::ChatOrder => "members see messages in order of seq",
            Self::ChatSame => "a message is the same for everybody",
            Self::LocationForward => "positions never go backwards",
            Self::Answered => "every event that asks for a reply gets one",
        }
    }
}

// === impl Checker ===

impl Checker {
    /// A check of so many rooms, with the room of each member.
    pub fn new(rooms: usize, members: impl IntoIterator<Item = usize>) -> Self {
        let member = |room| MemberCheck { room, ..MemberCheck::default() };
        Self {
            rooms: vec![RoomCheck::default(); rooms],
            members: members.into_iter().map(member).collect(),
            breaches: Default::default(),
        }
    }

    /// A member asks to join: its snapshot must contain everything that is acknowledged now.
    pub fn joins(&mut self, id: MemberId) {
        self.members[id].floor = self.rooms[self.members[id].room].acked;
    }

    /// The last message that a member has, for `sinceSeq`.
    pub fn last_seq(&self, id: MemberId) -> Option<i64> {
        self.members[id].last
    }

    /// A member has joined, with a snapshot.
    pub fn joined(&mut self, id: MemberId, joined: Joined<'_>) {
        let MemberCheck { room, floor, .. } = self.members[id];
        let base = *self.rooms[room].base.get_or_insert(joined.last_seq.saturating_add(1));
        if joined.last_seq < floor && floor >= base {
            let text = format!("a snapshot ends at {}, {floor} was acknowledged", joined.last_seq);
            self.broken(Promise::ChatSeen, id, &text);
        }
        for &(seq, key) in joined.messages {
            self.same(id, seq, key);
        }
        if let Some(since) = joined.since_seq.filter(|_| joined.recovered) {
            self.follows(id, since, &joined);
        }
        let member = &mut self.members[id];
        member.last = Some(joined.last_seq);
        member.inside = true;
        member.missing.clear();
        // After a new join, the hub may know older positions than those that came last.
        member.positions.clear();
    }

    /// Checks that the messages of a snapshot are all after `since`, each once and in order.
    fn follows(&mut self, id: MemberId, since: i64, joined: &Joined<'_>) {
        let mut next = since.saturating_add(1);
        for &(seq, _) in joined.messages {
            if seq != next {
                let text = format!("after a return seq {seq} came where {next} was due");
                let promise = if seq < next { Promise::ChatOnce } else { Promise::ChatSeen };
                self.broken(promise, id, &text);
            }
            next = seq.saturating_add(1);
        }
        if next <= joined.last_seq {
            let text = format!("seq {next} to {} did not come after a return", joined.last_seq);
            self.broken(Promise::ChatSeen, id, &text);
        }
    }

    /// A member has left or lost its connection. Messages that it has missed until now are lost.
    pub fn left(&mut self, id: MemberId) {
        self.members[id].inside = false;
        for seq in std::mem::take(&mut self.members[id].missing) {
            self.broken(Promise::ChatSeen, id, &format!("seq {seq} never came"));
        }
    }

    /// A message was acknowledged to its sender.
    pub fn acked(&mut self, sender: MemberId, seq: i64, key: Key) {
        let room = &mut self.rooms[self.members[sender].room];
        room.acked = room.acked.max(seq);
        self.same(sender, seq, key);
    }

    /// A member has seen a message.
    pub fn heard(&mut self, id: MemberId, seq: i64, key: Key) {
        self.same(id, seq, key);
        let member = &mut self.members[id];
        // Nothing is promised after a member asked to leave, or before its join was answered.
        let Some(last) = member.last.filter(|_| member.inside) else { return };
        if seq > last {
            member.missing.extend((last..seq).skip(1).take(MAX_MISSING));
            member.last = Some(seq);
        } else if member.missing.remove(&seq) {
            self.broken(Promise::ChatOrder, id, &format!("seq {seq} came after {last}"));
        } else {
            self.broken(Promise::ChatOnce, id, &format!("seq {seq} came again"));
        }
    }

    /// A member has seen a position of a driver of this run, identified by the stamp in it.
    pub fn located(&mut self, id: MemberId, driver: usize, stamp: u64) {
        let positions = &mut self.members[id].positions;
        let Some((_, last)) = positions.iter_mut().find(|(known, _)| *known == driver) else {
            positions.push((driver, stamp));
            return;
        };
        let before = std::mem::replace(last, stamp);
        if stamp <= before {
            let text = format!("the position of {stamp} µs came after that of {before} µs");
            self.broken(Promise::LocationForward, id, &text);
        }
    }

    /// A reply did not come before its timeout.
    pub fn unanswered(&mut self, id: MemberId, what: &str) {
        self.broken(Promise::Answered, id, &format!("no reply to {what}"));
    }

    /// How many members still miss acknowledged messages.
    pub fn behind(&self) -> usize {
        let lacks = |member: &&MemberCheck| {
            member.inside && member.last.is_some_and(|last| last < self.rooms[member.room].acked)
        };
        self.members.iter().filter(lacks).count()
    }

    /// The end of the run: every member in its room must have every acknowledged message.
    pub fn finish(&mut self) {
        for id in 0..self.members.len() {
            let MemberCheck { room, last, inside, .. } = self.members[id];
            let acked = self.rooms[room].acked;
            if let Some(last) = last.filter(|last| inside && *last < acked) {
                let text = format!("all after seq {last} up to {acked} never came");
                let times = acked.abs_diff(last).min(MAX_MISSING as u64);
                self.broken_times(Promise::ChatSeen, id, times, &text);
            }
            self.left(id);
        }
    }

    /// Every promise that was broken.
    pub fn breaches(&self) -> impl Iterator<Item = (Promise, &Breach)> {
        let all = Promise::ALL.into_iter().zip(&self.breaches);
        all.filter(|(_, breach)| breach.count > 0)
    }

    /// Compares the key of a message with the one that others have seen under its number.
    fn same(&mut self, id: MemberId, seq: i64, key: Key) {
        let room = &mut self.rooms[self.members[id].room];
        let place = room.base.and_then(|base| usize::try_from(seq.checked_sub(base)?).ok());
        // Older than the run, or a number that no run can reach.
        let Some(place) = place.filter(|place| *place < 1 << 26) else { return };
        if room.keys.len() <= place {
            room.keys.resize(place + 1, 0);
        }
        let known = std::mem::replace(&mut room.keys[place], key);
        if key == 0 {
            room.keys[place] = known;
        } else if known != 0 && known != key {
            room.keys[place] = known;
            self.broken(Promise::ChatSame, id, &format!("seq {seq} is two messages"));
        }
    }

    fn broken(&mut self, promise: Promise, id: MemberId, text: &str) {
        self.broken_times(promise, id, 1, text);
    }

    fn broken_times(&mut self, promise: Promise, id: MemberId, times: u64, text: &str) {
        let breach = &mut self.breaches[promise as usize];
        breach.count += times;
        if breach.examples.len() < EXAMPLES {
            let room = self.members[id].room + 1;
            breach.examples.push(format!("room {room}, connection {}: {text}", id + 1));
        }
    }
}

#[cfg(test)]
mod tests;
