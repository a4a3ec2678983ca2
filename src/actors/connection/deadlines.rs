//! The deadlines of a connection: heartbeats, waiting events, and the end of tokens. One alarm
//! serves all of them.

use std::time::Instant;

use actix::{Context, Handler};

use super::Connection;
use crate::actors::alarms::{Alarm, AlarmFired};
use crate::actors::supervisor::Disconnect;
use crate::connection::heartbeat::HeartbeatAction;
use crate::session::token_expiry::ExpiryEvent;
use protocol::close::CloseCode;

impl Connection {
    /// Sets the alarm for the next deadline, unless it fires sooner: then it is set again when it
    /// fires.
    pub(super) fn arm(&mut self) {
        let expiries = self.sessions.iter().map(|session| session.expiry.next());
        let waiting = self.backlog.as_ref().map(|waiting| waiting.due);
        let others = self.login_deadline().into_iter().chain(waiting);
        let next = expiries.chain(others).fold(self.heartbeat.next(), Instant::min);
        if self.alarm.as_ref().is_none_or(|alarm| next < alarm.at()) {
            self.alarm = Some(Alarm::set(next, self.address.clone()));
        }
    }

    fn on_deadline(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if self.backlog.as_ref().is_some_and(|waiting| waiting.due <= now) {
            self.run_backlog(now, ctx);
            if self.ended {
                return;
            }
        }
        for session in &mut self.sessions {
            match session.expiry.due(now) {
                Some(ExpiryEvent::Expired) => {
                    let user = session.identity.user.clone();
                    let end = Disconnect::now(CloseCode::TOKEN_EXPIRED).of(user);
                    return self.disconnect(&end, ctx);
                }
                Some(ExpiryEvent::Expiring) => session.send_expiring(),
                None => {}
            }
        }
        if self.login_deadline().is_some_and(|login_deadline| login_deadline <= now) {
            return self.close(CloseCode::UNAUTHENTICATED, ctx);
        }
        while let Some(action) = self.heartbeat.due(now, !self.read_pause.is_paused()) {
            match action {
                HeartbeatAction::Ping => self.ping(),
                HeartbeatAction::NoPong if self.outbox.is_still_receiving(&mut self.last_ping) => {
                    self.heartbeat.extend_deadline(now);
                }
                HeartbeatAction::NoPong => return self.close(CloseCode::NO_PONG, ctx),
            }
        }
        self.arm();
    }

    fn ping(&mut self) {
        // Noted before the ping is sent: a push in between may go out after it.
        for mut push_log in self.sessions.iter().filter_map(|session| session.peer.push_log()) {
            push_log.mark_ping();
        }
        match self.framing.ping(&self.outbox) {
            Some(mark) => {
                self.last_ping = mark;
                if mark.overtakes() {
                    self.heartbeat.on_ping_overtook();
                }
            }
            // An older ping still waits in the outbox, and serves as this one.
            None => self.heartbeat.on_ping_skipped(),
        }
    }

    /// When a connection without a session ends. `None` where it has one.
    fn login_deadline(&self) -> Option<Instant> {
        self.sessions.is_empty().then(|| self.framing.login_deadline()).flatten()
    }
}

impl Handler<AlarmFired> for Connection {
    type Result = ();

    fn handle(&mut self, AlarmFired: AlarmFired, ctx: &mut Context<Self>) {
        if !self.ended {
            self.alarm = None;
            self.on_deadline(Instant::now(), ctx);
        }
    }
}
