//! One client's connection: reads its events, checks their rate and form, and sends them to rooms.
//!
//! The actor is the connection. Its users are sessions; a plain connection has exactly one.

mod deadlines;
mod ending;
mod framing;
mod incoming;
mod join_hook;
mod locations;
mod order_changes;
mod pacing;
mod resume;
mod routing;
mod session;
mod socketio_connect;
mod subscribing;
mod subscription;
mod throttling;
mod token_refresh;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, StreamHandler};
use smallvec::SmallVec;

pub use self::framing::UnauthenticatedPermit;
use self::framing::{ConnectionFraming, SocketIoState};
use self::session::{EndReason, Session, SessionStart};
use self::throttling::Backlog;
use super::alarms::Alarm;
use super::order_room::Entered;
use super::peer::{MembershipNotice, Peer};
use super::resumes::TakeOver;
use super::shared::Shared;
use super::supervisor::{Disconnect, Register, SupervisorHandle};
use crate::auth::{Identity, TokenProblem};
use crate::connection::heartbeat::{Heartbeat, PingPolicy};
use crate::permits::{Permit, Permits};
use crate::rate_limit::quota::Strikes;
use crate::rate_limit::users::UserRates;
use protocol::close::CloseCode;
use protocol::codec::Codec;
use protocol::events::connected::{Connected, PROTOCOL_VERSION};
use protocol::ids::{ConnectionId, SessionId};
use protocol::server::ServerEvent;
use protocol::socketio::Namespace;
use protocol::socketio::reader::PacketReader;
use protocol::time::Timestamp;
use transport::{Inbound, Incoming, Outbox, ReadPause, SentPing, TransportOptions};

/// How long a closing connection may take before its actor stops without waiting for its peer.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many snapshots and pages of one session may be under way at once.
const MAX_LARGE_REPLIES: usize = 3;
/// How many bad envelopes end a connection, and after how long one is forgiven.
const BAD_ENVELOPES: (u32, Duration) = (10, Duration::from_secs(10));
/// How many refused events end a connection, and after how long one is forgiven.
const FLOOD: (u32, Duration) = (100, Duration::from_millis(200));

/// What a connection is created with.
pub struct ConnectionParams {
    /// The client, and its framing.
    pub client: ClientKind,
    /// The receiving end.
    pub inbound: Inbound,
    /// The sending end.
    pub outbox: Outbox,
    /// The address of the client, for the log.
    pub remote: String,
    /// The permit of an open connection.
    pub permit: Permit,
    /// What all actors share.
    pub shared: Arc<Shared>,
    /// The supervisor.
    pub supervisor: Arc<SupervisorHandle>,
}

/// The kind of client that opens a connection.
pub enum ClientKind {
    /// A plain client, whose user is known.
    Plain(Identity),
    /// A Socket.IO client, which sends its token and namespace with CONNECT.
    SocketIo {
        /// The token of its request, or why it has none.
        handshake_token: Result<String, TokenProblem>,
        /// The permit of an unauthenticated connection.
        unauthenticated: UnauthenticatedPermit,
    },
}

/// The connection actor.
pub struct Connection {
    id: ConnectionId,
    /// The actor's own address, shared by all its holders.
    address: Arc<Addr<Self>>,
    outbox: Outbox,
    /// Stops reading while a guard of it is held.
    read_pause: ReadPause,
    shared: Arc<Shared>,
    supervisor: Arc<SupervisorHandle>,
    /// The address of the client, for the log.
    remote: Box<str>,
    framing: ConnectionFraming,
    /// The sessions of the connection: nearly always one, stored inline.
    sessions: SmallVec<[Session; 1]>,
    /// The rates that input without a session counts against: those of the user who authenticated
    /// last, or, before that, the unauthenticated ones.
    rates: Arc<UserRates>,
    /// Events that came faster than their rate. Rare, so boxed.
    backlog: Option<Box<Backlog>>,
    floods: Strikes,
    bad_envelopes: Strikes,
    heartbeat: Heartbeat,
    /// The last ping.
    last_ping: SentPing,
    /// Fires at the next deadline.
    alarm: Option<Alarm>,
    /// Whether the end has begun. All further input is ignored.
    ended: bool,
    _permit: Permit,
}

// === impl Connection ===

