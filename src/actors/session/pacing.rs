//! Snapshots and pages, at the pace at which the client takes them in.
//!
//! A dashboard that comes back joins dozens of rooms in one breath, and each answer may have
//! 64 KiB: together they would overrun its outbox, and it would be cut for what it asked for, each
//! time anew. So only a few are under way, and while the outbox is filling no more are begun: the
//! next one waits, and the socket is not read.

use std::time::{Duration, Instant};

use actix::{AsyncContext, Context};

use super::Session;
use super::login::Login;
use crate::actors::peer::Answer;
use crate::permits::Permit;
use crate::protocol::client::ClientEvent;
use crate::transport::Hold;

/// How many snapshots and pages of one session may be under way.
pub const MOST_UNDER_WAY: usize = 3;
/// The share of the outbox beyond which none is begun: 3 of 64 KiB fit into the rest.
const FILLING: usize = 4;
/// How long one that found no place waits for the next try.
const PAUSE: Duration = Duration::from_millis(5);

/// An event that waits until the client has taken in what it asked for before; meanwhile the socket
/// is not read. Hardly any login has one.
pub(super) type Postponed = Option<Box<(ClientEvent, Answer, Hold)>>;

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
        if let Some(permit) = self.may_begin() {
            return self.route(event, answer.holding(permit), now, ctx);
        }
        self.postponed = Some(Box::new((event, answer, self.gate.hold())));
        let session = self.peer.id;
        ctx.run_later(PAUSE, move |connection: &mut Session, ctx| {
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
        let most = self.shared.config.limits.outbox_bytes / FILLING;
        (self.peer.outbox.backlog().bytes <= most).then(|| self.peer.under_way.take()).flatten()
    }

    fn take_up(&mut self, ctx: &mut Context<Session>) {
        // The hold goes at the end: one that is postponed again has taken its own by then.
        if let Some(postponed) = self.postponed.take() {
            let (event, answer, _hold) = *postponed;
            self.pace(event, answer, Instant::now(), ctx);
        }
    }
}
