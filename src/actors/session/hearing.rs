//! What comes from the client: read, counted against its rates, and passed on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Context;

use super::Session;
use super::dialect::Dialect;
use super::login::End;
use crate::actors::peer::Answer;
use crate::actors::supervisor::EndSession;
use crate::protocol::client::{ClientEvent, ClientEventName, Target};
use crate::protocol::close::CloseCode;
use crate::protocol::envelope;
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::request::{Rejected, Request};
use crate::protocol::server::{Reply, ServerEvent};
use crate::protocol::socketio::Namespace;
use crate::protocol::socketio::malformed::Malformed;
use crate::protocol::socketio::reader::Said;
use crate::transport::Incoming;

/// When a client that was cut for its rate may come back.
const FLOOD_PAUSE_MS: u64 = 10_000;
/// The peer ended the connection.
const PEER_CLOSED: &str = "peer_closed";

impl Session {
    /// Takes what the connection has brought.
    pub(super) fn hear(&mut self, incoming: Incoming, now: Instant, ctx: &mut Context<Self>) {
        let awaited = self.heartbeat.heard(now);
        match incoming {
            Incoming::Text(text) => match &mut self.dialect {
                Dialect::Plain => self.text(&text, now, ctx),
                Dialect::SocketIo(io) => {
                    let said = io.reader.text(&text);
                    self.said(said, awaited, now, ctx);
                }
            },
            Incoming::Binary(data) => match &mut self.dialect {
                Dialect::Plain => self.finish(CloseCode::UNSUPPORTED, ctx),
                Dialect::SocketIo(io) => {
                    let said = io.reader.binary(data);
                    self.said(said, awaited, now, ctx);
                }
            },
            Incoming::Pong if awaited => {}
            Incoming::Pong => self.unasked_pong(now, ctx),
            Incoming::Ping(payload) => self.pinged(payload, now, ctx),
            Incoming::Failed(close) => self.finish(close, ctx),
            Incoming::Overrun(_) => self.finish(CloseCode::SLOW_READER, ctx),
            Incoming::Close(code) => {
                self.outbox.answer_close(code);
                // A Socket.IO client that takes its leave says so before, for each namespace.
                let clean = matches!(self.dialect, Dialect::Plain);
                self.leave_everything(End { reason: PEER_CLOSED, clean }, ctx);
            }
        }
    }

    /// Takes a message of a Socket.IO client.
    fn said(
        &mut self,
        said: Result<Said, Malformed>,
        awaited: bool,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        match said {
            Ok(Said::Event { namespace, request }) => {
                let Some(index) = namespace.and_then(|namespace| self.login_in(namespace)) else {
                    return self.finish(CloseCode::PROTOCOL_ERROR, ctx);
                };
                match request {
                    Ok(request) => self.request(index, request, now, ctx),
                    Err(rejected) => self.reject(index, &rejected, now, ctx),
                }
            }
            Ok(Said::Connect { namespace, auth }) => self.connect(namespace, auth, now, ctx),
            Ok(Said::Disconnect { namespace }) => self.log_out(namespace, now, ctx),
            Ok(Said::Pong) => {
                if let Some(until) = self.heartbeat.ponged() {
                    self.logins.iter_mut().for_each(|login| login.has_heard(until));
                }
                if !awaited {
                    self.unasked_pong(now, ctx);
                }
            }
            Ok(Said::Nothing) => self.unasked_pong(now, ctx),
            Ok(Said::Close) => {
                self.outbox.finish(None, CloseCode::NORMAL);
                self.leave_everything(End { reason: PEER_CLOSED, clean: false }, ctx);
            }
            Err(malformed) => {
                log::debug!("a packet was refused: {malformed}");
                self.finish(malformed.close(), ctx);
            }
        }
    }

