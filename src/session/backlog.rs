//! Events that came faster than their rate. They wait here and are taken at the rate: a client that
//! was offline and sends everything at once is slowed down, not refused.
//!
//! Chat and all other events come before positions, each in the order in which they came; an event
//! overtakes others only where chat waits for its own rate. Of the positions for the same orders only
//! the newest waits. What waits is bounded; beyond that the socket is not read, or events are refused.

use std::collections::VecDeque;
use std::time::Instant;

use super::users::{Kind, UserRates};
use crate::ids::SessionId;
use crate::protocol::client::Target;
use crate::time::Timestamp;

/// How many events of a connection may wait.
pub const MOST_WAITING: usize = 256;
/// How many bytes of them may wait before the socket is not read.
const MOST_BYTES: usize = 128 * 1024;
/// How many positions a newer one may replace before the socket is not read.
const MOST_REPLACED: usize = 256;
/// How many joins may wait before the socket is not read: a client that joins all of its orders at once
/// is to wait, and is not to be refused.
const MOST_JOINS: usize = 128;
/// What an event takes in memory beside its text, roughly.
pub const OVERHEAD: usize = 256;

/// Events that wait.
#[derive(Debug)]
pub struct Backlog<T> {
    chats: VecDeque<Waiting<T>>,
    others: VecDeque<Waiting<T>>,
    positions: VecDeque<Waiting<T>>,
    /// When the next event may be taken, which is reserved.
    turn: Option<Instant>,
    /// How many events came so far.
    came: u64,
    /// The bytes of what waits.
    bytes: usize,
    /// Positions that a newer one has replaced.
    replaced: usize,
    /// Joins that wait.
    joins: usize,
}

/// What decides when it is an event's turn.
#[derive(Debug)]
pub struct Place {
    /// Whose it is; none where nobody has logged in.
    pub session: Option<SessionId>,
    /// By which rate it is taken.
    pub kind: Kind,
    /// Whether it was taken off the rate of events already.
    pub is_paid: bool,
    /// Where it is a position: for which orders, and when it was taken.
    pub position: Option<(Target, Option<Timestamp>)>,
    /// Its text's length.
    pub bytes: usize,
}

/// An event that waits.
#[derive(Debug)]
struct Waiting<T> {
    event: T,
    place: Place,
    /// Which one it is of all that came.
    number: u64,
    /// When the rate of its kind, where that is another than that of events, lets it go.
    due: Option<Instant>,
}

/// What became of an event that was to wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Kept<T> {
    /// It waits.
    Waits,
    /// A position that is older than another one for the same orders: this one or the one before.
    Stale(T),
    /// Too many wait.
    Full(T),
}

/// What is to be done next.
#[derive(Debug)]
pub enum Next<T> {
    /// Take this event, of this session.
    Take(T, Option<SessionId>),
    /// Nothing until then.
    At(Instant),
    /// Nothing waits any more.
    Empty,
}

// === impl Backlog ===

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        Self {
            chats: VecDeque::new(),
            others: VecDeque::new(),
            positions: VecDeque::new(),
            turn: None,
            came: 0,
            bytes: 0,
            replaced: 0,
            joins: 0,
        }
    }
}

impl<T> Backlog<T> {
    /// Keeps an event until its turn.
    pub fn push(&mut self, event: T, place: Place) -> Kept<T> {
        if let Some(known) = same_position(&mut self.positions, &place) {
            self.replaced += 1;
            if place.is_older_than(&known.place) {
                return Kept::Stale(event);
            }
            self.bytes = (self.bytes + place.bytes).saturating_sub(known.place.bytes);
            known.place = place;
            return Kept::Stale(std::mem::replace(&mut known.event, event));
        }
        if self.len() >= MOST_WAITING {
            return Kept::Full(event);
        }
        self.bytes += place.bytes + OVERHEAD;
        self.came += 1;
        self.joins += usize::from(place.kind == Kind::Join);
        let lane = match (place.kind, &place.position) {
            (Kind::Chat, _) => &mut self.chats,
            (_, Some(_)) => &mut self.positions,
            _ => &mut self.others,
        };
        lane.push_back(Waiting { event, place, number: self.came, due: None });
        Kept::Waits
    }

