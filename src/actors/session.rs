//! One client: takes its events, checks rate and form, and talks to rooms for it.
//!
//! The actor is the connection; who uses it is a login, of which a plain connection has one.

mod connecting;
mod dialect;
mod ending;
mod entering;
mod hearing;
mod identity;
mod links;
mod login;
mod news;
mod open_orders;
mod pacing;
mod resuming;
mod routing;
mod timing;
mod waiting;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, StreamHandler};
use smallvec::SmallVec;

use self::connecting::Names;
pub use self::dialect::UnauthenticatedPlace;
use self::dialect::{Dialect, SocketIo};
use self::ending::End;
use self::login::Login;
use self::pacing::MOST_UNDER_WAY;
use self::waiting::Waiting;
use super::alarms::Alarm;
use super::peer::{Peer, RoomNotice, SessionAddress};
use super::resumes::HandOver;
use super::shared::Shared;
use super::supervisor::{EndSession, Register, SupervisorHandle};
use crate::auth::{Identity, TokenProblem};
use crate::ids::{ConnectionId, SessionId};
use crate::permits::{Permit, Permits};
use crate::protocol::close::CloseCode;
use crate::protocol::codec::Codec;
use crate::protocol::server::{Connected, PROTOCOL_VERSION, ServerEvent};
use crate::protocol::socketio::Namespace;
use crate::protocol::socketio::reader::Reader;
use crate::session::heartbeat::{Heartbeat, Rhythm};
use crate::session::rate::Strikes;
use crate::session::users::UserRates;
use crate::time::Timestamp;
use crate::transport::{Gate, Inbound, Incoming, Outbox, PingMark, TransportOptions};

/// How long a closing connection may take before the session ends without its peer.
pub const LINGER: Duration = Duration::from_secs(5);
/// The bad envelope that ends patience, and how soon one is forgiven.
const BAD_ENVELOPES: (u32, Duration) = (10, Duration::from_secs(10));
/// The refused event that ends patience, and how soon one is forgiven.
const FLOOD: (u32, Duration) = (100, Duration::from_millis(200));

/// What a session begins with.
pub struct Opening {
    /// Who comes, and how.
    pub visitor: Visitor,
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
    pub supervisor: Arc<SupervisorHandle>,
}

/// Who opens a connection.
pub enum Visitor {
    /// A user, who uses it alone.
    Plain(Identity),
    /// A Socket.IO client, which says in a moment who it is and where it wants to be.
    SocketIo {
        /// The token of its request, or why it has none.
        offered: Result<String, TokenProblem>,
        /// Its place among those who have not said so yet.
        nobody: UnauthenticatedPlace,
    },
}

/// The actor.
pub struct Session {
    connection: ConnectionId,
    /// Of this actor, for all who tell it something.
    address: Arc<dyn SessionAddress>,
    outbox: Outbox,
    /// Stops reading while somebody holds it.
    gate: Gate,
    shared: Arc<Shared>,
    supervisor: Arc<SupervisorHandle>,
    /// The address of the client, for the log.
    remote: Arc<str>,
    dialect: Dialect,
    /// Who uses the connection: nearly always one, who stands here.
    logins: SmallVec<[Login; 1]>,
    /// Off which it is taken what is no login's own: those of the last user who has logged in, and
    /// before that of nobody else.
    rates: Arc<UserRates>,
    /// Events that came faster than their rate. Hardly any connection has some.
    waiting: Option<Box<Waiting>>,
    floods: Strikes,
    bad_envelopes: Strikes,
    heartbeat: Heartbeat,
    /// The last ping.
    pinged: PingMark,
    /// Goes off at the next deadline.
    alarm: Option<Alarm>,
    /// Whether the end has begun; nothing that comes counts any more.
    ended: bool,
    _permit: Permit,
}

// === impl Session ===

impl Session {
    /// Starts the session of an accepted connection on this thread.
    pub fn open(opening: Opening) {
        Self::create(move |ctx| {
            let Opening { visitor, inbound, outbox, remote, permit, shared, supervisor } = opening;
            let gate = inbound.gate();
            ctx.add_stream(inbound);
            let now = Instant::now();
            let (identity, dialect, rhythm) = begin(visitor, &shared, now);
            let rates = match &identity {
                Some(identity) => shared.users.of(&identity.user, now),
                None => shared.users.unknown(),
            };
            let limits = &shared.config.limits;
            let (ping_every, pong_within) = (limits.ping_interval, limits.pong_timeout);
            let mut session = Self {
                pinged: PingMark::default(),
                connection: ConnectionId::next(),
                address: Arc::new(ctx.address()),
                outbox,
                gate,
                remote: remote.into(),
                dialect,
                logins: SmallVec::new(),
                rates,
                waiting: None,
                floods: Strikes::new(FLOOD.0, FLOOD.1),
                bad_envelopes: Strikes::new(BAD_ENVELOPES.0, BAD_ENVELOPES.1),
                heartbeat: Heartbeat::new(rhythm, now, ping_every, pong_within),
                alarm: None,
                ended: false,
                shared,
                supervisor,
                _permit: permit,
            };
            if let Some(identity) = identity {
                session.log_in(identity, Codec::Plain, Names::new(false, None), ctx);
            }
            session
        });
    }

