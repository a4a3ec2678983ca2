//! One client: takes its events, checks rate and form, and talks to rooms for it.
//!
//! The actor is the connection; who uses it is a [`Login`], of which a plain connection has one.

mod entering;
mod hearing;
mod identity;
mod links;
mod login;
mod pacing;
mod routing;
mod timing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, SpawnHandle, StreamHandler};

use self::login::{End, Login};
use self::pacing::MOST_UNDER_WAY;
use super::peer::{Peer, RoomNotice};
use super::shared::Shared;
use super::supervisor::{EndSession, Register, SupervisorHandle};
use crate::auth::Identity;
use crate::ids::{ConnectionId, SessionId};
use crate::permits::{Permit, Permits};
use crate::protocol::close::CloseCode;
use crate::protocol::codec::Codec;
use crate::protocol::server::{Connected, PROTOCOL_VERSION, ServerEvent};
use crate::session::heartbeat::{Heartbeat, Rhythm};
use crate::session::rate::{Bucket, Strikes};
use crate::time::Timestamp;
use crate::transport::{Frame, Gate, Inbound, Incoming, Outbox};

/// How long a closing connection may take before the session ends without its peer.
pub const LINGER: Duration = Duration::from_secs(5);
/// The bad envelope that ends patience, and how soon one is forgiven.
const BAD_ENVELOPES: (u32, Duration) = (10, Duration::from_secs(10));
/// The refused event that ends patience, and how soon one is forgiven.
const FLOOD: (u32, Duration) = (100, Duration::from_millis(200));

/// What a session begins with.
pub struct Opening {
    /// Who the token says it is.
    pub identity: Identity,
    /// The connection's two ends.
    pub inbound: Inbound,
    /// The sending one.
    pub outbox: Outbox,
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
    connection: ConnectionId,
    outbox: Outbox,
    /// Stops reading while somebody holds it.
    gate: Gate,
    shared: Arc<Shared>,
    supervisor: SupervisorHandle,
    /// The address of the client, for the log.
    remote: Arc<str>,
    /// Who uses the connection.
    logins: Vec<Login>,
    events: Bucket,
    chats: Bucket,
    floods: Strikes,
    bad_envelopes: Strikes,
    heartbeat: Heartbeat,
    timer: Option<SpawnHandle>,
    /// Whether the end has begun; nothing that comes counts any more.
    ended: bool,
    _permit: Permit,
}

// === impl Session ===

impl Session {
    /// Starts the session of an accepted connection on this thread.
    pub fn open(opening: Opening) {
        Self::create(move |ctx| {
            let Opening { identity, inbound, outbox, remote, permit, shared, supervisor } = opening;
            let gate = inbound.gate();
            ctx.add_stream(inbound);
            let limits = &shared.config.limits;
            let (ping_every, pong_within) = (limits.ping_interval, limits.pong_timeout);
            let mut session = Self {
                connection: ConnectionId::next(),
                outbox,
                gate,
                remote: remote.into(),
                logins: Vec::new(),
                events: Bucket::new(limits.events_per_second, limits.events_burst),
                chats: Bucket::new(limits.chat_per_second, limits.chat_burst),
                floods: Strikes::new(FLOOD.0, FLOOD.1),
                bad_envelopes: Strikes::new(BAD_ENVELOPES.0, BAD_ENVELOPES.1),
                heartbeat: Heartbeat::new(Rhythm::Silence, Instant::now(), ping_every, pong_within),
                timer: None,
                ended: false,
                shared,
                supervisor,
                _permit: permit,
            };
            session.log_in(identity, Codec::Plain, ctx);
            session
        });
    }

