//! One client: takes its events, checks rate and form, and talks to rooms for it.

mod entering;
mod identity;
mod links;
mod pacing;
mod routing;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, SpawnHandle, StreamHandler};
use foldhash::fast::RandomState;

use self::links::{Link, Refusals};
use self::pacing::{MOST_UNDER_WAY, Postponed};
use super::order_room::Leave;
use super::peer::{Answer, LinkId, Peer, RoomNotice};
use super::shared::{Shared, close_index};
use super::supervisor::{EndSession, LeaveRoom, Register, SupervisorHandle, Unregister};
use crate::auth::Identity;
use crate::ids::{OrderId, SessionId};
use crate::permits::{Permit, Permits};
use crate::protocol::client::{ClientEvent, ClientEventName};
use crate::protocol::close::CloseCode;
use crate::protocol::codec::Codec;
use crate::protocol::envelope;
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::request::{Rejected, Request};
use crate::protocol::server::{Connected, PROTOCOL_VERSION, Reply, ServerEvent, SessionEnd};
use crate::session::deadlines::{Deadlines, Due};
use crate::session::rate::{Bucket, Strikes};
use crate::time::Timestamp;
use crate::transport::{Frame, Gate, Inbound, Incoming, Outbox};

/// How long a closing connection may take before the session ends without its peer.
pub const LINGER: Duration = Duration::from_secs(5);
/// The bad envelope that ends patience, and how soon one is forgiven.
const BAD_ENVELOPES: (u32, Duration) = (10, Duration::from_secs(10));
/// The refused event that ends patience, and how soon one is forgiven.
const FLOOD: (u32, Duration) = (100, Duration::from_millis(200));
/// When a client that was cut for its rate may come back.
const FLOOD_PAUSE_MS: u64 = 10_000;

/// What a session begins with.
pub struct Opening {
    /// Who the token says it is.
    pub identity: Identity,
    /// The connection's two ends.
    pub inbound: Inbound,
    /// The sending one.
    pub outbox: Outbox,
    /// How its events are framed.
    pub codec: Codec,
    /// The address of the client, for the log.
    pub remote: String,
    /// Its place among the open connections.
    pub permit: Permit,
    /// What all actors share.
    pub shared: Arc<Shared>,
    /// Who knows the rooms.
    pub supervisor: SupervisorHandle,
}

/// The actor.
pub struct Session {
    peer: Arc<Peer>,
    identity: Arc<Identity>,
    shared: Arc<Shared>,
    supervisor: SupervisorHandle,
    remote: String,
    /// The rooms that it is in, or on the way to.
    links: HashMap<OrderId, Link, RandomState>,
    /// The newest of them.
    last_link: LinkId,
    /// Orders that refused it a moment ago.
    refusals: Refusals,
    /// Events that wait until their room has let the session in.
    waiting: usize,
    /// The one that waits until the client has taken in what it asked for before.
    postponed: Postponed,
    /// Stops reading while too many events wait, or one is postponed.
    gate: Gate,
    events: Bucket,
    chats: Bucket,
    floods: Strikes,
    bad_envelopes: Strikes,
    deadlines: Deadlines,
    timer: Option<SpawnHandle>,
    opened: Instant,
    /// Why it ends, once it does.
    end: Option<End>,
    _permit: Permit,
}

/// How a session ended.
struct End {
    reason: &'static str,
    /// Whether the client took its leave, or the hub did: others need not wait for it to return.
    clean: bool,
}

// === impl Session ===

impl Session {
    /// Starts the session of an accepted connection on this thread.
    pub fn open(opening: Opening) {
        Self::create(move |ctx| {
            let Opening { identity, inbound, outbox, codec, remote, permit, shared, supervisor } =
                opening;
            let gate = inbound.gate();
            ctx.add_stream(inbound);
            let peer = Arc::new(Peer {
                id: SessionId::random(),
                outbox,
                codec,
                notices: ctx.address().recipient(),
                metrics: Arc::clone(&shared.metrics),
                under_way: Permits::new(MOST_UNDER_WAY),
            });
            let limits = &shared.config.limits;
            let (now, expires_in) =
                (Instant::now(), identity.deadline.until_from(Timestamp::now()));
            let leeway = identity.leeway();
            Self {
                peer,
                links: HashMap::default(),
                last_link: LinkId::default(),
                refusals: Refusals::default(),
                waiting: 0,
                postponed: None,
                gate,
                events: Bucket::new(limits.events_per_second, limits.events_burst),
                chats: Bucket::new(limits.chat_per_second, limits.chat_burst),
                floods: Strikes::new(FLOOD.0, FLOOD.1),
                bad_envelopes: Strikes::new(BAD_ENVELOPES.0, BAD_ENVELOPES.1),
                deadlines: Deadlines::new(
                    now,
                    limits.ping_interval,
                    limits.pong_timeout,
                    now + expires_in,
                    leeway,
                ),
                timer: None,
                opened: now,
                end: None,
                identity: Arc::new(identity),
                shared,
                supervisor,
                remote,
                _permit: permit,
            }
        });
    }

