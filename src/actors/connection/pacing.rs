//! Paces what fills an outbox at the client's request: snapshots, pages of history, and catch-ups
//! in the rooms that it comes back to. Each is sent only as fast as the client takes it.
//!
//! A dashboard that reconnects joins dozens of rooms at once, and each answer may have 48 KiB.
//! Together they would overrun its outbox, and it would be disconnected as a slow reader each time.
//! So only a few are under way at once, and none is begun while the outbox is filling: the next one
//! waits, and the socket is not read.
//!
//! The same holds for the rooms of a resumed session. They wait here without pausing the socket:
//! what the client sends to them waits in their subscriptions, 32 events in all.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use actix::{AsyncContext, Context};

use super::Connection;
use super::session::Session;
use crate::actors::order_room::EntryKind;
use crate::actors::peer::Answer;
use crate::permits::{Permit, Permits};
use crate::transport::ReadPauseGuard;
use protocol::client::ClientEvent;
use protocol::ids::OrderId;

/// How many snapshots and pages of one session may be under way at once.
pub const MAX_LARGE_REPLIES: usize = 3;
/// In how many rooms one session may catch up at once. Each sends a page at a time.
const MAX_CATCH_UPS: usize = 2;
/// How long an event without a permit waits for its next try. The wait doubles up to
/// [`LONGEST_PAUSE`], because thousands may wait while a database hangs.
pub(super) const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);
/// How often to check whether a client has taken enough for its next catch-up.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(20);

/// An event that waits until the client has taken earlier large replies; meanwhile the socket is
/// not read. Rare, so boxed.
pub(super) type Postponed = Option<Box<PostponedRequest>>;

pub(super) struct PostponedRequest {
    event: ClientEvent,
    answer: Answer,
    /// How long it waits this time.
    pause: Duration,
    _read_pause: ReadPauseGuard,
}

/// The wait after a try that followed this pause.
pub(super) fn next_pause(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE)
}

/// The rooms in which a session waits to catch up. Rare, so boxed.
#[derive(Default)]
pub(super) struct CatchUpQueue(Option<Box<WaitingRooms>>);

struct WaitingRooms {
    /// Each room once, with how the session enters it; at most as many as the session has
    /// subscriptions.
    rooms: VecDeque<(OrderId, EntryKind)>,
    /// Permits for the rooms that catch up.
    permits: Permits,
    /// Whether a timer for the next check is set.
    armed: bool,
}

// === impl CatchUpQueue ===

impl CatchUpQueue {
    /// Frees its memory once all rooms have caught up.
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

    /// The next room, if one waits and a permit is free.
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

    /// Whether a timer has to be set for rooms that wait. True only once.
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
    /// Routes an event. An event whose answer is large waits until there is room for it.
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
            // If the session has ended, the drop of the event answers it.
            if let Some(session) = connection.session(session_id) {
                session.retry_postponed(ctx);
            }
            connection.resume_queued(Instant::now(), ctx);
        });
    }

    /// Whether the session can handle no more events for now.
    pub(super) fn is_blocked(&self) -> bool {
        self.postponed.is_some() || self.queue_full_hold.is_some()
    }

    fn take_reply_permit(&self) -> Option<Permit> {
        let is_filling = self.shared.is_filling(&self.peer.outbox);
        (!is_filling).then(|| self.peer.reply_permits.take()).flatten()
    }

    fn retry_postponed(&mut self, ctx: &mut Context<Connection>) {
        // The read pause ends after this: an event that is postponed again has its own by then.
        if let Some(postponed) = self.postponed.take() {
            let PostponedRequest { event, answer, pause, _read_pause } = *postponed;
            self.route_or_postpone(event, answer, next_pause(pause), Instant::now(), ctx);
        }
    }

    /// Queues a catch-up in this room.
    pub(super) fn queue_catch_up(&mut self, order: OrderId, kind: EntryKind) {
        self.catch_ups.push(order, kind);
    }

    /// Enters the rooms that may catch up now.
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
