//! What comes from the client: read, counted against its user's rates, and passed on.

use std::sync::Arc;
use std::time::Instant;

use actix::Context;

use super::Session;
use super::dialect::Dialect;
use super::ending::{End, PEER_CLOSED};
use super::login::Login;
use super::millis;
use super::waiting::{Event, Turn};
use crate::actors::peer::Answer;
use crate::actors::supervisor::EndSession;
use crate::protocol::client::{ClientEvent, ClientEventName, Target};
use crate::protocol::close::CloseCode;
use crate::protocol::envelope;
use crate::protocol::error::ErrorCode;
use crate::protocol::request::{Rejected, Request};
use crate::protocol::server::{Reply, ServerEvent};
use crate::protocol::socketio::Namespace;
use crate::protocol::socketio::malformed::Malformed;
use crate::protocol::socketio::reader::Said;
use crate::session::backlog::Place;
use crate::session::users::{FLOOD_PAUSE, Kind};
use crate::time::Timestamp;
use crate::transport::Incoming;

impl Session {
    /// Takes what the connection has brought.
    pub(super) fn hear(&mut self, incoming: Incoming, now: Instant, ctx: &mut Context<Self>) {
        let awaited = self.heartbeat.heard(now);
        match incoming {
            Incoming::Text(text) => match &mut self.dialect {
                Dialect::Plain => self.text(&text, now, ctx),
                Dialect::SocketIo(io) => {
                    let said = io.reader.text(&text);
                    self.said(said, text.len(), awaited, now, ctx);
                }
            },
            Incoming::Binary(data) => match &mut self.dialect {
                Dialect::Plain => self.finish(CloseCode::UNSUPPORTED, ctx),
                Dialect::SocketIo(io) => {
                    let bytes = data.len();
                    let said = io.reader.binary(data);
                    self.said(said, bytes, awaited, now, ctx);
                }
            },
            Incoming::Pong if awaited => {}
            Incoming::Pong => self.unasked_pong(now, ctx),
            Incoming::Ping(payload) => self.pinged(payload, now, ctx),
            Incoming::Failed(close) => self.finish(close, ctx),
            Incoming::Overrun(_) => self.finish(CloseCode::SLOW_READER, ctx),
            Incoming::Close(code) => {
                self.outbox.answer_close(code);
                self.leave_everything(self.closed_by_peer(code), ctx);
            }
        }
    }