    fn greet(&self) {
        let connected = Connected {
            session_id: self.peer.id,
            user_id: &self.identity.user,
            role: self.identity.role,
            expires_at: self.identity.expires_at,
            ping_interval_ms: millis(self.shared.config.limits.ping_interval),
            max_message_bytes: self.shared.config.limits.max_message_bytes,
            protocol: PROTOCOL_VERSION,
        };
        // A connection that broke already ends by its stream.
        self.peer.tell(&ServerEvent::Connected(connected)).ok();
    }

    fn text(&mut self, text: &str, now: Instant, ctx: &mut Context<Self>) {
        match envelope::decode(text) {
            Ok(request) => self.request(request, now, ctx),
            Err(rejected) => self.reject(&rejected, now, ctx),
        }
    }

    fn request(&mut self, request: Request, now: Instant, ctx: &mut Context<Self>) {
        let name = request.event.name();
        self.shared.metrics.events_in.inc(name as usize);
        let answer = Answer::new(Arc::clone(&self.peer), name, request.ack);
        if let Err(wait) = self.admit(name, now) {
            answer.refuse(too_fast(wait));
            return self.flooded(now, ctx);
        }
        match request.event {
            ClientEvent::Ping(data) => {
                self.peer.tell(&ServerEvent::Pong(&data)).ok();
                answer.ok(Reply::Pong {});
            }
            ClientEvent::Refresh(refresh) => self.refresh(&refresh, answer, ctx),
            event => self.pace(event, answer, now, ctx),
        }
    }

    /// Takes the event off the rates.
    fn admit(&mut self, name: ClientEventName, now: Instant) -> Result<(), Duration> {
        self.events.take(now)?;
        if name == ClientEventName::Chat { self.chats.take(now) } else { Ok(()) }
    }

    fn reject(&mut self, rejected: &Rejected, now: Instant, ctx: &mut Context<Self>) {
        if let Err(wait) = self.events.take(now) {
            let result = Err(too_fast(wait));
            self.peer.outcome(rejected.event.as_deref(), rejected.ack, &result);
            return self.flooded(now, ctx);
        }
        let is_envelope = rejected.failure.code != ErrorCode::BadEnvelope;
        let result = Err(rejected.failure.clone());
        self.peer.outcome(rejected.event.as_deref(), rejected.ack, &result);
        if !is_envelope && self.bad_envelopes.strike(now) {
            self.finish(CloseCode::BAD_ENVELOPES, None, None, ctx);
        }
    }

    fn flooded(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if self.floods.strike(now) {
            self.finish(CloseCode::FLOOD, None, Some(FLOOD_PAUSE_MS), ctx);
        }
    }

    fn pinged(&mut self, payload: bytes::Bytes, now: Instant, ctx: &mut Context<Self>) {
        match self.events.take(now) {
            Ok(()) => self.peer.outbox.pong(payload),
            Err(_) => self.flooded(now, ctx),
        }
    }

    /// Some clients send them as a sign of life; they cost what any event costs.
    fn unasked_pong(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if self.events.take(now).is_err() {
            self.flooded(now, ctx);
        }
    }

    /// Ends the session by the hub's decision: says so, then closes.
    fn finish(
        &mut self,
        close: CloseCode,
        reason: Option<&str>,
        reconnect_after_ms: Option<u64>,
        ctx: &mut Context<Self>,
    ) {
        let mut end = SessionEnd::new(close, reconnect_after_ms);
        end.reason = reason.unwrap_or(close.reason);
        let event = ServerEvent::SessionEnd(end);
        self.shared.metrics.events_out.inc(event.index());
        let frame = Frame::text(|buffer| self.peer.codec.event(&event, buffer));
        self.peer.outbox.finish(Some(frame), close);
        // Whoever was cut for slowness or silence is expected back.
        let clean = !close.retry;
        self.leave_everything(End { reason: close.reason, clean }, ctx);
    }

    /// Leaves every room at once; the connection may linger to tell its peer.
    fn leave_everything(&mut self, end: End, ctx: &mut Context<Self>) {
        self.depart(end);
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        ctx.run_later(LINGER, |_, ctx| ctx.stop());
    }

    /// Leaves every room, once.
    fn depart(&mut self, end: End) {
        if self.end.is_some() {
            return;
        }
        let clean = end.clean;
        for (order, link) in self.links.drain() {
            let leave = Leave { session: self.peer.id, farewell: None, clean };
            match link.room() {
                Some(room) => room.addr.do_send(leave),
                // The room has not answered yet: the word must not overtake the wish.
                None => self.supervisor.addr.do_send(LeaveRoom { order, leave }),
            }
        }
        self.supervisor
            .addr
            .do_send(Unregister { session: self.peer.id, user: self.identity.user.clone() });
        self.shared.metrics.closes.inc(close_index(end.reason));
        self.log_end(end.reason);
        self.end = Some(end);
    }

