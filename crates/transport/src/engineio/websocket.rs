//! Requests for a WebSocket: a new session over it, or an upgrade of a session that polls.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{
    Engine, EngineHandler, HandshakeRefusal, NewSession, RequestTarget, TransportKind, reply,
};
use crate::{Accepted, Frame, Inbound, Incoming, Outbox, Polling, Probe, RawSocket, handshake};
use protocol::close::CloseCode;
use protocol::socketio::engine::{EngineError, PROBE, PROBE_ANSWER, UPGRADE};

/// How often the waiting GET is answered with a noop while a client upgrades.
const NOOP_INTERVAL: Duration = Duration::from_millis(100);

// === impl Engine ===

impl<H: EngineHandler> Engine<H> {
    /// Answers a request for a WebSocket. What follows runs in tasks of its own.
    pub(super) fn serve_websocket(
        &self,
        target: &RequestTarget,
        request: &HttpRequest,
    ) -> HttpResponse {
        let Ok(response) = handshake(request, self.options.subprotocol) else {
            return reply::refusal(EngineError::BadRequest);
        };
        let begun = match target {
            RequestTarget::Handshake => self.open_websocket_session(request, response),
            RequestTarget::Session(polling) => {
                self.begin_upgrade(polling, request, response);
                Ok(())
            }
        };
        begun.map_or_else(reply::refused, |()| HttpResponse::new(StatusCode::SWITCHING_PROTOCOLS))
    }

    /// Starts a session over a WebSocket.
    fn open_websocket_session(
        &self,
        request: &HttpRequest,
        response: HttpResponse,
    ) -> Result<(), HandshakeRefusal> {
        let (data, sid) = self.begin_session(request)?;
        if let Some(Accepted { inbound, outbox, permit }) = self.accept(request, response) {
            // Fails only if the client is gone, which the session will see.
            let _ = outbox.push(self.open_packet(&sid, TransportKind::WebSocket));
            self.handler.on_connect(
                data,
                NewSession { sid, inbound, outbox, kind: TransportKind::WebSocket },
            );
            drop(permit);
        }
        Ok(())
    }

    /// Starts a WebSocket's attempt to take over a session that polls. On failure it closes the
    /// WebSocket instead of refusing it: the stock client takes a refusal for the end of the
    /// session.
    fn begin_upgrade(&self, polling: &Polling, request: &HttpRequest, response: HttpResponse) {
        let Some(Accepted { inbound, outbox, permit }) = self.accept(request, response) else {
            return;
        };
        let (probe, request_timeout) = (polling.probe(), self.options.request_timeout);
        actix_rt::spawn(async move {
            match probe {
                Ok(probe) => run_probe(probe, inbound, outbox, request_timeout).await,
                Err(_) => close(inbound, outbox, CloseCode::NORMAL).await,
            }
            drop(permit);
        });
    }

    fn accept(&self, request: &HttpRequest, response: HttpResponse) -> Option<Accepted> {
        RawSocket::accept(request, response, &self.options.transport)
            .inspect_err(|error| log::debug!("a client left before its WebSocket opened: {error}"))
            .ok()
    }
}

/// The next step after a client's packet on a WebSocket that probes.
enum ProbeStep {
    /// Nothing yet.
    Wait,
    /// Answer the client's probe.
    Answer,
    /// The client has upgraded.
    Move,
    /// Close: the client ended the WebSocket, or sent a wrong packet.
    Close(CloseCode),
    /// The client is gone.
    Gone,
}

/// Answers the client's probe, and moves its session when the client upgrades.
async fn run_probe(probe: Probe, mut inbound: Inbound, outbox: Outbox, request_timeout: Duration) {
    let mut noops = interval(NOOP_INTERVAL);
    noops.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let request_timeout = sleep(request_timeout);
    tokio::pin!(request_timeout);
    let mut probed = false;
    let why = loop {
        let step = tokio::select! {
            incoming = inbound.next() => next_step(incoming, &outbox),
            () = &mut request_timeout => ProbeStep::Close(CloseCode::NORMAL),
            _ = noops.tick() => {
                if probed {
                    probe.send_noop();
                }
                if probe.is_over() { ProbeStep::Close(CloseCode::NORMAL) } else { ProbeStep::Wait }
            }
        };
        match step {
            ProbeStep::Wait => {}
            ProbeStep::Answer => {
                let answer = Frame::text(|out| out.extend_from_slice(PROBE_ANSWER.as_bytes()));
                // Fails only if the client is gone, which the stream will report.
                let _ = outbox.push(answer);
                probe.send_noop();
                probed = true;
            }
            ProbeStep::Move => {
                if let Err(error) = probe.take_over(inbound) {
                    log::debug!("a client could not move to its WebSocket: {error}");
                }
                return;
            }
            ProbeStep::Close(why) => break why,
            ProbeStep::Gone => return,
        }
    };
    // Another WebSocket may probe while this one closes.
    drop(probe);
    close(inbound, outbox, why).await;
}

fn next_step(incoming: Option<Incoming>, outbox: &Outbox) -> ProbeStep {
    match incoming {
        Some(Incoming::Text(text)) if text == PROBE => ProbeStep::Answer,
        Some(Incoming::Text(text)) if text == UPGRADE => ProbeStep::Move,
        Some(Incoming::Ping(payload)) => {
            outbox.pong(payload);
            ProbeStep::Wait
        }
        Some(Incoming::Pong) => ProbeStep::Wait,
        Some(Incoming::Close(code)) => {
            outbox.answer_close(code);
            ProbeStep::Close(CloseCode::NORMAL)
        }
        Some(Incoming::Failed(code)) => ProbeStep::Close(code),
        Some(_) => ProbeStep::Close(CloseCode::PROTOCOL_ERROR),
        None => ProbeStep::Gone,
    }
}

/// Ends a WebSocket that did not take over. The stream ends when the peer has closed its side, or
/// after the close timeout.
async fn close(mut inbound: Inbound, outbox: Outbox, why: CloseCode) {
    outbox.hang_up(None, why);
    while inbound.next().await.is_some() {}
}