    /// Takes a message of a Socket.IO client.
    fn said(
        &mut self,
        said: Result<Said, Malformed>,
        bytes: usize,
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
                    Ok(request) => self.request(index, request, bytes, now, ctx),
                    Err(rejected) => self.reject(index, rejected, bytes, now, ctx),
                }
            }
            Ok(Said::Connect { namespace, auth }) => {
                let connect = Event::Connect(namespace, auth);
                self.when_it_may(connect, None, bytes, now, ctx);
            }
            Ok(Said::Disconnect { namespace }) => self.leave(namespace, now, ctx),
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
                self.leave_everything(End::lost(PEER_CLOSED), ctx);
            }
            Err(malformed) => {
                log::debug!("a packet was refused: {malformed}");
                self.finish(malformed.close(), ctx);
            }
        }
    }

    /// A client leaves a namespace. The connection stays for the next one.
    pub(super) fn log_out(
        &mut self,
        namespace: Option<Namespace>,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let Some(index) = namespace.and_then(|namespace| self.login_in(namespace)) else {
            return self.finish(CloseCode::PROTOCOL_ERROR, ctx);
        };
        self.logins.swap_remove(index).depart(End::for_good(PEER_CLOSED));
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
            Ok(request) => self.request(0, request, text.len(), now, ctx),
            Err(rejected) => self.reject(0, rejected, text.len(), now, ctx),
        }
    }

    /// Takes an event of one of the logins, or keeps it until its turn.
    fn request(
        &mut self,
        index: usize,
        request: Request,
        bytes: usize,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let name = request.event.name();
        self.shared.metrics.events_in.inc(name as usize);
        let kind = kind_of(name);
        let is_alone = self.waiting.is_none();
        let Some(login) = self.logins.get_mut(index) else { return };
        let turn = if is_alone { login.turn(kind, now) } else { Turn::NOT_YET };
        // Nearly all that is heard is such a position, and needs no answer.
        if let Request { event: ClientEvent::Location(location), ack: None } = &request
            && let Target::One(order) = &location.target
            && turn == Turn::Now
            && login.pass_on(order, location.fix, now)
        {
            return;
        }
        match turn {
            Turn::Now => self.take_request(index, request, now, ctx),
            Turn::Later { is_paid } => {
                let session = Some(login.peer.id);
                let position = position_of(&request);
                let event = Event::Request(request);
                let place = Place { session, kind, is_paid, position, bytes };
                self.keep_waiting(event, place, now, ctx);
            }
        }
    }

    /// Takes an event whose turn it is.
    pub(super) fn take_request(
        &mut self,
        index: usize,
        request: Request,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let Some(login) = self.logins.get_mut(index) else { return };
        let name = request.event.name();
        let answer = Answer::new(Arc::clone(&login.peer), name, request.ack);
        match request.event {
            ClientEvent::Ping(data) => {
                login.peer.tell(&ServerEvent::Pong(&data)).ok();
                answer.ok(Reply::Pong {});
            }
            ClientEvent::Refresh(refresh) => {
                login.refresh(&refresh, answer, now);
                self.arm();
            }
            event => login.pace(event, answer, now, ctx),
        }
    }

    /// Answers what is no event that the hub can take, when it is its turn.
    fn reject(
        &mut self,
        index: usize,
        rejected: Rejected,
        bytes: usize,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let Some(session) = self.logins.get(index).map(|login| login.peer.id) else { return };
        self.when_it_may(Event::Rejected(rejected), Some(session), bytes, now, ctx);
    }

    /// Answers what is no event that the hub can take.
    pub(super) fn take_rejected(
        &mut self,
        index: usize,
        rejected: &Rejected,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        if let Some(login) = self.logins.get(index) {
            let failure = rejected.failure.clone();
            login.peer.outcome(rejected.event.as_deref(), rejected.ack, &Err(failure));
        }
        let is_envelope = rejected.failure.code != ErrorCode::BadEnvelope;
        if !is_envelope && self.bad_envelopes.strike(now) {
            self.finish(CloseCode::BAD_ENVELOPES, ctx);
        }
    }

    /// One more event was refused because too many wait. Who goes on is cut, and may come back after
    /// a pause only.
    pub(super) fn flooded(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if self.floods.strike(now) {
            self.rates.hold_off(now);
            self.logins.iter().for_each(|login| login.rates.hold_off(now));
            let reconnect_after_ms = Some(millis(FLOOD_PAUSE));
            let end = EndSession { reconnect_after_ms, ..EndSession::now(CloseCode::FLOOD) };
            self.finish_with(&end, ctx);
        }
    }

    fn pinged(&mut self, payload: bytes::Bytes, now: Instant, ctx: &mut Context<Self>) {
        let bytes = payload.len();
        self.when_it_may(Event::Ping(payload), None, bytes, now, ctx);
    }

    /// Some clients send them as a sign of life; they cost what any event costs.
    fn unasked_pong(&mut self, now: Instant, ctx: &mut Context<Self>) {
        self.when_it_may(Event::Pong, None, 0, now, ctx);
    }
}

// === impl Login ===

impl Login {
    /// Takes an event off the user's rates.
    fn turn(&self, kind: Kind, now: Instant) -> Turn {
        if kind != Kind::Chat {
            return if self.rates.take(kind, now).is_ok() { Turn::Now } else { Turn::NOT_YET };
        }
        if self.rates.take(Kind::Event, now).is_err() {
            return Turn::NOT_YET;
        }
        match self.rates.take(Kind::Chat, now) {
            Ok(()) => Turn::Now,
            Err(_) => Turn::Later { is_paid: true },
        }
    }
}

fn kind_of(name: ClientEventName) -> Kind {
    match name {
        ClientEventName::Chat => Kind::Chat,
        ClientEventName::Join => Kind::Join,
        _ => Kind::Event,
    }
}

/// For which orders a position is, and when it was taken.
fn position_of(request: &Request) -> Option<(Target, Option<Timestamp>)> {
    match &request.event {
        ClientEvent::Location(location) => {
            Some((location.target.clone(), location.fix.recorded_at))
        }
        _ => None,
    }
}
