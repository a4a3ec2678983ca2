//! What a session does by the clock: heartbeats, events whose turn has come, and the end of tokens.
//! One timer serves all of it.

use std::time::Instant;

use actix::{Context, Handler};

use super::Session;
use crate::actors::alarms::{Alarm, Due};
use crate::actors::supervisor::EndSession;
use crate::protocol::close::CloseCode;
use crate::session::expiry::Term;
use crate::session::heartbeat::Beat;

impl Session {
    /// Sets the one alarm for the next deadline, unless it fires sooner: then it is set anew.
    pub(super) fn arm(&mut self) {
        let expiries = self.logins.iter().map(|login| login.expiry.next());
        let waiting = self.waiting.as_ref().map(|waiting| waiting.due);
        let others = self.nobody_after().into_iter().chain(waiting);
        let next = expiries.chain(others).fold(self.heartbeat.next(), Instant::min);
        if self.alarm.as_ref().is_none_or(|alarm| next < alarm.at()) {
            self.alarm = Some(Alarm::set(next, self.address.clone()));
        }
    }

    fn on_deadline(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if self.waiting.as_ref().is_some_and(|waiting| waiting.due <= now) {
            self.take_waiting(now, ctx);
            if self.ended {
                return;
            }
        }
        for login in &mut self.logins {
            match login.expiry.due(now) {
                Some(Term::Expired) => {
                    let user = login.identity.user.clone();
                    let end = EndSession::now(CloseCode::TOKEN_EXPIRED).of(user);
                    return self.finish_with(&end, ctx);
                }
                Some(Term::Expiring) => login.warn_of_expiry(),
                None => {}
            }
        }
        if self.nobody_after().is_some_and(|login_by| login_by <= now) {
            return self.finish(CloseCode::UNAUTHENTICATED, ctx);
        }
        while let Some(beat) = self.heartbeat.due(now, !self.gate.is_paused()) {
            match beat {
                Beat::Ping => self.ping(),
                Beat::NoPong if self.outbox.is_taking(&mut self.pinged) => {
                    self.heartbeat.spare(now);
                }
                Beat::NoPong => return self.finish(CloseCode::NO_PONG, ctx),
            }
        }
        self.arm();
    }

    fn ping(&mut self) {
        // Before it is sent: what is pushed in between may go out behind it.
        for mut pushes in self.logins.iter().filter_map(|login| login.peer.pushes()) {
            pushes.pinged();
        }
        match self.dialect.ping(&self.outbox) {
            Some(mark) => {
                self.pinged = mark;
                if mark.overtakes() {
                    self.heartbeat.overtook();
                }
            }
            // One waits already, and that is the one.
            None => self.heartbeat.not_sent(),
        }
    }

    /// When the connection ends that nobody uses; none while somebody does.
    fn nobody_after(&self) -> Option<Instant> {
        self.logins.is_empty().then(|| self.dialect.login_by()).flatten()
    }
}

impl Handler<Due> for Session {
    type Result = ();

    fn handle(&mut self, Due: Due, ctx: &mut Context<Self>) {
        if !self.ended {
            self.alarm = None;
            self.on_deadline(Instant::now(), ctx);
        }
    }
}
