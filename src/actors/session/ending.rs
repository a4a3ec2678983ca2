//! How a connection ends: what its client hears last, and what becomes of its logins.

use actix::{ActorContext, AsyncContext, Context};

use super::dialect::Dialect;
use super::{LINGER, Session};
use crate::actors::shared::close_index;
use crate::actors::supervisor::EndSession;
use crate::protocol::close::CloseCode;

/// The peer ended the connection.
pub(super) const PEER_CLOSED: &str = "peer_closed";

/// How a login ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) reason: &'static str,
    /// Whether the client took its leave, or the hub did: others need not wait for it to return.
    pub(super) clean: bool,
    /// Whether it is kept for its client to take it up again.
    pub(super) resumable: bool,
}

// === impl End ===

impl End {
    /// The client is not expected back.
    pub(super) const fn for_good(reason: &'static str) -> Self {
        Self { reason, clean: true, resumable: false }
    }

    /// The client is expected back.
    pub(super) const fn lost(reason: &'static str) -> Self {
        Self { reason, clean: false, resumable: true }
    }
}

// === impl Session ===

impl Session {
    /// Ends the connection by the hub's decision: says so, then closes.
    pub(super) fn finish(&mut self, close: CloseCode, ctx: &mut Context<Self>) {
        self.finish_with(&EndSession::now(close), ctx);
    }

    pub(super) fn finish_with(&mut self, end: &EndSession, ctx: &mut Context<Self>) {
        let EndSession { close, reason, reconnect_after_ms, user, .. } = end;
        // Whoever was cut for slowness or silence is expected back. A Socket.IO client does not see
        // the code, and comes back from every end but those that it is told to take for good.
        let clean = match self.dialect {
            Dialect::Plain => !close.retry,
            Dialect::SocketIo(_) => close.is_final(),
        };
        let ended = if clean { End::for_good(close.reason) } else { End::lost(close.reason) };
        let (mut last, mut stays_away) = (Vec::new(), close.is_final());
        for login in &mut self.logins {
            if user.as_ref().is_none_or(|user| *user == login.identity.user) {
                last.push(login.farewell(*close, reason.as_deref(), *reconnect_after_ms));
                last.extend(login.dismissal(*close));
            } else {
                // Another user of the same connection has done nothing, and comes back.
                login.depart(End::lost(close.reason));
                stays_away = false;
            }
        }
        match self.dialect {
            // Behind a close frame a client on Android hears nothing for 45 seconds. One that is told
            // to stay away ends the connection by itself.
            Dialect::SocketIo(_) if !stays_away => self.outbox.hang_up(last, *close),
            _ => self.outbox.finish(last, *close),
        }
        self.leave_everything(ended, ctx);
    }

    /// Leaves every room at once; the connection may linger to tell its peer.
    pub(super) fn leave_everything(&mut self, end: End, ctx: &mut Context<Self>) {
        self.depart(end);
        self.alarm = None;
        ctx.run_later(LINGER, |_, ctx| ctx.stop());
    }

    pub(super) fn depart(&mut self, end: End) {
        if !std::mem::replace(&mut self.ended, true) && self.logins.is_empty() {
            // A login counts its own.
            self.shared.metrics.closes.inc(close_index(end.reason));
        }
        // It said that it leaves; what it sent before did not get its turn.
        let leaving = self.waiting.take().and_then(|waiting| waiting.leaving);
        if let Some(index) = leaving.and_then(|namespace| self.login_in(namespace)) {
            self.logins[index].depart(End::for_good(end.reason));
        }
        for login in &mut self.logins {
            login.depart(end);
        }
    }

    /// What the client means by a close frame with this code.
    pub(super) fn closed_by_peer(&self, code: Option<u16>) -> End {
        match self.dialect {
            Dialect::Plain => End::for_good(PEER_CLOSED),
            // Most Socket.IO clients that take their leave say so before, for each namespace; some have
            // no time for it. But some close so after a ping that came late, and come back.
            Dialect::SocketIo(_) if code == Some(CloseCode::NORMAL.code) => {
                End { clean: true, ..End::lost(PEER_CLOSED) }
            }
            Dialect::SocketIo(_) => End::lost(PEER_CLOSED),
        }
    }
}
