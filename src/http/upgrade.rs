//! `/ws`: clients of the plain framing. The request is checked here, then the transport gets the
//! raw socket.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws::HandshakeError;
use futures_util::StreamExt;

use super::Hub;
use super::admission::{refuse_while_draining, take_connection_permit, take_login_rate};
use super::authentication::await_keys;
use super::origin::is_allowed;
use super::problem::Problem;
use super::request_head::{authorization, list_header, remote_address};
use crate::actors::connection::{ClientKind, Connection, ConnectionParams};
use crate::auth::{Credentials, Identity, SUBPROTOCOL, find_token};
use crate::config::Origins;
use crate::permits::Permit;
use protocol::close::CloseCode;
use protocol::codec::Codec;
use protocol::error::{ErrorCode, Failure};
use protocol::events::session_end::SessionEnd;
use protocol::server::ServerEvent;
use transport::{Accepted, Frame, RawSocket, handshake};

/// Why a client is not connected.
struct Refusal {
    /// As an HTTP answer.
    problem: Problem,
    /// As a close code, for browsers, which cannot see the status of an HTTP answer.
    close: CloseCode,
    /// When the client may come back, if known. A browser is told this beside the code.
    reconnect_after_ms: Option<u64>,
}

/// Answers a request to `/ws`.
pub(super) async fn serve(
    request: HttpRequest,
    hub: web::Data<Hub>,
) -> Result<HttpResponse, Problem> {
    if !RawSocket::is_offered(&request) {
        return Err(Problem::upgrade_required());
    }
    let response = handshake(&request, Some(SUBPROTOCOL))?;
    let server = &hub.shared.config.server;
    check_origin(&server.allowed_origins, request.headers())?;
    let authorization = authorization(request.headers());
    let protocols = list_header(request.headers(), &header::SEC_WEBSOCKET_PROTOCOL);
    let credentials = find_token(
        authorization.as_deref(),
        protocols.as_deref(),
        request.uri().query(),
        server.allow_query_token,
    );
    match admit(&hub, &credentials).await {
        Ok((identity, permit)) => open(&hub, &request, response, identity, permit),
        Err(refusal) if credentials.offers_subprotocol => {
            accept_and_close(&hub, &request, response, &refusal);
        }
        Err(refusal) => return Err(refusal.problem),
    }
    Ok(HttpResponse::new(StatusCode::SWITCHING_PROTOCOLS))
}

/// Whether the client may connect; the cheapest checks come first.
async fn admit(hub: &Hub, credentials: &Credentials<'_>) -> Result<(Identity, Permit), Refusal> {
    refuse_while_draining(hub)?;
    let token = credentials.token.as_deref().map_err(|problem| *problem);
    let identity = await_keys(hub, || hub.shared.authenticate_user(token?)).await?;
    take_login_rate(hub, &identity)?;
    let permit = take_connection_permit(hub)?;
    Ok((identity, permit))
}

fn check_origin(allowed: &Origins, headers: &HeaderMap) -> Result<(), Problem> {
    if is_allowed(allowed, headers) {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::Forbidden, "this origin is not in ALLOWED_ORIGINS").into())
}

fn open(
    hub: &Hub,
    request: &HttpRequest,
    response: HttpResponse,
    identity: Identity,
    permit: Permit,
) {
    let remote = remote_address(request.head(), &hub.shared.config.server.trusted_proxies);
    match RawSocket::accept(request, response, &hub.transport) {
        Ok(Accepted { inbound, outbox, .. }) => Connection::open(ConnectionParams {
            client: ClientKind::Plain(identity),
            inbound,
            outbox,
            remote,
            permit,
            shared: hub.shared.clone(),
            supervisor: hub.supervisor().clone(),
        }),
        Err(error) => log::debug!("a client left before its session began: {error}"),
    }
}

/// Accepts a WebSocket only to close it with a reason.
fn accept_and_close(hub: &Hub, request: &HttpRequest, response: HttpResponse, refusal: &Refusal) {
    match RawSocket::accept(request, response, &hub.transport) {
        Ok(Accepted { mut inbound, outbox, permit }) => {
            let end = SessionEnd::new(refusal.close, refusal.reconnect_after_ms);
            let event = ServerEvent::SessionEnd(end);
            let last = Frame::text(|buffer| Codec::Plain.event(&event, buffer));
            outbox.finish(Some(last), refusal.close);
            // The stream ends when the peer has answered, or after the close timeout.
            actix_rt::spawn(async move {
                while inbound.next().await.is_some() {}
                drop(permit);
            });
        }
        Err(error) => log::debug!("a client left before it was refused: {error}"),
    }
}

// === impl Refusal ===

/// The hub restarts or is full.
impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, close: CloseCode::TRY_LATER, reconnect_after_ms: None }
    }
}

/// The user may not connect.
impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let close = match failure.code {
            ErrorCode::TokenExpired => CloseCode::TOKEN_EXPIRED,
            ErrorCode::Unavailable => CloseCode::TRY_LATER,
            ErrorCode::Forbidden => CloseCode::REMOVED,
            ErrorCode::RateLimited => CloseCode::FLOOD,
            _ => CloseCode::UNAUTHENTICATED,
        };
        let reconnect_after_ms = failure.retry_after_ms;
        Self { problem: failure.into(), close, reconnect_after_ms }
    }
}

impl From<HandshakeError> for Problem {
    fn from(error: HandshakeError) -> Self {
        let bad = |status| Self::new(status, ErrorCode::BadEnvelope, error.to_string());
        match error {
            HandshakeError::GetMethodRequired => Self::method_not_allowed("GET"),
            HandshakeError::NoVersionHeader | HandshakeError::UnsupportedVersion => {
                bad(StatusCode::UPGRADE_REQUIRED)
                    .with_header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
            }
            _ => bad(StatusCode::BAD_REQUEST),
        }
    }
}
