//! Events that came faster than their rate. They wait here and are released at the rate: a client
//! that was offline and sends everything at once is slowed down, not refused.
//!
//! Chat and all other events come before positions, each in order of arrival; an event overtakes
//! others only where chat waits for its own rate. Of the positions for the same orders only the
//! newest waits. The backlog is bounded: beyond the bounds the socket is not read, or events are
//! refused.

use std::collections::VecDeque;
use std::time::Instant;

use crate::rate_limit::users::{RateKind, UserRates};
use protocol::events::location::Target;
use protocol::ids::SessionId;
use protocol::time::Timestamp;

/// How many events of a connection may wait.
pub const MAX_WAITING: usize = 256;
/// How many bytes of them may wait before the socket is not read.
const MAX_BYTES: usize = 128 * 1024;
/// How many positions a newer one may replace before the socket is not read.
const MAX_REPLACED: usize = 256;
/// How many joins may wait before the socket is not read: a client that joins all of its orders at
/// once should wait, and not be refused.
const MAX_JOINS: usize = 128;
/// About how many bytes an event takes in memory beside its text.
pub const OVERHEAD: usize = 256;

/// The backlog of one connection.
#[derive(Debug)]
pub struct EventBacklog<T> {
    chats: VecDeque<QueuedEvent<T>>,
    others: VecDeque<QueuedEvent<T>>,
    positions: VecDeque<QueuedEvent<T>>,
    /// The reserved time of the next event.
    next_slot: Option<Instant>,
    /// How many events came so far.
    arrived: u64,
    /// The bytes of what waits.
    bytes: usize,
    /// Positions that a newer one has replaced.
    replaced: usize,
    /// Joins that wait.
    joins: usize,
}

/// What decides when an event may be handled.
#[derive(Debug)]
pub struct EventMeta {
    /// The session that sent it. `None` where there is no session.
    pub session: Option<SessionId>,
    /// The rate that it counts against.
    pub kind: RateKind,
    /// Whether it was already counted against the rate of events.
    pub event_counted: bool,
    /// For a position: its target, and when it was taken.
    pub position: Option<(Target, Option<Timestamp>)>,
    /// The length of its text.
    pub bytes: usize,
}

/// An event that waits.
#[derive(Debug)]
struct QueuedEvent<T> {
    event: T,
    meta: EventMeta,
    /// Its number in order of arrival.
    number: u64,
    /// The reserved time of its own rate, where that is not the rate of events.
    due: Option<Instant>,
}

/// The outcome of [`EventBacklog::push`].
#[derive(Debug, PartialEq, Eq)]
pub enum EnqueueOutcome<T> {
    /// It waits.
    Queued,
    /// A position for the same orders as another one: the older of the two.
    Stale(T),
    /// Too many wait.
    Full(T),
}

/// The next step.
#[derive(Debug)]
pub enum Next<T> {
    /// Handle this event of this session.
    Take(T, Option<SessionId>),
    /// Nothing is due before this time.
    At(Instant),
    /// Nothing waits any more.
    Empty,
}

// === impl EventBacklog ===

impl<T> Default for EventBacklog<T> {
    fn default() -> Self {
        Self {
            chats: VecDeque::new(),
            others: VecDeque::new(),
            positions: VecDeque::new(),
            next_slot: None,
            arrived: 0,
            bytes: 0,
            replaced: 0,
            joins: 0,
        }
    }
}

impl<T> EventBacklog<T> {
    /// Queues an event.
    pub fn push(&mut self, event: T, meta: EventMeta) -> EnqueueOutcome<T> {
        if let Some(known) = same_position(&mut self.positions, &meta) {
            self.replaced += 1;
            if meta.is_older_than(&known.meta) {
                return EnqueueOutcome::Stale(event);
            }
            self.bytes = (self.bytes + meta.bytes).saturating_sub(known.meta.bytes);
            known.meta = meta;
            return EnqueueOutcome::Stale(std::mem::replace(&mut known.event, event));
        }
        if self.len() >= MAX_WAITING {
            return EnqueueOutcome::Full(event);
        }
        self.bytes += meta.bytes + OVERHEAD;
        self.arrived += 1;
        self.joins += usize::from(meta.kind == RateKind::Join);
        let lane = match (meta.kind, &meta.position) {
            (RateKind::Chat, _) => &mut self.chats,
            (_, Some(_)) => &mut self.positions,
            _ => &mut self.others,
        };
        lane.push_back(QueuedEvent { event, meta, number: self.arrived, due: None });
        EnqueueOutcome::Queued
    }

    /// How many wait.
    fn len(&self) -> usize {
        self.chats.len() + self.others.len() + self.positions.len()
    }

    /// Whether the client has sent enough for now: the socket is then not read until the backlog is
    /// empty.
    pub fn is_full(&self) -> bool {
        self.bytes > MAX_BYTES || self.replaced >= MAX_REPLACED || self.joins >= MAX_JOINS
    }

    /// The next step at `now`. `rates` returns the rates of a session's user.
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
        // The head of another lane may be due before the next event.
        let soonest = chat.iter().chain(&other).map(|(due, _)| *due).filter(|due| *due > now).min();
        let Some(head) = lane.front() else { return soonest.map_or(Next::Empty, Next::At) };
        if head.meta.needs_event_slot() {
            let rates = rates(head.meta.session);
            let slot = *self.next_slot.get_or_insert_with(|| rates.reserve(RateKind::Event, now));
            if slot > now {
                return Next::At(soonest.map_or(slot, |due| due.min(slot)));
            }
            self.next_slot = None;
        }
        let Some(QueuedEvent { event, meta, .. }) = lane.pop_front() else { return Next::Empty };
        self.bytes = self.bytes.saturating_sub(meta.bytes + OVERHEAD);
        self.joins -= usize::from(meta.kind == RateKind::Join);
        Next::Take(event, meta.session)
    }
}

/// The waiting position for the same orders.
fn same_position<'a, T>(
    positions: &'a mut VecDeque<QueuedEvent<T>>,
    meta: &EventMeta,
) -> Option<&'a mut QueuedEvent<T>> {
    let (target, _) = meta.position.as_ref()?;
    let is_same = |known: &EventMeta| {
        known.session == meta.session
            && known.position.as_ref().is_some_and(|(other, _)| other == target)
    };
    positions.iter_mut().find(|waiting| is_same(&waiting.meta))
}

// === impl EventMeta ===

impl EventMeta {
    /// Whether it still has to be counted against the rate of events.
    fn needs_event_slot(&self) -> bool {
        self.kind != RateKind::Join && !self.event_counted
    }

    /// Whether a position is older than one that came before it. A position without a time is as
    /// new as its arrival.
    fn is_older_than(&self, known: &Self) -> bool {
        let time = |meta: &Self| meta.position.as_ref().and_then(|(_, taken)| *taken);
        matches!((time(self), time(known)), (Some(new), Some(known)) if new < known)
    }
}

// === impl QueuedEvent ===

impl<T> QueuedEvent<T> {
    /// When its own rate allows it, reserved at the first call, and its number.
    fn ready<'a>(
        &mut self,
        rates: impl Fn(Option<SessionId>) -> &'a UserRates,
        now: Instant,
    ) -> (Instant, u64) {
        let EventMeta { kind, session, .. } = self.meta;
        let reserve =
            || if kind == RateKind::Event { now } else { rates(session).reserve(kind, now) };
        (*self.due.get_or_insert_with(reserve), self.number)
    }
}

#[cfg(test)]
#[path = "backlog_tests.rs"]
mod tests;
