//! What fills an outbox because the client comes: snapshots, pages, and what it has missed in the
//! rooms that it comes back to, all at the pace at which the client takes them in.
//!
//! A dashboard that comes back joins dozens of rooms in one breath, and each answer may have
//! 48 KiB: together they would overrun its outbox, and it would be cut for what it asked for, each
//! time anew. So only a few are under way, and while the outbox is filling no more are begun: the
//! next one waits, and the socket is not read.
//!
//! The same holds for the rooms of a session that is taken up again. They wait here without holding
//! up the socket: what the client sends to them waits in their links, 32 events in all.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use actix::{AsyncContext, Context};

use super::Session;
use super::login::Login;
use crate::actors::order_room::Purpose;
use crate::actors::peer::Answer;
use crate::ids::OrderId;
use crate::permits::{Permit, Permits};
use crate::protocol::client::ClientEvent;
use crate::transport::Hold;

/// How many snapshots and pages of one session may be under way.
pub const MOST_UNDER_WAY: usize = 3;
/// How many rooms may bring one session up to date at once. Each sends a page at a time.
const MOST_TURNS: usize = 2;
/// How long one that found no place waits for the next try, and at most, once it has found none again
/// and again: thousands wait while a database stands still.
pub(super) const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);
/// How often to look whether a client has taken in enough for the next room that it comes back to.
const TURN_PAUSE: Duration = Duration::from_millis(20);

/// An event that waits until the client has taken in what it asked for before; meanwhile the socket
/// is not read. Hardly any login has one.
pub(super) type Postponed = Option<Box<Later>>;

pub(super) struct Later {
    event: ClientEvent,
    answer: Answer,
    /// How long it waits this time.
    pause: Duration,
    _hold: Hold,
}

/// How long to wait after a try that came after so long a pause.
pub(super) fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE)
}

/// The rooms that a session comes back to. Hardly any login has some.
#[derive(Default)]
pub(super) struct Turns(Option<Box<Waiting>>);

struct Waiting {
    /// Each once, with how it comes in; as many as the session has links at most.
    rooms: VecDeque<(OrderId, Purpose)>,
    /// The rooms whose turn it is.
    turns: Permits,
    /// Whether the session looks again by itself.
    armed: bool,
}

// === impl Turns ===

impl Turns {
    /// Gives back what it took for rooms, once all have had their turns.
    fn release(&mut self) {
        if self.0.as_ref().is_some_and(|all| all.rooms.is_empty() && all.turns.taken() == 0) {
            self.0 = None;
        }
    }

    fn push(&mut self, order: OrderId, purpose: Purpose) {
        let waiting = self.0.get_or_insert_with(|| {
            let turns = Permits::new(MOST_TURNS);
            Box::new(Waiting { rooms: VecDeque::new(), turns, armed: false })
        });
        waiting.rooms.push_back((order, purpose));
    }

    /// The next room, where one waits and it is its turn.
    fn next(&mut self) -> Option<(OrderId, Purpose, Permit)> {
        let waiting = self.0.as_mut()?;
        let turn = waiting.turns.take()?;
        let (order, purpose) = waiting.rooms.pop_front()?;
        Some((order, purpose, turn))
    }

    /// Whether a room waits.
    fn has_one(&self) -> bool {
        self.0.as_ref().is_some_and(|waiting| !waiting.rooms.is_empty())
    }

    /// Whether rooms wait for which the session is to look again; it says so once.
    fn arm(&mut self) -> bool {
        let waiting = self.0.as_mut().filter(|waiting| !waiting.rooms.is_empty());
        waiting.is_some_and(|waiting| !std::mem::replace(&mut waiting.armed, true))
    }

    fn disarm(&mut self) {
        if let Some(waiting) = &mut self.0 {
            waiting.armed = false;
        }
    }
}

// === impl Login ===

impl Login {
    /// Routes an event; one whose answer is large only when there is room for that.
    pub(super) fn pace(
        &mut self,
        event: ClientEvent,
        answer: Answer,
        now: Instant,
        ctx: &mut Context<Session>,
    ) {
        if !matches!(event, ClientEvent::Join(_) | ClientEvent::History(_)) {
            return self.route(event, answer, now, ctx);
        }
        self.begin_or_wait(event, answer, PAUSE, now, ctx);
    }

    /// Routes an event whose answer is large, or tries again after a pause.
    fn begin_or_wait(
        &mut self,
        event: ClientEvent,
        answer: Answer,
        pause: Duration,
        now: Instant,
        ctx: &mut Context<Session>,
    ) {
        if let Some(permit) = self.may_begin() {
            return self.route(event, answer.holding(permit), now, ctx);
        }
        self.postponed = Some(Box::new(Later { event, answer, pause, _hold: self.gate.hold() }));
        let session = self.peer.id;
        ctx.run_later(pause, move |connection: &mut Session, ctx| {
            // A login that has ended leaves it to be answered by its drop.
            if let Some(login) = connection.login(session) {
                login.take_up(ctx);
            }
        });
    }

    /// Whether it can take no more events for now.
    pub(super) fn is_held_up(&self) -> bool {
        self.postponed.is_some() || self.crowded.is_some()
    }

    fn may_begin(&self) -> Option<Permit> {
        let is_filling = self.shared.is_filling(&self.peer.outbox);
        (!is_filling).then(|| self.peer.under_way.take()).flatten()
    }

    fn take_up(&mut self, ctx: &mut Context<Session>) {
        // The hold goes at the end: one that is postponed again has taken its own by then.
        if let Some(postponed) = self.postponed.take() {
            let Later { event, answer, pause, _hold } = *postponed;
            self.begin_or_wait(event, answer, longer(pause), Instant::now(), ctx);
        }
    }

    /// The session comes back to this room when it is its turn.
    pub(super) fn wait_for_turn(&mut self, order: OrderId, purpose: Purpose) {
        self.turns.push(order, purpose);
    }

    /// Goes into the rooms whose turn it is.
    pub(super) fn take_turns(&mut self, ctx: &mut Context<Session>) {
        while self.turns.has_one() && !self.shared.is_filling(&self.peer.outbox) {
            let Some((order, purpose, turn)) = self.turns.next() else { return };
            self.ask_to_enter(order, purpose, Some(turn), ctx);
        }
        self.turns.release();
        if !self.turns.arm() {
            return;
        }
        let session = self.peer.id;
        ctx.run_later(TURN_PAUSE, move |connection: &mut Session, ctx| {
            if let Some(login) = connection.login(session) {
                login.turns.disarm();
                login.take_turns(ctx);
            }
        });
    }
}
