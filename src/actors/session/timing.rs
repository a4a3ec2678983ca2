//! What a session does by the clock: heartbeats, and the end of tokens. One timer serves all of it.

use std::time::{Duration, Instant};

use actix::{AsyncContext, Context};

use super::Session;
use crate::protocol::close::CloseCode;
use crate::session::expiry::Term;
use crate::session::heartbeat::Beat;

/// How often a connection that nobody uses looks whether the hub goes down.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Session {
    /// Arms the one timer for the next deadline.
    pub(super) fn arm(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let expiries = self.logins.iter().map(|login| login.expiry.next());
        let mut next = expiries.fold(self.heartbeat.next(), Instant::min);
        if let Some(login_by) = self.nobody_after() {
            // The supervisor does not know of it, so it looks by itself whether the hub goes down.
            next = next.min(login_by).min(now + LOOK_EVERY);
        }
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
        if self.nobody_after().is_some_and(|login_by| login_by <= now) {
            return self.finish(CloseCode::UNAUTHENTICATED, ctx);
        }
        if self.logins.is_empty() && self.shared.is_draining() {
            return self.finish(CloseCode::RESTART, ctx);
        }
        while let Some(beat) = self.heartbeat.due(now, !self.gate.is_paused()) {
            match beat {
                Beat::Ping => self.dialect.ping(&self.outbox),
                Beat::NoPong => return self.finish(CloseCode::NO_PONG, ctx),
            }
        }
        self.arm(now, ctx);
    }

    /// When the connection ends that nobody uses; none while somebody does.
    fn nobody_after(&self) -> Option<Instant> {
        self.logins.is_empty().then(|| self.dialect.login_by()).flatten()
    }
}
