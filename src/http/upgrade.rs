//! The upgrade to WebSocket: the request is checked here, then the transport gets the raw socket.
//!
//! actix passes on every request for a WebSocket, whatever its path or method. So everything is
//! checked here, and refusals are written as ordinary HTTP answers.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_codec::Framed;
use actix_http::{HttpMessage, Request, RequestHead, Response, h1};
use actix_service::{ServiceFactory, fn_service};
use actix_web::ResponseError as _;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web_actors::ws::HandshakeError;
use bytes::Bytes;
use tokio::net::TcpStream;

use super::Hub;
use super::access::authorization;
use super::connection::{ConnectionSlot, HttpStream, lingering_close, take_socket};
use super::origin::is_allowed;
use super::problem::Problem;
use super::socketio;
use crate::actors::connection::{ClientKind, Connection, ConnectionParams};
use crate::actors::shared::rate_limited;
use crate::auth::{AuthError, Credentials, Identity, SUBPROTOCOL, find_token};
use crate::config::{Networks, Origins};
use crate::permits::{Permit, Permits};
use crate::rate_limit::users::RateKind;
use crate::transport::{self, Frame};
use protocol::close::CloseCode;
use protocol::codec::Codec;
use protocol::error::{ErrorCode, Failure};
use protocol::server::{ServerEvent, SessionEnd};
use protocol::time::Timestamp;

/// How long a client may take to read a refusal.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// When a client should come back after a limit was reached.
const FULL_RETRY_SECS: u16 = 5;

type Upgraded = (Request, Framed<HttpStream, h1::Codec>);
type Socket = Framed<TcpStream, h1::Codec>;

/// Why an upgrade was refused.
enum UpgradeRefusal {
    /// Sent as an HTTP answer.
    Http(Problem),
    /// Sent as a close code, because the client is a browser, which cannot see an HTTP status. With
    /// the milliseconds after which to come back, if known.
    Close(CloseCode, Option<u64>),
}

impl UpgradeRefusal {
    /// Whether the same request may pass later.
    fn is_temporary(&self) -> bool {
        match self {
            Self::Http(problem) => problem.status_code() == StatusCode::SERVICE_UNAVAILABLE,
            Self::Close(close, _) => *close == CloseCode::TRY_LATER,
        }
    }
}

/// The service that handles upgrades.
pub fn service(
    hub: Hub,
) -> impl ServiceFactory<Upgraded, Config = (), Response = (), Error = Infallible, InitError = ()> {
    let engine = Rc::new(socketio::engine(&hub));
    let hub = Rc::new(hub);
    fn_service(move |(request, framed): Upgraded| {
        let (hub, engine) = (Rc::clone(&hub), Rc::clone(&engine));
        async move {
            // The permits are held while the request is checked, and until a refusal is sent.
            let Some((socket, slot)) = take_socket(framed) else { return Ok(()) };
            // One arm for each framing with a path.
            match request.path() {
                "/ws" => upgrade_plain(&hub, &request, socket, slot).await,
                path if engine.serves(path) => {
                    engine.upgrade(&request, socket, Box::new(slot)).await;
                }
                _ => refuse(socket, Problem::not_found().into_upgrade_response()).await,
            }
            Ok(())
        }
    })
}

/// Serves a request for a WebSocket of the plain framing.
async fn upgrade_plain(hub: &Hub, request: &Request, framed: Socket, slot: ConnectionSlot) {
    let mut outcome = check_upgrade(hub, request);
    // The token's key may be among keys that are being fetched.
    if outcome.as_ref().is_err_and(UpgradeRefusal::is_temporary)
        && let Some(settled) = hub.shared.verifier.wait_for_keys()
    {
        settled.await;
        outcome = check_upgrade(hub, request);
    }
    match outcome {
        Ok((identity, permit)) => open(hub, request, framed, identity, permit),
        Err(UpgradeRefusal::Http(problem)) => refuse(framed, problem.into_upgrade_response()).await,
        Err(UpgradeRefusal::Close(close, after)) => {
            accept_and_close(hub, request, framed, (close, after), slot);
        }
    }
}

/// The service of an address that has no WebSocket.
pub fn refuse_all()
-> impl ServiceFactory<Upgraded, Config = (), Response = (), Error = Infallible, InitError = ()> {
    fn_service(|(_, framed): Upgraded| async move {
        if let Some((socket, _slot)) = take_socket(framed) {
            refuse(socket, Problem::not_found().into_upgrade_response()).await;
        }
        Ok(())
    })
}