    /// One line at the beginning of a session, one at its end. Never the token.
    fn log_start(&self) {
        log::info!(
            session:% = self.peer.id,
            user:% = self.identity.user,
            role = self.identity.role.as_str(),
            framing = self.peer.codec.framing().as_str(),
            remote = self.remote.as_str();
            "connected"
        );
    }

    fn log_end(&self, reason: &str) {
        log::info!(
            session:% = self.peer.id,
            user:% = self.identity.user,
            reason = reason,
            duration_ms = millis(self.opened.elapsed());
            "closed"
        );
    }

    fn count(&self, change: i64) {
        let grid = &self.shared.metrics.connections;
        if let Some(gauge) =
            grid.at(self.peer.codec.framing() as usize, self.identity.role as usize)
        {
            gauge.inc_by(change);
        }
    }

    /// Arms the one timer for the next deadline.
    fn arm(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let wait = self.deadlines.next().saturating_duration_since(now);
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(wait.max(Duration::from_millis(1)), |session, ctx| {
            session.timer = None;
            session.on_deadline(Instant::now(), ctx);
        });
        self.timer = Some(timer);
    }

    fn on_deadline(&mut self, now: Instant, ctx: &mut Context<Self>) {
        while let Some(due) = self.deadlines.due(now, !self.gate.is_paused()) {
            match due {
                Due::Ping => self.peer.outbox.ping(),
                Due::Expiring => self.warn_of_expiry(),
                Due::NoPong => return self.finish(CloseCode::NO_PONG, None, None, ctx),
                Due::Expired => return self.finish(CloseCode::TOKEN_EXPIRED, None, None, ctx),
            }
        }
        self.arm(now, ctx);
    }
}

fn too_fast(wait: Duration) -> Failure {
    Failure::new(ErrorCode::RateLimited, "too many events").retry_after(wait)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.count(1);
        self.log_start();
        self.greet();
        self.arm(Instant::now(), ctx);
        // Registered first and checked after, so a ban that comes in between is not missed.
        self.supervisor.addr.do_send(Register {
            session: self.peer.id,
            user: self.identity.user.clone(),
            control: ctx.address().recipient(),
        });
        if self.shared.bans.from_hub(&self.identity.user, Timestamp::now()).is_some() {
            self.finish(CloseCode::REMOVED, None, None, ctx);
        } else if self.shared.is_draining() {
            self.finish(CloseCode::RESTART, None, None, ctx);
        }
    }
}

impl Drop for Session {
    /// Runs on every end, a panic included: no room may keep a session that is gone.
    fn drop(&mut self) {
        if self.end.is_none() {
            self.depart(End { reason: CloseCode::INTERNAL.reason, clean: false });
        }
        self.count(-1);
        self.peer.outbox.abort();
    }
}

impl StreamHandler<Incoming> for Session {
    fn handle(&mut self, incoming: Incoming, ctx: &mut Self::Context) {
        if self.end.is_some() {
            return;
        }
        let now = Instant::now();
        let awaited = self.deadlines.heard(now);
        match incoming {
            Incoming::Text(text) => self.text(&text, now, ctx),
            Incoming::Pong if awaited => {}
            Incoming::Pong => self.unasked_pong(now, ctx),
            Incoming::Ping(payload) => self.pinged(payload, now, ctx),
            Incoming::Binary(_) => self.finish(CloseCode::UNSUPPORTED, None, None, ctx),
            Incoming::Failed(close) => self.finish(close, None, None, ctx),
            Incoming::Overrun(_) => self.finish(CloseCode::SLOW_READER, None, None, ctx),
            Incoming::Close(code) => {
                self.peer.outbox.answer_close(code);
                self.leave_everything(End { reason: "peer_closed", clean: true }, ctx);
            }
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        self.depart(End { reason: "connection_lost", clean: false });
        ctx.stop();
    }
}

impl Handler<RoomNotice> for Session {
    type Result = ();

    fn handle(&mut self, notice: RoomNotice, ctx: &mut Self::Context) {
        self.notice(notice, ctx);
    }
}

impl Handler<EndSession> for Session {
    type Result = ();

    fn handle(&mut self, end: EndSession, ctx: &mut Self::Context) {
        let finish = move |session: &mut Self, ctx: &mut Context<Self>| {
            if session.end.is_none() {
                session.finish(end.close, end.reason.as_deref(), end.reconnect_after_ms, ctx);
            }
        };
        if end.delay.is_zero() {
            finish(self, ctx);
        } else {
            ctx.run_later(end.delay, finish);
        }
    }
}