impl Connection {
    /// Starts the actor of an accepted connection on this thread.
    pub fn open(params: ConnectionParams) {
        Self::create(move |ctx| {
            let ConnectionParams { client, inbound, outbox, remote, permit, shared, supervisor } =
                params;
            let read_pause = inbound.read_pause();
            ctx.add_stream(inbound);
            let now = Instant::now();
            let (identity, framing, ping_policy) = initial_state(client, &shared, now);
            let rates = match &identity {
                Some(identity) => shared.user_rates.of(&identity.user, now),
                None => shared.user_rates.unauthenticated(),
            };
            let limits = &shared.config.limits;
            let (ping_every, pong_within) = (limits.ping_interval, limits.pong_timeout);
            let mut connection = Self {
                last_ping: SentPing::default(),
                id: ConnectionId::next(),
                address: Arc::new(ctx.address()),
                outbox,
                read_pause,
                remote: remote.into(),
                framing,
                sessions: SmallVec::new(),
                rates,
                backlog: None,
                floods: Strikes::new(FLOOD.0, FLOOD.1),
                bad_envelopes: Strikes::new(BAD_ENVELOPES.0, BAD_ENVELOPES.1),
                heartbeat: Heartbeat::new(ping_policy, now, ping_every, pong_within),
                alarm: None,
                ended: false,
                shared,
                supervisor,
                _permit: permit,
            };
            if let Some(identity) = identity {
                connection.start_session(
                    identity,
                    Codec::Plain,
                    SessionStart::new(false, None),
                    ctx,
                );
            }
            connection
        });
    }

    /// Starts a session of a user.
    fn start_session(
        &mut self,
        identity: Identity,
        codec: Codec,
        state: SessionStart,
        ctx: &mut Context<Self>,
    ) {
        self.send_connect_ack(codec, &state);
        self.framing.mark_authenticated();
        self.outbox.mark_authenticated();
        let user = identity.user.clone();
        if let Some(pid) = state.pid {
            self.shared.resumes.attach(pid, user.clone(), self.address.clone());
        }
        let pid = state.pid;
        let session = Session::new(
            self.peer(codec, state),
            identity,
            Arc::clone(&self.shared),
            self.supervisor.clone(),
            self.address.clone(),
            self.read_pause.clone(),
            pid,
        );
        session.log_start(&self.remote);
        self.rates = Arc::clone(&session.rates);
        if codec == Codec::Plain {
            self.send_connected(&session);
        }
        // Registers first and checks afterwards, so that a ban or revocation in between is not
        // missed.
        self.supervisor.addr.do_send(Register {
            peer: Arc::clone(&session.peer),
            connection: self.id,
            address: self.address.clone(),
            user: user.clone(),
        });
        self.sessions.push(session);
        if self.shared.bans.from_hub(&user, Timestamp::now()).is_some() {
            self.disconnect(&Disconnect::now(CloseCode::REMOVED).of(user), ctx);
        } else if self.sessions.last().is_some_and(Session::is_revoked) {
            self.disconnect(&Disconnect::now(CloseCode::TOKEN_REVOKED).of(user), ctx);
        } else if self.shared.is_draining() {
            self.close(CloseCode::RESTART, ctx);
        } else if self.alarm.is_some() {
            // An actor that has not started arms its alarm when it starts.
            self.arm();
        }
    }

    /// The part of a session that rooms hold.
    fn peer(&self, codec: Codec, state: SessionStart) -> Arc<Peer> {
        Arc::new(Peer {
            id: state.session_id,
            outbox: self.outbox.clone(),
            codec,
            connection: self.address.clone(),
            metrics: Arc::clone(&self.shared.metrics),
            reply_permits: Permits::new(MAX_LARGE_REPLIES),
            ended: AtomicBool::new(false),
            push_log: state.pid.map(|_| Box::new(Mutex::new(state.push_log))),
            max_pushes: TransportOptions::max_frames(self.shared.config.limits.outbox_messages),
        })
    }

    fn send_connected(&self, session: &Session) {
        let limits = &self.shared.config.limits;
        let connected = Connected {
            session_id: session.peer.id,
            user_id: &session.identity.user,
            role: session.identity.role,
            expires_at: session.identity.expires_at,
            ping_interval_ms: millis(limits.ping_interval),
            max_message_bytes: limits.max_message_bytes,
            protocol: PROTOCOL_VERSION,
        };
        // A broken connection ends by its stream.
        session.peer.tell(&ServerEvent::Connected(connected)).ok();
    }