    /// A user begins to use the connection.
    fn log_in(&mut self, identity: Identity, codec: Codec, ctx: &mut Context<Self>) {
        let peer = Arc::new(Peer {
            id: SessionId::random(),
            outbox: self.outbox.clone(),
            codec,
            notices: ctx.address().recipient(),
            metrics: Arc::clone(&self.shared.metrics),
            under_way: Permits::new(MOST_UNDER_WAY),
        });
        let login = Login::new(
            peer,
            identity,
            Arc::clone(&self.shared),
            self.supervisor.clone(),
            Arc::clone(&self.remote),
            self.gate.clone(),
        );
        self.greet(&login);
        let user = login.identity.user.clone();
        // Registered first and checked after, so a ban that comes in between is not missed.
        self.supervisor.addr.do_send(Register {
            session: login.peer.id,
            connection: self.connection,
            user: user.clone(),
            control: ctx.address().recipient(),
        });
        self.logins.push(login);
        if self.shared.bans.from_hub(&user, Timestamp::now()).is_some() {
            self.finish_with(&EndSession::now(CloseCode::REMOVED).of(user), ctx);
        } else if self.shared.is_draining() {
            self.finish(CloseCode::RESTART, ctx);
        }
    }

    fn greet(&self, login: &Login) {
        let limits = &self.shared.config.limits;
        let connected = Connected {
            session_id: login.peer.id,
            user_id: &login.identity.user,
            role: login.identity.role,
            expires_at: login.identity.expires_at,
            ping_interval_ms: millis(limits.ping_interval),
            max_message_bytes: limits.max_message_bytes,
            protocol: PROTOCOL_VERSION,
        };
        // A connection that broke already ends by its stream.
        login.peer.tell(&ServerEvent::Connected(connected)).ok();
    }

    /// The login of that session, while it lasts.
    fn login(&mut self, session: SessionId) -> Option<&mut Login> {
        self.logins.iter_mut().find(|login| login.peer.id == session && !login.has_departed())
    }

    /// Ends the connection by the hub's decision: says so, then closes.
    fn finish(&mut self, close: CloseCode, ctx: &mut Context<Self>) {
        self.finish_with(&EndSession::now(close), ctx);
    }

    fn finish_with(&mut self, end: &EndSession, ctx: &mut Context<Self>) {
        let EndSession { close, reason, reconnect_after_ms, user, .. } = end;
        // Another user of the same connection has done nothing and comes back.
        let concerns =
            |login: &&Login| user.as_ref().is_none_or(|user| *user == login.identity.user);
        let farewells = self
            .logins
            .iter()
            .filter(concerns)
            .map(|login| login.farewell(*close, reason.as_deref(), *reconnect_after_ms));
        let last: Vec<Frame> = farewells.collect();
        self.outbox.finish(last, *close);
        // Whoever was cut for slowness or silence is expected back.
        self.leave_everything(End { reason: close.reason, clean: !close.retry }, ctx);
    }

    /// Leaves every room at once; the connection may linger to tell its peer.
    fn leave_everything(&mut self, end: End, ctx: &mut Context<Self>) {
        self.depart(end);
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        ctx.run_later(LINGER, |_, ctx| ctx.stop());
    }

    fn depart(&mut self, end: End) {
        self.ended = true;
        for login in &mut self.logins {
            login.depart(end);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if !self.ended {
            self.arm(Instant::now(), ctx);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.outbox.abort();
    }
}

impl StreamHandler<Incoming> for Session {
    fn handle(&mut self, incoming: Incoming, ctx: &mut Self::Context) {
        if !self.ended {
            self.hear(incoming, Instant::now(), ctx);
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
        if let Some(login) = self.login(notice.session) {
            login.notice(notice, ctx);
        }
    }
}

impl Handler<EndSession> for Session {
    type Result = ();

    fn handle(&mut self, end: EndSession, ctx: &mut Self::Context) {
        let delay = end.delay;
        let finish = move |session: &mut Self, ctx: &mut Context<Self>| {
            if !session.ended {
                session.finish_with(&end, ctx);
            }
        };
        if delay.is_zero() {
            finish(self, ctx);
        } else {
            ctx.run_later(delay, finish);
        }
    }
}