    /// A client leaves a namespace. The connection stays for the next one.
    fn log_out(&mut self, namespace: Option<Namespace>, now: Instant, ctx: &mut Context<Self>) {
        let Some(index) = namespace.and_then(|namespace| self.login_in(namespace)) else {
            return self.finish(CloseCode::PROTOCOL_ERROR, ctx);
        };
        self.logins.swap_remove(index).depart(End { reason: PEER_CLOSED, clean: true });
        if self.logins.is_empty() {
            let Some(nobody) = self.shared.strangers.take() else {
                return self.finish(CloseCode::TRY_LATER, ctx);
            };
            self.dialect.unused(now + self.shared.config.server.connect_timeout, nobody);
        }
        self.arm();
    }

    fn text(&mut self, text: &str, now: Instant, ctx: &mut Context<Self>) {
        match envelope::decode(text) {
            Ok(request) => self.request(0, request, now, ctx),
            Err(rejected) => self.reject(0, &rejected, now, ctx),
        }
    }

    /// Takes an event of one of the logins.
    fn request(&mut self, index: usize, request: Request, now: Instant, ctx: &mut Context<Self>) {
        let name = request.event.name();
        self.shared.metrics.events_in.inc(name as usize);
        let admitted = self.admit(name, now);
        let Some(login) = self.logins.get_mut(index) else { return };
        // Nearly all that is heard is such a position, and needs no answer.
        if let Request { event: ClientEvent::Location(location), ack: None } = &request
            && let Target::One(order) = &location.target
            && admitted.is_ok()
            && login.pass_on(order, location.fix, now)
        {
            return;
        }
        let answer = Answer::new(Arc::clone(&login.peer), name, request.ack);
        if let Err(wait) = admitted {
            answer.refuse(too_fast(wait));
            return self.flooded(now, ctx);
        }
        match request.event {
            ClientEvent::Ping(data) => {
                login.peer.tell(&ServerEvent::Pong(&data)).ok();
                answer.ok(Reply::Pong {});
            }
            ClientEvent::Refresh(refresh) => {
                login.refresh(&refresh, answer);
                self.arm();
            }
            event => login.pace(event, answer, now, ctx),
        }
    }

    /// Takes the event off the rates.
    fn admit(&mut self, name: ClientEventName, now: Instant) -> Result<(), Duration> {
        self.events.take(now)?;
        if name == ClientEventName::Chat { self.chats.take(now) } else { Ok(()) }
    }

    /// Answers what is no event that the hub can take.
    fn reject(&mut self, index: usize, rejected: &Rejected, now: Instant, ctx: &mut Context<Self>) {
        let admitted = self.events.take(now);
        let failure = match admitted {
            Ok(()) => rejected.failure.clone(),
            Err(wait) => too_fast(wait),
        };
        if let Some(login) = self.logins.get(index) {
            login.peer.outcome(rejected.event.as_deref(), rejected.ack, &Err(failure));
        }
        if admitted.is_err() {
            return self.flooded(now, ctx);
        }
        let is_envelope = rejected.failure.code != ErrorCode::BadEnvelope;
        if !is_envelope && self.bad_envelopes.strike(now) {
            self.finish(CloseCode::BAD_ENVELOPES, ctx);
        }
    }

    pub(super) fn flooded(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if self.floods.strike(now) {
            let reconnect_after_ms = Some(FLOOD_PAUSE_MS);
            let end = EndSession { reconnect_after_ms, ..EndSession::now(CloseCode::FLOOD) };
            self.finish_with(&end, ctx);
        }
    }

    fn pinged(&mut self, payload: bytes::Bytes, now: Instant, ctx: &mut Context<Self>) {
        match self.events.take(now) {
            Ok(()) => self.outbox.pong(payload),
            Err(_) => self.flooded(now, ctx),
        }
    }

    /// Some clients send them as a sign of life; they cost what any event costs.
    fn unasked_pong(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if self.events.take(now).is_err() {
            self.flooded(now, ctx);
        }
    }
}

pub(super) fn too_fast(wait: Duration) -> Failure {
    Failure::new(ErrorCode::RateLimited, "too many events").retry_after(wait)
}
