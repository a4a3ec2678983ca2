//! Handles input from the client: counts it against its user's rates, and dispatches it.

use std::sync::Arc;
use std::time::Instant;

use actix::Context;

use super::Connection;
use super::framing::ConnectionFraming;
use super::millis;
use super::pacing::FIRST_RETRY;
use super::session::{EndReason, PEER_CLOSED, Session};
use super::subscription::RoomEvent;
use super::throttling::{ClientInput, RateCheck};
use crate::actors::peer::Answer;
use crate::actors::supervisor::Disconnect;
use crate::connection::backlog::EventMeta;
use crate::rate_limit::users::{FLOOD_PAUSE, RateKind};
use protocol::client::{ClientEvent, ClientEventName, Reply};
use protocol::close::CloseCode;
use protocol::envelope;
use protocol::error::{ErrorCode, Failure};
use protocol::events::Done;
use protocol::events::location::Target;
use protocol::events::ping::Pong;
use protocol::request::{Rejected, Request};
use protocol::server::ServerEvent;
use protocol::socketio::Namespace;
use protocol::socketio::malformed::Malformed;
use protocol::socketio::reader::ClientPacket;
use protocol::time::Timestamp;
use transport::Incoming;

impl Connection {
    /// Handles one input of the connection.
    pub(super) fn on_incoming(
        &mut self,
        incoming: Incoming,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let answers_ping = self.heartbeat.on_received(now);
        match incoming {
            Incoming::Text(text) => match &mut self.framing {
                ConnectionFraming::Plain => self.on_text(&text, now, ctx),
                ConnectionFraming::SocketIo(io) => {
                    let packet = io.reader.text(&text);
                    self.on_packet(packet, text.len(), answers_ping, now, ctx);
                }
            },
            Incoming::Binary(data) => match &mut self.framing {
                ConnectionFraming::Plain => self.close(CloseCode::UNSUPPORTED, ctx),
                ConnectionFraming::SocketIo(io) => {
                    let bytes = data.len();
                    let packet = io.reader.binary(data);
                    self.on_packet(packet, bytes, answers_ping, now, ctx);
                }
            },
            Incoming::Pong if answers_ping => {}
            Incoming::Pong => self.count_other_input(now, ctx),
            Incoming::Ping(payload) => self.on_ping(payload, now, ctx),
            Incoming::Failed(close) => self.close(close, ctx),
            Incoming::Overrun(_) => self.close(CloseCode::SLOW_READER, ctx),
            Incoming::Close(code) => {
                self.outbox.answer_close(code);
                self.begin_close(self.closed_by_peer(code), ctx);
            }
        }
    }

    /// Handles a packet of a Socket.IO client.
    fn on_packet(
        &mut self,
        packet: Result<ClientPacket, Malformed>,
        bytes: usize,
        answers_ping: bool,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        match packet {
            Ok(ClientPacket::Event { namespace, request }) => {
                let Some(index) = namespace.and_then(|namespace| self.session_in(namespace)) else {
                    return self.close(CloseCode::PROTOCOL_ERROR, ctx);
                };
                match request {
                    Ok(request) => self.check_request_rate(index, request, bytes, now, ctx),
                    Err(rejected) => self.on_rejected(index, rejected, bytes, now, ctx),
                }
            }
            Ok(ClientPacket::Connect { namespace, auth }) => {
                let connect = ClientInput::Connect(namespace, auth);
                self.check_event_rate(connect, None, bytes, now, ctx);
            }
            Ok(ClientPacket::Disconnect { namespace }) => {
                self.disconnect_namespace(namespace, now, ctx);
            }
            Ok(ClientPacket::Pong) => {
                if let Some(until) = self.heartbeat.on_pong() {
                    self.sessions.iter_mut().for_each(|session| session.confirm_until(until));
                }
                if !answers_ping {
                    self.count_other_input(now, ctx);
                }
            }
            Ok(ClientPacket::Nothing) => self.count_other_input(now, ctx),
            Ok(ClientPacket::Close) => {
                self.outbox.finish(None, CloseCode::NORMAL);
                self.begin_close(EndReason::lost(PEER_CLOSED), ctx);
            }
            Err(malformed) => {
                log::debug!("a packet was refused: {malformed}");
                self.close(malformed.close(), ctx);
            }
        }
    }

    /// Ends the session of a namespace that the client leaves. The connection stays open for the
    /// next one.
    pub(super) fn end_namespace_session(
        &mut self,
        namespace: Option<Namespace>,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let Some(index) = namespace.and_then(|namespace| self.session_in(namespace)) else {
            return self.close(CloseCode::PROTOCOL_ERROR, ctx);
        };
        self.sessions.swap_remove(index).end(EndReason::for_good(PEER_CLOSED));
        if self.sessions.is_empty() {
            let Some(unauthenticated) = self.shared.unauthenticated.take() else {
                return self.close(CloseCode::TRY_LATER, ctx);
            };
            self.framing.mark_unauthenticated(
                now + self.shared.config.server.connect_timeout,
                unauthenticated,
            );
        }
        self.arm();
    }

    fn on_text(&mut self, text: &str, now: Instant, ctx: &mut Context<Self>) {
        match envelope::decode(text) {
            Ok(request) => self.check_request_rate(0, request, text.len(), now, ctx),
            Err(rejected) => self.on_rejected(0, rejected, text.len(), now, ctx),
        }
    }