    /// A user begins to use the connection.
    fn log_in(&mut self, identity: Identity, codec: Codec, names: Names, ctx: &mut Context<Self>) {
        self.welcome(codec, &names);
        self.dialect.used();
        self.outbox.vouch();
        let user = identity.user.clone();
        if let Some(pid) = names.pid {
            self.shared.resumes.attach(pid, user.clone(), self.address.clone());
        }
        let pid = names.pid;
        let login = Login::new(
            self.peer(codec, names),
            identity,
            Arc::clone(&self.shared),
            self.supervisor.clone(),
            Arc::clone(&self.remote),
            self.gate.clone(),
            pid,
        );
        self.rates = Arc::clone(&login.rates);
        if codec == Codec::Plain {
            self.greet(&login);
        }
        // Registered first and checked after, so what an admin or a back end does in between is not
        // missed.
        self.supervisor.addr.do_send(Register {
            peer: Arc::clone(&login.peer),
            connection: self.connection,
            user: user.clone(),
        });
        self.logins.push(login);
        if self.shared.bans.from_hub(&user, Timestamp::now()).is_some() {
            self.finish_with(&EndSession::now(CloseCode::REMOVED).of(user), ctx);
        } else if self.logins.last().is_some_and(Login::is_revoked) {
            self.finish_with(&EndSession::now(CloseCode::TOKEN_REVOKED).of(user), ctx);
        } else if self.shared.is_draining() {
            self.finish(CloseCode::RESTART, ctx);
        } else if self.alarm.is_some() {
            // One that has not started arms it when it does.
            self.arm();
        }
    }

    /// The part of a login that rooms hold.
    fn peer(&self, codec: Codec, names: Names) -> Arc<Peer> {
        Arc::new(Peer {
            id: names.session,
            outbox: self.outbox.clone(),
            codec,
            session: Arc::clone(&self.address),
            metrics: Arc::clone(&self.shared.metrics),
            under_way: Permits::new(MOST_UNDER_WAY),
            departed: AtomicBool::new(false),
            pushes: names.pid.map(|_| Box::new(Mutex::new(names.pushes))),
            most_pushes: TransportOptions::most_frames(self.shared.config.limits.outbox_messages),
        })
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

    /// Who is logged in to a namespace.
    fn login_in(&self, namespace: Namespace) -> Option<usize> {
        self.logins.iter().position(|login| login.peer.codec.namespace() == Some(namespace))
    }

    /// Whether an end is meant for anybody who uses this connection.
    fn concerns(&self, end: &EndSession) -> bool {
        let Some(before) = end.issued_before else { return true };
        let whose = |login: &&Login| end.user.as_ref() == Some(&login.identity.user);
        self.logins.iter().filter(whose).any(|login| login.identity.is_older_than(before))
    }
}

/// What a connection begins with: who uses it from the start, and how it speaks.
fn begin(visitor: Visitor, shared: &Shared, now: Instant) -> (Option<Identity>, Dialect, Rhythm) {
    match visitor {
        Visitor::Plain(identity) => (Some(identity), Dialect::Plain, Rhythm::Silence),
        Visitor::SocketIo { offered, nobody } => {
            let io = SocketIo {
                reader: Reader::new(shared.config.limits.max_message_bytes),
                offered: offered.map(String::into_boxed_str),
                login_by: now + shared.config.server.connect_timeout,
                nobody: Some(nobody),
            };
            (None, Dialect::SocketIo(Box::new(io)), Rhythm::Steady)
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        if !self.ended {
            self.arm();
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
        self.depart(End::lost("connection_lost"));
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

impl Handler<HandOver> for Session {
    type Result = ();

    /// The client is back on another connection, before this one was known to be dead. It finds its
    /// record where that of every ended session is.
    fn handle(&mut self, message: HandOver, ctx: &mut Self::Context) {
        let has_it = self.logins.iter().any(|login| login.pid == Some(message.pid));
        if has_it && !self.ended {
            self.outbox.hang_up(None, CloseCode::REPLACED);
            self.leave_everything(End::lost(CloseCode::REPLACED.reason), ctx);
        }
    }
}

impl Handler<EndSession> for Session {
    type Result = bool;

    fn handle(&mut self, end: EndSession, ctx: &mut Self::Context) -> bool {
        if self.ended || !self.concerns(&end) {
            return false;
        }
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
        true
    }
}