    /// How many wait.
    fn len(&self) -> usize {
        self.chats.len() + self.others.len() + self.positions.len()
    }

    /// Whether the client has sent enough for now: the socket is not to be read until nothing waits.
    pub fn is_full(&self) -> bool {
        self.bytes > MOST_BYTES || self.replaced >= MOST_REPLACED || self.joins >= MOST_JOINS
    }

    /// What is to be done at `now`. `rates` finds those of whoever has sent an event.
    pub fn next<'a>(
        &mut self,
        rates: impl Fn(Option<SessionId>) -> &'a UserRates,
        now: Instant,
    ) -> Next<T> {
        let chat = self.chats.front_mut().map(|head| head.ready(&rates, now));
        let other = self.others.front_mut().map(|head| head.ready(&rates, now));
        let ready = |head: Option<(Instant, u64)>| head.filter(|(due, _)| *due <= now);
        let lane = match (ready(chat), ready(other)) {
            (Some((_, chat)), Some((_, other))) if other < chat => &mut self.others,
            (Some(_), _) => &mut self.chats,
            (None, Some(_)) => &mut self.others,
            (None, None) => &mut self.positions,
        };
        // The others of the two may come sooner than a turn.
        let soonest = chat.iter().chain(&other).map(|(due, _)| *due).filter(|due| *due > now).min();
        let Some(head) = lane.front() else { return soonest.map_or(Next::Empty, Next::At) };
        if head.place.needs_turn() {
            let rates = rates(head.place.session);
            let turn = *self.turn.get_or_insert_with(|| rates.reserve(Kind::Event, now));
            if turn > now {
                return Next::At(soonest.map_or(turn, |due| due.min(turn)));
            }
            self.turn = None;
        }
        let Some(Waiting { event, place, .. }) = lane.pop_front() else { return Next::Empty };
        self.bytes = self.bytes.saturating_sub(place.bytes + OVERHEAD);
        self.joins -= usize::from(place.kind == Kind::Join);
        Next::Take(event, place.session)
    }
}

/// The position for the same orders that waits.
fn same_position<'a, T>(
    positions: &'a mut VecDeque<Waiting<T>>,
    place: &Place,
) -> Option<&'a mut Waiting<T>> {
    let (target, _) = place.position.as_ref()?;
    let is_same = |known: &Place| {
        known.session == place.session
            && known.position.as_ref().is_some_and(|(other, _)| other == target)
    };
    positions.iter_mut().find(|waiting| is_same(&waiting.place))
}

// === impl Place ===

impl Place {
    /// Whether it is still to be taken off the rate of events.
    fn needs_turn(&self) -> bool {
        self.kind != Kind::Join && !self.is_paid
    }

    /// Whether a position is older than one that came before it. One that does not say when it was
    /// taken is as new as it came.
    fn is_older_than(&self, known: &Self) -> bool {
        let time = |place: &Self| place.position.as_ref().and_then(|(_, taken)| *taken);
        matches!((time(self), time(known)), (Some(new), Some(known)) if new < known)
    }
}

// === impl Placed ===

impl<T> Waiting<T> {
    /// When the rate of its kind lets it go, which is reserved the first time; and its number.
    fn ready<'a>(
        &mut self,
        rates: impl Fn(Option<SessionId>) -> &'a UserRates,
        now: Instant,
    ) -> (Instant, u64) {
        let Place { kind, session, .. } = self.place;
        let reserve = || if kind == Kind::Event { now } else { rates(session).reserve(kind, now) };
        (*self.due.get_or_insert_with(reserve), self.number)
    }
}

#[cfg(test)]
#[path = "backlog_tests.rs"]
mod tests;
