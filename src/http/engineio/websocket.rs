//! Requests that ask for a WebSocket: a session over it, or the move of one that polls.

use std::any::Any;
use std::time::Duration;

use actix_codec::Framed;
use actix_http::{Request, h1};
use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::sessions::new_id;
use super::{Arrival, Engine, Host, Kind, Options, Refused, Wanted, reply};
use crate::http::problem::Problem;
use crate::http::upgrade::{refuse, switching};
use crate::protocol::close::CloseCode;
use crate::protocol::socketio::engine::{PROBE, PROBE_ANSWER, Refusal, UPGRADE};
use crate::transport::{Frame, Inbound, Incoming, Outbox, Polling, Probe, accept};

/// How often a poll that waits is ended while a client is about to move.
const NUDGE_EVERY: Duration = Duration::from_millis(100);

type Socket = Framed<TcpStream, h1::Codec>;

// === impl Engine ===

impl<H: Host> Engine<H> {
    /// Takes a request that asks for a WebSocket at this engine's path, with its socket.
    ///
    /// Resolves when the request is answered; what goes on from there is on its own. `place` is
    /// what bounds such sockets: it is kept until the socket has become a session's, or has ended.
    pub async fn upgrade(&self, request: &Request, socket: Socket, place: Box<dyn Any>) {
        let mut place = Some(place);
        let begun = match self.judge_upgrade(request) {
            Ok(Wanted::Handshake) => self.begin(request, socket).map_err(|refused| *refused),
            Ok(Wanted::Session(polling)) => {
                try_to_move(&polling, request, socket, &self.options, place.take());
                Ok(())
            }
            Err(refusal) => Err((Refused::Engine(refusal), socket)),
        };
        if let Err((refused, socket)) = begun {
            refuse(socket, reply::refused_upgrade(refused)).await;
        }
    }

    fn judge_upgrade(&self, request: &Request) -> Result<Wanted, Refusal> {
        let wanted = self.judge(request.head(), true)?;
        match actix_http::ws::verify_handshake(request.head()) {
            Ok(()) => Ok(wanted),
            Err(_) => Err(Refusal::BadRequest),
        }
    }

    /// Begins a session over a WebSocket; gives the socket back where there is none.
    fn begin(&self, request: &Request, socket: Socket) -> Result<(), Box<(Refused, Socket)>> {
        let ticket = match self.host.admit(request.head()) {
            Ok(ticket) => ticket,
            Err(refused) => return Err(Box::new((refused, socket))),
        };
        let Some(sid) = new_id() else {
            let problem = Problem::unavailable("no randomness", 1);
            return Err(Box::new((problem.into(), socket)));
        };
        match accept(socket, switching(request), &self.options.transport) {
            Ok((inbound, outbox)) => {
                // Refused only where the client is gone, which the session will see.
                let _ = outbox.push(self.open_packet(&sid, Kind::WebSocket));
                self.host.open(ticket, Arrival { sid, inbound, outbox, kind: Kind::WebSocket });
            }
            Err(error) => log::debug!("a client was gone before its session began: {error}"),
        }
        Ok(())
    }
}

/// Has a WebSocket take over a session that polls. Where it cannot, it is closed rather than
/// refused: the stock client takes a refusal for the end of the session.
fn try_to_move(
    polling: &Polling,
    request: &Request,
    socket: Socket,
    options: &Options,
    place: Option<Box<dyn Any>>,
) {
    match accept(socket, switching(request), &options.transport) {
        Ok((inbound, outbox)) => {
            let (probed, patience) = (polling.probe(), options.patience);
            drop(actix_rt::spawn(async move {
                match probed {
                    Ok(attempt) => probe(attempt, inbound, outbox, patience).await,
                    Err(_) => close(inbound, outbox, CloseCode::NORMAL).await,
                }
                drop(place);
            }));
        }
        Err(error) => log::debug!("a client was gone before it could move: {error}"),
    }
}

/// What follows from what a client says on the WebSocket that it tries.
enum Step {
    /// Nothing yet.
    Wait,
    /// It asks whether the WebSocket works.
    Answer,
    /// It has moved.
    Move,
    /// It ends the WebSocket, or has no business there.
    Close(CloseCode),
    /// It is gone.
    Gone,
}

/// Answers the client's probe, and moves its session when it says so.
async fn probe(attempt: Probe, mut inbound: Inbound, outbox: Outbox, patience: Duration) {
    let mut nudges = interval(NUDGE_EVERY);
    nudges.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let patience = sleep(patience);
    tokio::pin!(patience);
    let mut probed = false;
    let why = loop {
        let step = tokio::select! {
            incoming = inbound.next() => step(incoming, &outbox),
            () = &mut patience => Step::Close(CloseCode::NORMAL),
            _ = nudges.tick() => {
                if probed {
                    attempt.nudge();
                }
                if attempt.is_over() { Step::Close(CloseCode::NORMAL) } else { Step::Wait }
            }
        };
        match step {
            Step::Wait => {}
            Step::Answer => {
                let answer = Frame::text(|out| out.extend_from_slice(PROBE_ANSWER.as_bytes()));
                // A refusal means that the client is gone, which the stream will say.
                let _ = outbox.push(answer);
                attempt.nudge();
                probed = true;
            }
            Step::Move => {
                if let Err(error) = attempt.take_over(inbound) {
                    log::debug!("a client could not move to its WebSocket: {error}");
                }
                return;
            }
            Step::Close(why) => break why,
            Step::Gone => return,
        }
    };
    // Another WebSocket may be tried while this one lingers.
    drop(attempt);
    close(inbound, outbox, why).await;
}

fn step(incoming: Option<Incoming>, outbox: &Outbox) -> Step {
    match incoming {
        Some(Incoming::Text(text)) if text == PROBE => Step::Answer,
        Some(Incoming::Text(text)) if text == UPGRADE => Step::Move,
        Some(Incoming::Ping(payload)) => {
            outbox.pong(payload);
            Step::Wait
        }
        Some(Incoming::Pong) => Step::Wait,
        Some(Incoming::Close(code)) => {
            outbox.answer_close(code);
            Step::Close(CloseCode::NORMAL)
        }
        Some(Incoming::Failed(code)) => Step::Close(code),
        Some(_) => Step::Close(CloseCode::PROTOCOL_ERROR),
        None => Step::Gone,
    }
}

/// Ends a WebSocket that is of no use; the stream ends when the peer has ended its side, or after the
/// linger time.
async fn close(mut inbound: Inbound, outbox: Outbox, why: CloseCode) {
    outbox.hang_up(None, why);
    while inbound.next().await.is_some() {}
}
