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

use super::Connection;
use super::session::Session;
use crate::actors::order_room::EntryKind;
use crate::actors::peer::Answer;
use crate::ids::OrderId;
use crate::permits::{Permit, Permits};
use crate::protocol::client::ClientEvent;
use crate::transport::ReadPauseGuard;

/// How many snapshots and pages of one session may be under way.
pub const MAX_LARGE_REPLIES: usize = 3;
/// How many rooms may bring one session up to date at once. Each sends a page at a time.
const MAX_CATCH_UPS: usize = 2;
/// How long one that found no place waits for the next try, and at most, once it has found none again
/// and again: thousands wait while a database stands still.
pub(super) const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);
/// How often to look whether a client has taken in enough for the next room that it comes back to.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(20);

/// An event that waits until the client has taken in what it asked for before; meanwhile the socket
/// is not read. Hardly any session has one.
pub(super) type Postponed = Option<Box<PostponedRequest>>;

pub(super) struct PostponedRequest {
    event: ClientEvent,
    answer: Answer,
    /// How long it waits this time.
    pause: Duration,
    _read_pause: ReadPauseGuard,
}

/// How long to wait after a try that came after so long a pause.
pub(super) fn next_pause(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE)
}

/// The rooms that a session comes back to. Hardly any session has some.
#[derive(Default)]
pub(super) struct CatchUpQueue(Option<Box<WaitingRooms>>);

struct WaitingRooms {
    /// Each once, with how it comes in; as many as the session has subscriptions at most.
    rooms: VecDeque<(OrderId, EntryKind)>,
    /// The rooms whose turn it is.
    permits: Permits,
    /// Whether the session looks again by itself.
    armed: bool,
}

// === impl CatchUpQueue ===

impl CatchUpQueue {
    /// Gives back what it took for rooms, once all have had their turns.
    fn release(&mut self) {
        if self.0.as_ref().is_some_and(|all| all.rooms.is_empty() && all.permits.taken() == 0) {
            self.0 = None;
        }
    }

    fn push(&mut self, order: OrderId, kind: EntryKind) {
        let waiting = self.0.get_or_insert_with(|| {
            let permits = Permits::new(MAX_CATCH_UPS);
            Box::new(WaitingRooms { rooms: VecDeque::new(), permits, armed: false })
        });
        waiting.rooms.push_back((order, kind));
    }

    /// The next room, where one waits and it is its turn.
    fn next(&mut self) -> Option<(OrderId, EntryKind, Permit)> {
        let waiting = self.0.as_mut()?;
        let permit = waiting.permits.take()?;
        let (order, kind) = waiting.rooms.pop_front()?;
        Some((order, kind, permit))
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

// === impl Session ===

impl Session {
    /// Routes an event; one whose answer is large only when there is room for that.
    pub(super) fn pace(
        &mut self,
        event: ClientEvent,
        answer: Answer,
        now: Instant,
        ctx: &mut Context<Connection>,
    ) {
        if !matches!(event, ClientEvent::Join(_) | ClientEvent::History(_)) {
            return self.route(event, answer, now, ctx);
        }
        self.route_or_postpone(event, answer, PAUSE, now, ctx);
    }

    /// Routes an event whose answer is large, or tries again after a pause.
    fn route_or_postpone(
        &mut self,
        event: ClientEvent,
        answer: Answer,
        pause: Duration,
        now: Instant,
        ctx: &mut Context<Connection>,
    ) {
        if let Some(permit) = self.take_reply_permit() {
            return self.route(event, answer.with_permit(permit), now, ctx);
        }
        self.postponed = Some(Box::new(PostponedRequest {
            event,
            answer,
            pause,
            _read_pause: self.read_pause.pause(),
        }));
        let session_id = self.peer.id;
        ctx.run_later(pause, move |connection: &mut Connection, ctx| {
            // A session that has ended leaves it to be answered by its drop.
            if let Some(session) = connection.session(session_id) {
                session.retry_postponed(ctx);
            }
        });
    }

    /// Whether it can take no more events for now.
    pub(super) fn is_blocked(&self) -> bool {
        self.postponed.is_some() || self.queue_full_hold.is_some()
    }

    fn take_reply_permit(&self) -> Option<Permit> {
        let is_filling = self.shared.is_filling(&self.peer.outbox);
        (!is_filling).then(|| self.peer.reply_permits.take()).flatten()
    }

    fn retry_postponed(&mut self, ctx: &mut Context<Connection>) {
        // The hold goes at the end: one that is postponed again has taken its own by then.
        if let Some(postponed) = self.postponed.take() {
            let PostponedRequest { event, answer, pause, _read_pause } = *postponed;
            self.route_or_postpone(event, answer, next_pause(pause), Instant::now(), ctx);
        }
    }

    /// The session comes back to this room when it is its turn.
    pub(super) fn queue_catch_up(&mut self, order: OrderId, kind: EntryKind) {
        self.catch_ups.push(order, kind);
    }

    /// Goes into the rooms whose turn it is.
    pub(super) fn start_catch_ups(&mut self, ctx: &mut Context<Connection>) {
        while self.catch_ups.has_one() && !self.shared.is_filling(&self.peer.outbox) {
            let Some((order, kind, permit)) = self.catch_ups.next() else { return };
            self.request_entry(order, kind, Some(permit), ctx);
        }
        self.catch_ups.release();
        if !self.catch_ups.arm() {
            return;
        }
        let session_id = self.peer.id;
        ctx.run_later(CATCH_UP_PAUSE, move |connection: &mut Connection, ctx| {
            if let Some(session) = connection.session(session_id) {
                session.catch_ups.disarm();
                session.start_catch_ups(ctx);
            }
        });
    }
}