    /// The session with that id, if it has not ended.
    fn session(&mut self, session_id: SessionId) -> Option<&mut Session> {
        self.sessions
            .iter_mut()
            .find(|session| session.peer.id == session_id && !session.peer.has_ended())
    }

    /// The index of the session with that id, ended or not.
    fn index_of(&self, session_id: Option<SessionId>) -> Option<usize> {
        self.sessions.iter().position(|session| Some(session.peer.id) == session_id)
    }

    /// The index of the session in a namespace.
    fn session_in(&self, namespace: Namespace) -> Option<usize> {
        self.sessions.iter().position(|session| session.peer.codec.namespace() == Some(namespace))
    }

    /// Whether a disconnect concerns any session of this connection.
    fn is_disconnected_by(&self, end: &Disconnect) -> bool {
        let Some(before) = end.issued_before else { return true };
        let of_user = |session: &&Session| end.user.as_ref() == Some(&session.identity.user);
        self.sessions
            .iter()
            .filter(of_user)
            .any(|session| session.identity.may_be_issued_before(before))
    }
}

/// The state that a connection starts with: its identity, if known, and its framing.
fn initial_state(
    client: ClientKind,
    shared: &Shared,
    now: Instant,
) -> (Option<Identity>, ConnectionFraming, PingPolicy) {
    match client {
        ClientKind::Plain(identity) => {
            (Some(identity), ConnectionFraming::Plain, PingPolicy::WhenSilent)
        }
        ClientKind::SocketIo { handshake_token, unauthenticated } => {
            let io = SocketIoState {
                reader: PacketReader::new(shared.config.limits.max_message_bytes),
                handshake_token: handshake_token.map(String::into_boxed_str),
                login_deadline: now + shared.config.server.connect_timeout,
                unauthenticated: Some(unauthenticated),
            };
            (None, ConnectionFraming::SocketIo(Box::new(io)), PingPolicy::Steady)
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Actor for Connection {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        if !self.ended {
            self.arm();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.outbox.abort();
    }
}

impl StreamHandler<Incoming> for Connection {
    fn handle(&mut self, incoming: Incoming, ctx: &mut Self::Context) {
        if !self.ended {
            self.on_incoming(incoming, Instant::now(), ctx);
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        self.end(EndReason::lost("connection_lost"));
        ctx.stop();
    }
}

impl Handler<Entered> for Connection {
    type Result = ();

    fn handle(&mut self, entered: Entered, ctx: &mut Self::Context) {
        if let Some(session) = self.session(entered.session) {
            session.on_entered(entered, ctx);
            session.start_catch_ups(ctx);
            self.run_backlog_if_unblocked(Instant::now(), ctx);
        }
    }
}

impl Handler<MembershipNotice> for Connection {
    type Result = ();

    fn handle(&mut self, notice: MembershipNotice, ctx: &mut Self::Context) {
        if let Some(session) = self.session(notice.session) {
            session.on_membership_notice(notice, ctx);
            self.run_backlog_if_unblocked(Instant::now(), ctx);
        }
    }
}

impl Handler<TakeOver> for Connection {
    type Result = ();

    /// The client is back on another connection before this one was found dead. It finds the record
    /// as it does for every ended session.
    fn handle(&mut self, message: TakeOver, ctx: &mut Self::Context) {
        let has_it = self.sessions.iter().any(|session| session.pid == Some(message.pid));
        if has_it && !self.ended {
            self.outbox.hang_up(None, CloseCode::REPLACED);
            self.begin_close(EndReason::lost(CloseCode::REPLACED.reason), ctx);
        }
    }
}

impl Handler<Disconnect> for Connection {
    type Result = bool;

    fn handle(&mut self, end: Disconnect, ctx: &mut Self::Context) -> bool {
        if self.ended || !self.is_disconnected_by(&end) {
            return false;
        }
        let delay = end.delay;
        let finish = move |connection: &mut Self, ctx: &mut Context<Self>| {
            if !connection.ended {
                connection.disconnect(&end, ctx);
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
