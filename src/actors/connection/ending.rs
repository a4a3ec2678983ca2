//! How a connection ends: the last frames for its client, and the end of its sessions.

use actix::{ActorContext, AsyncContext, Context};

use super::framing::ConnectionFraming;
use super::session::{EndReason, PEER_CLOSED};
use super::{CLOSE_TIMEOUT, Connection};
use crate::actors::shared::close_index;
use crate::actors::supervisor::Disconnect;
use protocol::close::CloseCode;

impl Connection {
    /// Ends the connection by the hub's decision: sends the reason, then closes.
    pub(super) fn close(&mut self, close: CloseCode, ctx: &mut Context<Self>) {
        self.disconnect(&Disconnect::now(close), ctx);
    }

    pub(super) fn disconnect(&mut self, end: &Disconnect, ctx: &mut Context<Self>) {
        let Disconnect { close, reason, reconnect_after_ms, user, .. } = end;
        // A client that was disconnected for slowness or silence is expected back. A Socket.IO
        // client does not see the code, and comes back after every end that is not terminal.
        let clean = match self.framing {
            ConnectionFraming::Plain => !close.retry,
            ConnectionFraming::SocketIo(_) => close.is_terminal(),
        };
        let ended =
            if clean { EndReason::for_good(close.reason) } else { EndReason::lost(close.reason) };
        let (mut last, mut stays_away) = (Vec::new(), close.is_terminal());
        for session in &mut self.sessions {
            if user.as_ref().is_none_or(|user| *user == session.identity.user) {
                last.push(session.session_end_frame(
                    *close,
                    reason.as_deref(),
                    *reconnect_after_ms,
                ));
                last.extend(session.disconnect_frame(*close));
            } else {
                // Another user of the same connection is not concerned, and comes back.
                session.end(EndReason::lost(close.reason));
                stays_away = false;
            }
        }
        match self.framing {
            // After a close frame a client on Android notices nothing for 45 seconds. A client that
            // is told to stay away ends the connection itself.
            ConnectionFraming::SocketIo(_) if !stays_away => self.outbox.hang_up(last, *close),
            _ => self.outbox.finish(last, *close),
        }
        self.begin_close(ended, ctx);
    }

    /// Leaves every room at once. The connection may stay open for a moment to send its last
    /// frames.
    pub(super) fn begin_close(&mut self, end: EndReason, ctx: &mut Context<Self>) {
        self.end(end);
        self.alarm = None;
        ctx.run_later(CLOSE_TIMEOUT, |_, ctx| ctx.stop());
    }

    pub(super) fn end(&mut self, end: EndReason) {
        if !std::mem::replace(&mut self.ended, true) && self.sessions.is_empty() {
            // A session counts its own end.
            self.shared.metrics.closes.inc(close_index(end.reason));
        }
        // The client left the namespace, but its earlier events are still waiting.
        let leaving_namespace = self.backlog.take().and_then(|waiting| waiting.leaving_namespace);
        if let Some(index) = leaving_namespace.and_then(|namespace| self.session_in(namespace)) {
            self.sessions[index].end(EndReason::for_good(end.reason));
        }
        for session in &mut self.sessions {
            session.end(end);
        }
    }

    /// What the client means by a close frame with this code.
    pub(super) fn closed_by_peer(&self, code: Option<u16>) -> EndReason {
        match self.framing {
            ConnectionFraming::Plain => EndReason::for_good(PEER_CLOSED),
            // Most Socket.IO clients that leave send a DISCONNECT for each namespace first, but
            // some have no time for it. Others close like this after a late ping, and come back.
            ConnectionFraming::SocketIo(_) if code == Some(CloseCode::NORMAL.code) => {
                EndReason { clean: true, ..EndReason::lost(PEER_CLOSED) }
            }
            ConnectionFraming::SocketIo(_) => EndReason::lost(PEER_CLOSED),
        }
    }
}
