//! Snapshots and pages, at the pace at which the client takes them in.
//!
//! A dashboard that comes back joins dozens of rooms in one breath, and each answer may have
//! 64 KiB: together they would overrun its outbox, and it would be cut for what it asked for, each
//! time anew. So only a few are under way, and while the outbox is filling no more are begun: the
//! next one waits, and the socket is not read.

use std::time::{Duration, Instant};

use actix::{AsyncContext, Context};

use super::Session;
use crate::actors::peer::Answer;
use crate::permits::Permit;
use crate::protocol::client::ClientEvent;

/// How many snapshots and pages of one session may be under way.
pub const MOST_UNDER_WAY: usize = 3;
/// The share of the outbox beyond which none is begun: 3 of 64 KiB fit into the rest.
const FILLING: usize = 4;
/// How long one that found no place waits for the next try.
const PAUSE: Duration = Duration::from_millis(5);

/// An event that waits until the client has taken in what it asked for before.
pub(super) type Postponed = Option<(ClientEvent, Answer)>;

impl Session {
    /// Routes an event; one whose answer is large only when there is room for that.
    pub(super) fn pace(
        &mut self,
        event: ClientEvent,
        answer: Answer,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        if !matches!(event, ClientEvent::Join(_) | ClientEvent::History(_)) {
            return self.route(event, answer, now, ctx);
        }
        if let Some(permit) = self.may_begin() {
            return self.route(event, answer.holding(permit), now, ctx);
        }
        self.postponed = Some((event, answer));
        self.gate.pause();
        ctx.run_later(PAUSE, Self::take_up);
    }

    fn may_begin(&self) -> Option<Permit> {
        let most = self.shared.config.limits.outbox_bytes / FILLING;
        (self.peer.outbox.backlog().bytes <= most).then(|| self.peer.under_way.take()).flatten()
    }

    fn take_up(&mut self, ctx: &mut Context<Self>) {
        // A session that has ended leaves it to be answered by its drop.
        let Some((event, answer)) = self.postponed.take().filter(|_| self.end.is_none()) else {
            return;
        };
        self.pace(event, answer, Instant::now(), ctx);
        self.listen();
    }
}
