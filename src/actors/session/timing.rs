//! What a session does by the clock: heartbeats, and the end of tokens. One timer serves all of it.

use std::time::{Duration, Instant};

use actix::{AsyncContext, Context};

use super::Session;
use crate::protocol::close::CloseCode;
use crate::session::expiry::Term;
use crate::session::heartbeat::Beat;

impl Session {
    /// Arms the one timer for the next deadline.
    pub(super) fn arm(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let expiries = self.logins.iter().map(|login| login.expiry.next());
        let next = expiries.fold(self.heartbeat.next(), Instant::min);
        let wait = next.saturating_duration_since(now);
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(wait.max(Duration::from_millis(1)), |session, ctx| {
            session.timer = None;
            session.on_deadline(Instant::now(), ctx);
        });
        self.timer = Some(timer);
    }

    fn on_deadline(&mut self, now: Instant, ctx: &mut Context<Self>) {
        for login in &mut self.logins {
            match login.expiry.due(now) {
                Some(Term::Expired) => return self.finish(CloseCode::TOKEN_EXPIRED, ctx),
                Some(Term::Expiring) => login.warn_of_expiry(),
                None => {}
            }
        }
        while let Some(beat) = self.heartbeat.due(now, !self.gate.is_paused()) {
            match beat {
                Beat::Ping => self.outbox.ping(),
                Beat::NoPong => return self.finish(CloseCode::NO_PONG, ctx),
            }
        }
        self.arm(now, ctx);
    }
}
