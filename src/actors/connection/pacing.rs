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

use std::time::{Duration, Instant};

use actix::{AsyncContext, Context};

use super::Connection;
use super::session::{PostponedEvent, Session};
use super::subscription::RoomEvent;
use crate::permits::Permit;
use protocol::ids::OrderId;

/// How long an event without a permit waits for its next try. The wait doubles up to
/// [`LONGEST_RETRY`], because thousands may wait while a database hangs.
pub(super) const FIRST_RETRY: Duration = Duration::from_millis(5);
const LONGEST_RETRY: Duration = Duration::from_millis(320);
/// How often to check whether a client has taken enough for its next catch-up.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(20);

/// The wait after a try that followed this wait.
pub(super) fn next_retry(wait: Duration) -> Duration {
    (wait * 2).min(LONGEST_RETRY)
}

impl Session {
    /// Routes an event. An event with a large reply (a join or a page of history) is postponed while
    /// the client has not taken earlier ones; all others are routed at once.
    pub(super) fn route_or_postpone(
        &mut self,
        order: OrderId,
        mut event: RoomEvent,
        retry_after: Duration,
        now: Instant,
        ctx: &mut Context<Connection>,
    ) {
        if let Some(answer) = event.large_answer() {
            let Some(permit) = self.take_reply_permit() else {
                return self.postpone(order, event, retry_after, ctx);
            };
            answer.hold(permit);
        }
        self.route(order, event, now, ctx);
    }

    fn postpone(
        &mut self,
        order: OrderId,
        event: RoomEvent,
        retry_after: Duration,
        ctx: &mut Context<Connection>,
    ) {
        let read_pause = self.read_pause.pause();
        self.postponed = Some(Box::new(PostponedEvent { order, event, retry_after, read_pause }));
        let session_id = self.peer.id;
        ctx.run_later(retry_after, move |connection: &mut Connection, ctx| {
            // If the session has ended, the drop of the event answers it.
            if let Some(session) = connection.session(session_id) {
                session.retry_postponed(ctx);
            }
            connection.run_backlog_if_unblocked(Instant::now(), ctx);
        });
    }

    /// Whether the session can handle no more events for now.
    pub(super) fn is_blocked(&self) -> bool {
        self.postponed.is_some() || self.queue_full_read_pause.is_some()
    }

    fn take_reply_permit(&self) -> Option<Permit> {
        let is_filling = self.shared.is_filling(&self.peer.outbox);
        (!is_filling).then(|| self.peer.reply_permits.take()).flatten()
    }

    fn retry_postponed(&mut self, ctx: &mut Context<Connection>) {
        // The read pause ends after this: an event that is postponed again has its own by then.
        if let Some(postponed) = self.postponed.take() {
            let PostponedEvent { order, event, retry_after, read_pause: _read_pause } = *postponed;
            self.route_or_postpone(order, event, next_retry(retry_after), Instant::now(), ctx);
        }
    }

    /// Enters the rooms that may catch up now.
    pub(super) fn start_catch_ups(&mut self, ctx: &mut Context<Connection>) {
        while self.catch_ups.has_one() && !self.shared.is_filling(&self.peer.outbox) {
            let Some((order, kind, permit)) = self.catch_ups.take_next() else { return };
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