    /// Handles an event of a session, or queues it until its rate allows it.
    fn check_request_rate(
        &mut self,
        index: usize,
        request: Request,
        bytes: usize,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let name = request.event.name();
        self.shared.metrics.events_in.inc(name as usize);
        let kind = rate_of(name);
        let backlog_is_empty = self.backlog.is_none();
        let Some(session) = self.sessions.get_mut(index) else { return };
        let rate_check =
            if backlog_is_empty { session.check_rate(kind, now) } else { RateCheck::LIMITED };
        match rate_check {
            RateCheck::Allowed => self.handle_request(index, request, now, ctx),
            RateCheck::Limited { event_counted } => {
                let session_id = Some(session.peer.id);
                let position = position_of(&request);
                let event = ClientInput::Request(request);
                let meta = EventMeta { session: session_id, kind, event_counted, position, bytes };
                self.push_to_backlog(event, meta, now, ctx);
            }
        }
    }

    /// Handles an event that its rate allows.
    pub(super) fn handle_request(
        &mut self,
        index: usize,
        request: Request,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let Request { event, ack } = request;
        let name = event.name();
        let answer = |session: &Session| Answer::new(Arc::clone(&session.peer), name, ack);
        match event {
            ClientEvent::Ping(ping) => {
                session.peer.tell(&ServerEvent::Pong(Pong(&ping.0))).ok();
                answer(session).ok(Reply::Ping(Done {}));
            }
            ClientEvent::Refresh(refresh) => {
                session.refresh(&refresh, answer(session), now);
                self.arm();
            }
            ClientEvent::Location(location) => session.update_location(location, ack, now, ctx),
            event => {
                let answer = answer(session);
                match event.order().cloned() {
                    Some(order) => {
                        session.route_or_postpone(
                            order,
                            RoomEvent::Client(event, answer),
                            FIRST_RETRY,
                            now,
                            ctx,
                        );
                    }
                    None => answer.refuse(Failure::new(ErrorCode::UnknownEvent, "no such event")),
                }
            }
        }
    }

    /// Answers input that is not a valid event, when its rate allows it.
    fn on_rejected(
        &mut self,
        index: usize,
        rejected: Rejected,
        bytes: usize,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let Some(session_id) = self.sessions.get(index).map(|session| session.peer.id) else {
            return;
        };
        self.check_event_rate(ClientInput::Rejected(rejected), Some(session_id), bytes, now, ctx);
    }

    /// Answers input that is not a valid event.
    pub(super) fn answer_rejected(
        &mut self,
        index: usize,
        rejected: &Rejected,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        if let Some(session) = self.sessions.get(index) {
            let failure = rejected.failure.clone();
            session.peer.outcome(rejected.event.as_deref(), rejected.ack, &Err(failure));
        }
        let is_bad_envelope = rejected.failure.code == ErrorCode::BadEnvelope;
        if is_bad_envelope && self.bad_envelopes.strike(now) {
            self.close(CloseCode::BAD_ENVELOPES, ctx);
        }
    }

    /// Counts an event that was refused because too many wait. A client that sends too many of them
    /// is disconnected, and may come back only after a pause.
    pub(super) fn count_refused(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if self.floods.strike(now) {
            self.rates.start_flood_pause(now);
            self.sessions.iter().for_each(|session| session.rates.start_flood_pause(now));
            let reconnect_after_ms = Some(millis(FLOOD_PAUSE));
            let end = Disconnect { reconnect_after_ms, ..Disconnect::now(CloseCode::FLOOD) };
            self.disconnect(&end, ctx);
        }
    }

    fn on_ping(&mut self, payload: bytes::Bytes, now: Instant, ctx: &mut Context<Self>) {
        let bytes = payload.len();
        self.check_event_rate(ClientInput::Ping(payload), None, bytes, now, ctx);
    }

    /// Counts input that asks for nothing, such as an unsolicited pong, against the rate of events:
    /// some clients send pongs to keep the connection alive.
    fn count_other_input(&mut self, now: Instant, ctx: &mut Context<Self>) {
        self.check_event_rate(ClientInput::Pong, None, 0, now, ctx);
    }
}

// === impl Session ===

impl Session {
    /// Counts an event against the user's rates.
    fn check_rate(&self, kind: RateKind, now: Instant) -> RateCheck {
        if kind != RateKind::Chat {
            return if self.rates.take(kind, now).is_ok() {
                RateCheck::Allowed
            } else {
                RateCheck::LIMITED
            };
        }
        if self.rates.take(RateKind::Event, now).is_err() {
            return RateCheck::LIMITED;
        }
        match self.rates.take(RateKind::Chat, now) {
            Ok(()) => RateCheck::Allowed,
            Err(_) => RateCheck::Limited { event_counted: true },
        }
    }
}

fn rate_of(name: ClientEventName) -> RateKind {
    match name {
        ClientEventName::Chat => RateKind::Chat,
        ClientEventName::Join => RateKind::Join,
        _ => RateKind::Event,
    }
}

/// The target of a position, and when it was taken.
fn position_of(request: &Request) -> Option<(Target, Option<Timestamp>)> {
    match &request.event {
        ClientEvent::Location(location) => {
            Some((location.target.clone(), location.fix.recorded_at))
        }
        _ => None,
    }
}
