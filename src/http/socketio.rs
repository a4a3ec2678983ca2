//! `/socket.io/`: Socket.IO clients, by long-polling or over a WebSocket.

use std::borrow::Cow;
use std::sync::Arc;

use actix_http::RequestHead;
use actix_web::http::header::{self, HeaderMap, HeaderValue};

use super::Hub;
use super::admission::{
    refuse_while_draining, take_connection_permit, take_unauthenticated_permit,
};
use super::origin::is_allowed;
use super::problem::Problem;
use super::request_head::{authorization, client_address, remote_address};
use crate::actors::connection::{ClientKind, Connection, ConnectionParams, UnauthenticatedPermit};
use crate::auth::{SUBPROTOCOL, TokenProblem, find_token};
use crate::permits::Permit;
use transport::engineio::{Engine, EngineHandler, HandshakeRefusal, NewSession, Options, VERSION};

/// The path of Socket.IO clients.
pub const PATH: &str = "/socket.io";

/// The hub as the host of an Engine.IO server.
pub(super) struct SocketIo {
    hub: Hub,
}

/// The data of a handshake that its connection needs.
pub(super) struct HandshakeData {
    permit: Permit,
    /// The permit among unauthenticated connections.
    unauthenticated: UnauthenticatedPermit,
    remote: String,
    /// The token of the request. Most clients send it later, with CONNECT.
    handshake_token: Result<String, TokenProblem>,
}

/// The Engine.IO server of one worker.
pub(super) fn engine(hub: &Hub) -> Engine<SocketIo> {
    let config = &hub.shared.config;
    let options = Options {
        ping_interval: config.limits.ping_interval,
        ping_timeout: config.limits.pong_timeout,
        subprotocol: Some(SUBPROTOCOL),
        request_timeout: config.server.connect_timeout,
        transport: Arc::clone(&hub.transport),
    };
    Engine::new(SocketIo { hub: hub.clone() }, options, Arc::clone(&hub.engine_sessions))
}

impl EngineHandler for SocketIo {
    type HandshakeData = HandshakeData;

    fn allows_origin(&self, headers: &HeaderMap) -> bool {
        is_allowed(&self.hub.shared.config.server.allowed_origins, headers)
    }

    fn on_handshake(&self, request: &RequestHead) -> Result<HandshakeData, HandshakeRefusal> {
        let hub = &self.hub;
        refuse_while_draining(hub)?;
        let authorization = authorization(&request.headers);
        let server = &hub.shared.config.server;
        // Without a token here it comes with CONNECT, or the client gets the error there.
        let (query, allow_query) = (request.uri.query(), server.allow_query_token);
        let credentials = find_token(authorization.as_deref(), None, query, allow_query);
        let handshake_token = credentials.token.map(Cow::into_owned);
        let proxies = &server.trusted_proxies;
        let address = client_address(request, proxies);
        let address = address.map(|address| hub.connection_limits.admit_unauthenticated(address));
        let address = address.transpose().map_err(|full| {
            hub.shared.metrics.http_refused.inc(full as usize);
            Problem::unavailable("too many unauthenticated connections from this address", 5)
        })?;
        let remote = remote_address(request, proxies);
        let (permit, unauthenticated) =
            (take_connection_permit(hub)?, take_unauthenticated_permit(hub)?);
        let unauthenticated = UnauthenticatedPermit::new(unauthenticated, address.flatten());
        Ok(HandshakeData { permit, unauthenticated, remote, handshake_token })
    }

    fn unavailable(&self, detail: &'static str) -> actix_web::Error {
        Problem::unavailable(detail, 1).into()
    }

    /// Old clients retry for ever without a message to their users, so the operator has to see
    /// them.
    fn refused_version(&self, request: &RequestHead, version: Option<&str>) {
        self.hub.shared.metrics.unsupported_clients.inc();
        // A request without a version is not from a stock client.
        let Some(version) = version else { return };
        let agent = request.headers.get(header::USER_AGENT);
        let agent = String::from_utf8_lossy(agent.map_or(b"", HeaderValue::as_bytes));
        if let Some(agent) = self.hub.unsupported_clients.first(&agent) {
            let version: String = version.chars().take(8).collect();
            log::warn!(
                "a Socket.IO client is too old or too new: it speaks EIO {version:?}, and {VERSION} is served \
                 (socket.io-client 3 and later); its user agent is {agent}"
            );
        }
    }

    fn on_connect(&self, data: HandshakeData, new_session: NewSession) {
        let HandshakeData { permit, unauthenticated, remote, handshake_token } = data;
        Connection::open(ConnectionParams {
            client: ClientKind::SocketIo { handshake_token, unauthenticated },
            inbound: new_session.inbound,
            outbox: new_session.outbox,
            remote,
            permit,
            shared: self.hub.shared.clone(),
            supervisor: self.hub.supervisor().clone(),
        });
    }
}

impl From<Problem> for HandshakeRefusal {
    fn from(problem: Problem) -> Self {
        Self::Host(problem.into())
    }
}
