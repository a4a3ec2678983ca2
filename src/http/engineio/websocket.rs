//! Requests for a WebSocket: a new session over it, or an upgrade of a session that polls.

use std::any::Any;
use std::time::Duration;

use actix_codec::Framed;
use actix_http::{Request, h1};
use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::polling_sessions::new_sid;
use super::{
    Engine, EngineHandler, HandshakeRefusal, NewSession, Options, RequestTarget, TransportKind,
    reply,
};
use crate::http::problem::Problem;
use crate::http::upgrade::{refuse, switching_response};
use crate::transport::{Frame, Inbound, Incoming, Outbox, Polling, Probe, accept};
use protocol::close::CloseCode;
use protocol::socketio::engine::{EngineError, PROBE, PROBE_ANSWER, UPGRADE};

/// How often the waiting GET is answered with a noop while a client upgrades.
const NOOP_INTERVAL: Duration = Duration::from_millis(100);

type Socket = Framed<TcpStream, h1::Codec>;

// === impl Engine ===

impl<H: EngineHandler> Engine<H> {
    /// Handles a request for a WebSocket at this engine's path, with its socket.
    ///
    /// Resolves when the request is answered; the rest runs in tasks of its own. `place` is the
    /// permit for the socket. It is held until the socket belongs to a session or has ended.
    pub async fn upgrade(&self, request: &Request, socket: Socket, place: Box<dyn Any>) {
        let mut place = Some(place);
        let begun = match self.classify_upgrade(request) {
            Ok(RequestTarget::Handshake) => {
                self.open_websocket_session(request, socket).map_err(|refused| *refused)
            }
            Ok(RequestTarget::Session(polling)) => {
                begin_upgrade(&polling, request, socket, &self.options, place.take());
                Ok(())
            }
            Err(refusal) => Err((HandshakeRefusal::Engine(refusal), socket)),
        };
        if let Err((refused, socket)) = begun {
            refuse(socket, reply::refused_upgrade(refused)).await;
        }
    }

    fn classify_upgrade(&self, request: &Request) -> Result<RequestTarget, EngineError> {
        let wanted = self.classify(request.head(), true)?;
        match actix_http::ws::verify_handshake(request.head()) {
            Ok(()) => Ok(wanted),
            Err(_) => Err(EngineError::BadRequest),
        }
    }

    /// Starts a session over a WebSocket; gives the socket back if the handshake is refused.
    fn open_websocket_session(
        &self,
        request: &Request,
        socket: Socket,
    ) -> Result<(), Box<(HandshakeRefusal, Socket)>> {
        let data = match self.handler.on_handshake(request.head()) {
            Ok(data) => data,
            Err(refused) => return Err(Box::new((refused, socket))),
        };
        let Some(sid) = new_sid() else {
            let problem = Problem::unavailable("no randomness", 1);
            return Err(Box::new((problem.into(), socket)));
        };
        match accept(socket, switching_response(request), &self.options.transport) {
            Ok((inbound, outbox)) => {
                // Fails only if the client is gone, which the session will see.
                let _ = outbox.push(self.open_packet(&sid, TransportKind::WebSocket));
                self.handler.on_connect(
                    data,
                    NewSession { sid, inbound, outbox, kind: TransportKind::WebSocket },
                );
            }
            Err(error) => log::debug!("a client was gone before its session began: {error}"),
        }
        Ok(())
    }
}

/// Starts a WebSocket's attempt to take over a session that polls. On failure it closes the
/// WebSocket instead of refusing it: the stock client takes a refusal for the end of the session.
fn begin_upgrade(
    polling: &Polling,
    request: &Request,
    socket: Socket,
    options: &Options,
    place: Option<Box<dyn Any>>,
) {
    match accept(socket, switching_response(request), &options.transport) {
        Ok((inbound, outbox)) => {
            let (probed, request_timeout) = (polling.probe(), options.request_timeout);
            drop(actix_rt::spawn(async move {
                match probed {
                    Ok(attempt) => run_probe(attempt, inbound, outbox, request_timeout).await,
                    Err(_) => close(inbound, outbox, CloseCode::NORMAL).await,
                }
                drop(place);
            }));
        }
        Err(error) => log::debug!("a client was gone before it could move: {error}"),
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
async fn run_probe(
    attempt: Probe,
    mut inbound: Inbound,
    outbox: Outbox,
    request_timeout: Duration,
) {
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
                    attempt.send_noop();
                }
                if attempt.is_over() { ProbeStep::Close(CloseCode::NORMAL) } else { ProbeStep::Wait }
            }
        };
        match step {
            ProbeStep::Wait => {}
            ProbeStep::Answer => {
                let answer = Frame::text(|out| out.extend_from_slice(PROBE_ANSWER.as_bytes()));
                // Fails only if the client is gone, which the stream will report.
                let _ = outbox.push(answer);
                attempt.send_noop();
                probed = true;
            }
            ProbeStep::Move => {
                if let Err(error) = attempt.take_over(inbound) {
                    log::debug!("a client could not move to its WebSocket: {error}");
                }
                return;
            }
            ProbeStep::Close(why) => break why,
            ProbeStep::Gone => return,
        }
    };
    // Another WebSocket may probe while this one closes.
    drop(attempt);
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