/// Checks a request for a WebSocket, the cheapest checks first.
fn check_upgrade(hub: &Hub, request: &Request) -> Result<(Identity, Permit), UpgradeRefusal> {
    check_handshake(request).map_err(UpgradeRefusal::Http)?;
    let headers = request.headers();
    check_origin(&hub.shared.config.server.allowed_origins, headers)
        .map_err(UpgradeRefusal::Http)?;
    let protocols = list_header(headers, &header::SEC_WEBSOCKET_PROTOCOL);
    let authorization = authorization(headers);
    let credentials =
        credentials(hub, request.head(), authorization.as_deref(), protocols.as_deref());
    let refuse = |problem: Problem, close| {
        if credentials.offers_subprotocol {
            UpgradeRefusal::Close(close, None)
        } else {
            UpgradeRefusal::Http(problem)
        }
    };
    if let Err(problem) = refuse_while_draining(hub) {
        return Err(refuse(problem, CloseCode::TRY_LATER));
    }
    let identity = identify(hub, &credentials).map_err(|failure| {
        let close = match failure.code {
            ErrorCode::TokenExpired => CloseCode::TOKEN_EXPIRED,
            ErrorCode::Unavailable => CloseCode::TRY_LATER,
            _ => CloseCode::UNAUTHENTICATED,
        };
        let after = failure.retry_after_ms;
        match refuse(Problem::unauthenticated(failure), close) {
            UpgradeRefusal::Close(close, _) => UpgradeRefusal::Close(close, after),
            told @ UpgradeRefusal::Http(_) => told,
        }
    })?;
    if hub.shared.bans.from_hub(&identity.user, Timestamp::now()).is_some() {
        let failure = Failure::new(ErrorCode::Forbidden, "removed by an admin");
        return Err(refuse(failure.into(), CloseCode::REMOVED));
    }
    if let Err(failure) = take_login_rate(hub, &identity) {
        let after = failure.retry_after_ms;
        return Err(if credentials.offers_subprotocol {
            UpgradeRefusal::Close(CloseCode::FLOOD, after)
        } else {
            UpgradeRefusal::Http(failure.into())
        });
    }
    let permit =
        take_connection_permit(hub).map_err(|problem| refuse(problem, CloseCode::TRY_LATER))?;
    Ok((identity, permit))
}

/// Checks that the user does not connect too often, and was not just cut for a flood.
fn take_login_rate(hub: &Hub, identity: &Identity) -> Result<(), Failure> {
    let now = Instant::now();
    let rates = hub.shared.users.of(&identity.user, now);
    // A login that has to wait anyway does not count.
    let waits = rates.flood_wait(now).or_else(|| rates.take(RateKind::Login, now).err());
    waits.map_or(Ok(()), |wait| {
        hub.shared.metrics.rejected.inc(ErrorCode::RateLimited as usize);
        Err(rate_limited("too many logins", wait))
    })
}

/// Refuses new connections during the drain.
pub(super) fn refuse_while_draining(hub: &Hub) -> Result<(), Problem> {
    if !hub.shared.is_draining() {
        return Ok(());
    }
    hub.shared.metrics.upgrades_refused.inc();
    Err(Problem::unavailable("the hub restarts", 1))
}

/// Takes a permit for an open connection.
pub(super) fn take_connection_permit(hub: &Hub) -> Result<Permit, Problem> {
    take_permit(&hub.shared.connections, "too many connections", hub)
}

/// Takes a permit for an unauthenticated connection.
pub(super) fn take_unauthenticated_permit(hub: &Hub) -> Result<Permit, Problem> {
    take_permit(&hub.shared.unauthenticated, "too many connections without a login", hub)
}

fn take_permit(places: &Permits, full: &'static str, hub: &Hub) -> Result<Permit, Problem> {
    places.take().ok_or_else(|| {
        hub.shared.metrics.upgrades_refused.inc();
        Problem::unavailable(full, FULL_RETRY_SECS)
    })
}

fn check_handshake(request: &Request) -> Result<(), Problem> {
    actix_http::ws::verify_handshake(request.head()).map_err(|error| {
        let bad = |status| Problem::new(status, ErrorCode::BadEnvelope, error.to_string());
        match error {
            HandshakeError::GetMethodRequired => Problem::method_not_allowed("GET"),
            HandshakeError::NoVersionHeader | HandshakeError::UnsupportedVersion => {
                bad(StatusCode::UPGRADE_REQUIRED)
                    .with_header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
            }
            _ => bad(StatusCode::BAD_REQUEST),
        }
    })
}

fn check_origin(allowed: &Origins, headers: &HeaderMap) -> Result<(), Problem> {
    if is_allowed(allowed, headers) {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::Forbidden, "this origin is not in ALLOWED_ORIGINS").into())
}

