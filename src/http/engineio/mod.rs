//! Engine.IO 4 over HTTP: sessions by long-polling or over a WebSocket, and the move from one to
//! the other. Knows nothing of what the sessions are for: that is their [`EngineHandler`]'s business.
//!
//! An [`Engine`] serves one path. Its routes ([`Engine::routes`]) take what comes as ordinary
//! requests, [`Engine::upgrade`] what asks for a WebSocket. There is one engine per worker; the
//! [`PollingSessions`] behind them are shared by all, because a poll may come in anywhere.

mod polling;
mod polling_sessions;
mod query;
mod reply;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use actix_http::{Method, RequestHead};
use actix_web::web::{self, ServiceConfig};

pub use self::polling_sessions::PollingSessions;
use self::query::{Query, Transport};
use super::origin;
use super::problem::Problem;
use crate::config::Origins;
use crate::protocol::socketio::engine::{EngineError, Handshake};
use crate::transport::{Frame, Inbound, Outbox, Polling, TransportOptions};

/// What sessions are for.
pub trait EngineHandler: 'static {
    /// What the judgement of a handshake leaves for the session: a permit, an identity, whatever
    /// of the request the session needs to know.
    type HandshakeData;

    /// Judges a handshake, before anything is made for it. The origin was looked at already.
    ///
    /// # Errors
    /// What the client is told instead.
    fn on_handshake(&self, request: &RequestHead) -> Result<Self::HandshakeData, HandshakeRefusal>;

    /// Begins a session, on the thread of the worker that has its handshake. The open packet is
    /// under way or first in the outbox.
    fn on_connect(&self, data: Self::HandshakeData, new_session: NewSession);

    /// A client speaks another version of the protocol than [`VERSION`], or says none (`EIO`), and is
    /// refused for it.
    fn refused_version(&self, _request: &RequestHead, _version: Option<&str>) {}
}

/// The version of the protocol that is served.
pub const VERSION: &str = "4";

/// Why a handshake became no session.
#[derive(Debug, Clone)]
pub enum HandshakeRefusal {
    /// One of Engine.IO's own reasons.
    Engine(EngineError),
    /// Any other.
    Problem(Problem),
}

/// A session that begins.
///
/// What comes out of `inbound` are Engine.IO packets, as [`crate::transport::Incoming::Text`] with
/// their type and as [`crate::transport::Incoming::Binary`], by whichever transport they come. The
/// same goes into `outbox`: text frames with a packet each, binary frames with data. Pings are the
/// session's: [`Outbox::ping_with`] and a frame of `2`. A client's `1` comes as text too, and is
/// answered with [`Outbox::finish`]. A client that is to come back is ended with
/// [`Outbox::hang_up`].
#[derive(Debug)]
pub struct NewSession {
    /// The id that the client names in its requests: whoever knows it can read the session.
    pub sid: String,
    /// The receiving end.
    pub inbound: Inbound,
    /// The sending end.
    pub outbox: Outbox,
    /// How the client came.
    pub kind: TransportKind,
}

/// How a client comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// By long-polling; it may move to a WebSocket later.
    Polling,
    /// Over a WebSocket.
    WebSocket,
}

/// How an engine serves its sessions.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often sessions ping, as the handshake says; the session keeps to it.
    pub ping_interval: Duration,
    /// How long they wait for the pong.
    pub ping_timeout: Duration,
    /// Which pages may use it, besides those of its own origin.
    pub origins: Origins,
    /// How long the body of a POST may take, and a WebSocket from its request until its client has
    /// moved to it; [`Options::DEFAULT_REQUEST_TIMEOUT`] where there is no reason for another.
    pub request_timeout: Duration,
    /// Limits and times. The message limit is also that of a POST's body.
    pub transport: Arc<TransportOptions>,
}

impl Options {
    /// What the reference server gives a client that moves.
    pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
}

/// What serves the requests of one path on one worker.
pub struct Engine<H> {
    handler: H,
    options: Options,
    sessions: Arc<PollingSessions>,
}

/// What a request is about.
enum RequestTarget {
    /// A new session.
    Handshake,
    /// One that polls, or did.
    Session(Polling),
}

// === impl Engine ===

impl<H: EngineHandler> Engine<H> {
    /// An engine whose sessions, and whose path, are `sessions`.
    pub fn new(handler: H, options: Options, sessions: Arc<PollingSessions>) -> Self {
        Self { handler, options, sessions }
    }

    /// Whether a request to upgrade is for [`Self::upgrade`].
    pub fn serves(&self, path: &str) -> bool {
        self.sessions.serves(path)
    }

    /// The routes of its path.
    pub fn routes(self: &Arc<Self>) -> impl FnOnce(&mut ServiceConfig) + use<H> {
        let engine = Arc::clone(self);
        move |config| {
            let sessions = Arc::clone(&engine.sessions);
            let paths = sessions.paths();
            config.app_data(web::Data::from(sessions)).service(web::resource(paths).to(
                move |request, payload| {
                    let engine = Arc::clone(&engine);
                    async move { engine.serve(request, payload).await }
                },
            ));
        }
    }

    /// Decides what a request is about, in the order of the reference server.
    fn classify(&self, head: &RequestHead, is_upgrade: bool) -> Result<RequestTarget, EngineError> {
        let query = Query::read(head.uri.query().unwrap_or_default());
        let transport = query.transport.ok_or(EngineError::UnknownTransport)?;
        if !origin::is_allowed(&self.options.origins, &head.headers) {
            return Err(EngineError::Forbidden);
        }
        let session = match query.sid {
            Some(sid) => Some(self.sessions.find(sid).ok_or(EngineError::UnknownSid)?),
            None if head.method != Method::GET => return Err(EngineError::BadMethod),
            None => None,
        };
        // `polling` never upgrades by itself, `websocket` always does.
        if is_upgrade != (transport == Transport::WebSocket) {
            return Err(EngineError::BadRequest);
        }
        match session {
            Some(polling) => Ok(RequestTarget::Session(polling)),
            None if query.version == Some(VERSION) => Ok(RequestTarget::Handshake),
            None => {
                self.handler.refused_version(head, query.version);
                Err(EngineError::UnsupportedVersion)
            }
        }
    }

    /// The packet that opens a session.
    fn open_packet(&self, sid: &str, kind: TransportKind) -> Frame {
        let handshake = Handshake {
            sid,
            may_upgrade: kind == TransportKind::Polling,
            ping_interval: self.options.ping_interval,
            ping_timeout: self.options.ping_timeout,
            max_payload: self.options.transport.max_message_bytes,
        };
        Frame::text(|out| handshake.write(out))
    }
}

// === impl HandshakeRefusal ===

impl From<EngineError> for HandshakeRefusal {
    fn from(refusal: EngineError) -> Self {
        Self::Engine(refusal)
    }
}

impl From<Problem> for HandshakeRefusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}
