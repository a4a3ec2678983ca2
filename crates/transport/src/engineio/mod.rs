//! Engine.IO 4 over HTTP: sessions by long-polling or over a WebSocket, and the move from one to
//! the other. A session here is an Engine.IO session: one connection. The server knows its host by
//! one trait, [`EngineHandler`], which decides who may open a session and what sessions are for.
//!
//! An [`Engine`] serves one path. Its routes ([`Engine::routes`]) take ordinary requests, and, in
//! the application of [`upgrade_service`](crate::upgrade_service), requests for a
//! WebSocket. There is one engine per application. All engines share the [`PollingSessions`],
//! because a poll may come to any worker.

mod polling;
mod polling_sessions;
mod query;
mod reply;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use actix_http::{Method, RequestHead};
use actix_web::error::ErrorServiceUnavailable;
use actix_web::http::header::HeaderMap;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

pub use self::polling_sessions::PollingSessions;
use self::polling_sessions::new_sid;
use self::query::{Query, Transport};
use crate::{Frame, Inbound, Outbox, Polling, RawSocket, TransportOptions};
use protocol::socketio::engine::{EngineError, Handshake};

/// The host of the sessions.
pub trait EngineHandler: 'static {
    /// The result of a handshake check that the session needs: a permit, an identity, data of the
    /// request.
    type HandshakeData;

    /// Whether the web page that sends a request may use the server, by its `Origin`.
    fn allows_origin(&self, headers: &HeaderMap) -> bool;

    /// Checks a handshake before anything is allocated for it. The origin was checked before.
    ///
    /// # Errors
    /// The refusal that the client gets.
    fn on_handshake(&self, request: &RequestHead) -> Result<Self::HandshakeData, HandshakeRefusal>;

    /// Starts a session, on the worker's thread that handled the handshake. The open packet is
    /// being sent or is first in the outbox.
    fn on_connect(&self, data: Self::HandshakeData, new_session: NewSession);

    /// Called when a client is refused because it speaks another version of the protocol than
    /// [`VERSION`], or sends none (`EIO`).
    fn refused_version(&self, _request: &RequestHead, _version: Option<&str>) {}

    /// The answer to a valid request that cannot be served now.
    fn unavailable(&self, detail: &'static str) -> actix_web::Error {
        ErrorServiceUnavailable(detail)
    }
}

/// The version of the protocol that the hub serves.
pub const VERSION: &str = "4";

/// Why a handshake was refused.
#[derive(Debug)]
pub enum HandshakeRefusal {
    /// One of Engine.IO's own reasons.
    Engine(EngineError),
    /// A reason of the host.
    Host(actix_web::Error),
}

/// A session that begins.
///
/// `inbound` yields Engine.IO packets from either transport: [`crate::Incoming::Text`]
/// with the packet's type, or [`crate::Incoming::Binary`]. `outbox` takes the same: text
/// frames of one packet each, binary frames with data. The session sends pings:
/// [`Outbox::ping_with`] and a frame of `2`. A client's `1` comes as text too, and is answered with
/// [`Outbox::finish`]. To make a client reconnect, end the session with [`Outbox::hang_up`].
#[derive(Debug)]
pub struct NewSession {
    /// The id that the client names in its requests. It is a secret: a request that names it can
    /// read the session.
    pub sid: String,
    /// The receiving end.
    pub inbound: Inbound,
    /// The sending end.
    pub outbox: Outbox,
    /// The transport of the handshake.
    pub kind: TransportKind,
}

/// The transport of a client's handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// Long-polling. The client may move to a WebSocket later.
    Polling,
    /// A WebSocket.
    WebSocket,
}

/// The options of an engine.
#[derive(Debug, Clone)]
pub struct Options {
    /// The ping interval that the handshake announces; the session has to keep it.
    pub ping_interval: Duration,
    /// How long a session waits for the pong.
    pub ping_timeout: Duration,
    /// The subprotocol that a WebSocket gets if its client offers it.
    pub subprotocol: Option<&'static str>,
    /// How long the body of a POST may take, and a WebSocket from its request until its client has
    /// upgraded. Use [`Options::DEFAULT_REQUEST_TIMEOUT`] without a reason for another value.
    pub request_timeout: Duration,
    /// Limits and timeouts. The limit of a message is also the limit of a POST's body.
    pub transport: Arc<TransportOptions>,
}

impl Options {
    /// The time that the reference server gives a client to upgrade.
    pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
}

/// Serves the requests of one path on one worker.
pub struct Engine<H> {
    handler: H,
    options: Options,
    sessions: Arc<PollingSessions>,
}

/// What a request is for.
enum RequestTarget {
    /// A new session.
    Handshake,
    /// A session that polls or did.
    Session(Polling),
}

// === impl Engine ===

impl<H: EngineHandler> Engine<H> {
    /// An engine for the path of `sessions`.
    pub fn new(handler: H, options: Options, sessions: Arc<PollingSessions>) -> Self {
        Self { handler, options, sessions }
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

    /// Answers a request.
    async fn serve(&self, request: HttpRequest, payload: web::Payload) -> HttpResponse {
        let is_upgrade = RawSocket::is_offered(&request);
        match self.classify(request.head(), is_upgrade) {
            Err(refusal) => reply::refusal(refusal),
            Ok(target) if is_upgrade => self.serve_websocket(&target, &request),
            Ok(RequestTarget::Handshake) => self.open_polling_session(&request).await,
            Ok(RequestTarget::Session(polling)) => {
                self.serve_polling(&polling, &request, payload).await
            }
        }
    }

    /// Asks the host for a new session, and makes its id.
    fn begin_session(
        &self,
        request: &HttpRequest,
    ) -> Result<(H::HandshakeData, String), HandshakeRefusal> {
        let data = self.handler.on_handshake(request.head())?;
        let no_sid = || HandshakeRefusal::Host(self.handler.unavailable("no randomness"));
        Ok((data, new_sid().ok_or_else(no_sid)?))
    }

    /// Decides what a request is for, with the checks in the order of the reference server.
    fn classify(&self, head: &RequestHead, is_upgrade: bool) -> Result<RequestTarget, EngineError> {
        let query = Query::read(head.uri.query().unwrap_or_default());
        let transport = query.transport.ok_or(EngineError::UnknownTransport)?;
        if !self.handler.allows_origin(&head.headers) {
            return Err(EngineError::Forbidden);
        }
        let session = match query.sid {
            Some(sid) => Some(self.sessions.find(sid).ok_or(EngineError::UnknownSid)?),
            None if head.method != Method::GET => return Err(EngineError::BadMethod),
            None => None,
        };
        // A `polling` request never upgrades, a `websocket` request always does.
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