pub(super) fn credentials<'a>(
    hub: &Hub,
    request: &'a RequestHead,
    authorization: Option<&'a str>,
    protocols: Option<&'a str>,
) -> Credentials<'a> {
    find_token(
        authorization,
        protocols,
        request.uri.query(),
        hub.shared.config.server.allow_query_token,
    )
}

fn identify(hub: &Hub, credentials: &Credentials<'_>) -> Result<Identity, Failure> {
    let token = credentials
        .token
        .as_ref()
        .map_err(|problem| Failure::new(ErrorCode::Unauthenticated, problem.to_string()))?;
    hub.shared.verifier.verify(token, Timestamp::now()).map_err(|error| {
        if let AuthError::Invalid(reason) = &error {
            log::debug!("a token was refused: {reason}");
        }
        Failure::from(&error)
    })
}

fn open(hub: &Hub, request: &Request, framed: Socket, identity: Identity, permit: Permit) {
    let remote = remote_address(request.head(), &hub.shared.config.server.trusted_proxies);
    let head = switching_response(request);
    match transport::accept(framed, head, &hub.transport) {
        Ok((inbound, outbox)) => Connection::open(ConnectionParams {
            client: ClientKind::Plain(identity),
            inbound,
            outbox,
            remote,
            permit,
            shared: hub.shared.clone(),
            supervisor: hub.supervisor().clone(),
        }),
        Err(error) => log::debug!("a client was gone before its session began: {error}"),
    }
}

/// The 101 answer, with the subprotocol if the client offered one.
pub(super) fn switching_response(request: &Request) -> Bytes {
    let headers = request.headers();
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map_or(&[][..], HeaderValue::as_bytes);
    let offered = list_header(headers, &header::SEC_WEBSOCKET_PROTOCOL).unwrap_or_default();
    let chosen = offered.split(',').any(|offer| offer.trim() == SUBPROTOCOL).then_some(SUBPROTOCOL);
    transport::switching_protocols(key, chosen)
}

/// Accepts a WebSocket only to close it with a reason.
fn accept_and_close(
    hub: &Hub,
    request: &Request,
    framed: Socket,
    (close, reconnect_after_ms): (CloseCode, Option<u64>),
    slot: ConnectionSlot,
) {
    match transport::accept(framed, switching_response(request), &hub.transport) {
        Ok((inbound, outbox)) => {
            let event = ServerEvent::SessionEnd(SessionEnd::new(close, reconnect_after_ms));
            let last = Frame::text(|buffer| Codec::Plain.event(&event, buffer));
            outbox.finish(Some(last), close);
            // The stream ends when the peer has answered, or after the close timeout.
            actix_rt::spawn(async move {
                let (mut inbound, _slot) = (inbound, slot);
                while futures_util::StreamExt::next(&mut inbound).await.is_some() {}
            });
        }
        Err(error) => log::debug!("a client was gone before it was refused: {error}"),
    }
}

/// Writes an HTTP answer and ends the connection.
pub(super) async fn refuse(framed: Socket, response: Response<Bytes>) {
    let send = async {
        if let Ok(framed) = h1::SendResponse::new(framed, response).await {
            lingering_close(framed.into_parts().io).await;
        }
    };
    if tokio::time::timeout(REFUSAL_TIMEOUT, send).await.is_err() {
        log::debug!("a client did not read its refusal");
    }
}

/// The client's address as text, for logs.
pub(super) fn remote_address(request: &RequestHead, proxies: &Networks) -> String {
    client_address(request, proxies).map_or_else(|| "unknown".to_owned(), |it| it.to_string())
}

/// The client's address. If the peer is one of our proxies, it is the last entry of
/// `X-Forwarded-For` that is not one of our proxies. Clients can forge the entries before that, and
/// those before an invalid address.
pub(super) fn client_address(request: &RequestHead, proxies: &Networks) -> Option<IpAddr> {
    let peer = request.peer_addr?.ip();
    if !proxies.contains(peer) {
        return Some(peer);
    }
    let forwarded = HeaderName::from_static("x-forwarded-for");
    let hops = list_header(&request.headers, &forwarded).unwrap_or_default();
    let client = hops
        .rsplit(',')
        .map_while(|hop| hop_address(hop.trim()))
        .find(|hop| !proxies.contains(*hop));
    Some(client.unwrap_or(peer))
}

/// The address in an entry of `X-Forwarded-For`. Some proxies also write the port, and IPv6 in
/// brackets.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(hop);
    let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port)
}

/// The value of a list header, which may come in several lines (RFC 9110, section 5.3).
pub(super) fn list_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    let mut lines = headers.get_all(name).filter_map(|value| value.to_str().ok());
    let first = Cow::Borrowed(lines.next()?);
    Some(lines.fold(first, |list, line| format!("{list},{line}").into()))
}
