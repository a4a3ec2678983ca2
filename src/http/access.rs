//! Who asks over HTTP: the token or API key in the `Authorization` header, and what it allows.

use std::borrow::Cow;
use std::cell::RefCell;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_http::ConnectionType;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, ResponseError, web};

use super::engineio::Sessions;
use super::patience::time_body;
use super::problem::Problem;
use super::{Hub, Listener};
use crate::auth::{AuthError, Principal, Scope, find_token};
use crate::protocol::error::{ErrorCode, Failure};
use crate::time::Timestamp;
use crate::transport::Polling;

/// Somebody who may look: support, admin, or a key for it.
pub(super) struct Viewer;

/// Somebody who may change things: admin, or a key for it.
pub(super) struct Admin(pub(super) Principal);

/// Somebody who may see the metrics and the API's description: whoever reaches an address of
/// operation's own, else an admin or a key for it.
pub(super) struct Operator;

/// An answer that keeps the request's body until it is sent: a body that was neither read nor kept
/// would make actix wait for the rest of it, however long that takes.
pub struct Answer {
    body: BoxBody,
    _unread: Option<Unread>,
}

/// A body that nobody has read to its end.
enum Unread {
    Whole(#[expect(dead_code, reason = "it is only kept")] Payload),
    Rest(#[expect(dead_code, reason = "it is only kept")] Rc<RefCell<Payload>>),
}

/// Ends the connection behind the answer to somebody unknown, whose body nobody reads. The first
/// head of a connection has to come in time, but actix waits for the next ones, and for the rest of
/// a chunked body, as long as it takes.
///
/// Known is who has a token, and who names an Engine.IO session in which somebody has logged in: its
/// polls follow each other on one connection. Of a session in which nobody has yet, which anybody
/// may begin, POSTs are read (up to a limit, for a time), for the login is in one of them.
///
/// # Errors
/// Those of the route.
pub async fn one_request_for_strangers<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<Answer>, actix_web::Error> {
    let known = identify_in_time(request.request()).await.ok();
    let session = if known.is_none() { session(request.request()) } else { None };
    let is_read = known.is_some()
        || session
            .as_ref()
            .is_some_and(|session| session.is_vouched_for() || request.method() == Method::POST);
    let mut unread = (!is_read).then(|| Unread::Whole(request.take_payload()));
    let patience = hub(request.request()).map(|hub| hub.shared.config.server.connect_timeout);
    let slow = patience.ok().filter(|_| is_read).and_then(|time| time_body(&mut request, time));
    let is_known = known.is_some();
    if let Some(known) = known {
        request.extensions_mut().insert(known);
    }
    let mut answer = next.call(request).await?;
    // Looked at behind the answer: the login may have come while a poll waited.
    let is_known = is_known || session.is_some_and(|session| session.is_vouched_for());
    // What is still to come of a body that was too slow, or too long, nobody waits for.
    if matches!(answer.status(), StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE) {
        unread = unread.or(slow.map(Unread::Rest));
    }
    if !is_known || unread.is_some() {
        answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(answer.map_body(|_, body| Answer { body: body.boxed(), _unread: unread }))
}

fn session(request: &HttpRequest) -> Option<Polling> {
    request.app_data::<web::Data<Sessions>>()?.of(request.head())
}

/// Answers without reading the body, and ends the connection behind that.
pub(super) fn answer_unread(
    response: HttpResponse<BoxBody>,
    unread: Payload,
) -> HttpResponse<BoxBody> {
    let mut response = response
        .map_body(|_, body| Answer { body, _unread: Some(Unread::Whole(unread)) })
        .map_into_boxed_body();
    response.head_mut().set_connection_type(ConnectionType::Close);
    response
}

impl MessageBody for Answer {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<web::Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

/// Who a request says it is from.
fn principal(request: &HttpRequest) -> Result<Principal, Problem> {
    let known = request.extensions().get::<Principal>().cloned();
    known.map_or_else(|| identify(request), Ok)
}

/// As [`identify`], but where the token's key may be among those that are being fetched, this waits
/// for them.
async fn identify_in_time(request: &HttpRequest) -> Result<Principal, Problem> {
    let judged = identify(request);
    let is_open = |problem: &Problem| problem.status_code() == StatusCode::SERVICE_UNAVAILABLE;
    if judged.as_ref().is_err_and(is_open)
        && let Some(settled) = hub(request)?.shared.verifier.settling()
    {
        settled.await;
        return identify(request);
    }
    judged
}

fn identify(request: &HttpRequest) -> Result<Principal, Problem> {
    let hub = hub(request)?;
    let authorization = authorization(request.headers());
    let token = find_token(authorization.as_deref(), None, None, false).token;
    let token = token.map_err(|problem| {
        Problem::unauthenticated(Failure::new(ErrorCode::Unauthenticated, problem.to_string()))
    })?;
    let now = Timestamp::now();
    let principal = hub.shared.verifier.principal(&token, now).map_err(|error| {
        if let AuthError::Invalid(reason) = &error {
            log::debug!("a token was refused: {reason}");
        }
        Problem::unauthenticated(Failure::from(&error))
    })?;
    let removed = principal.identity().and_then(|user| hub.shared.bans.from_hub(&user.user, now));
    match removed {
        Some(_) => Err(forbidden("removed by an admin")),
        None => Ok(principal),
    }
}

/// The header `Authorization`, all of its lines: of two, another reader might take the other.
/// Together they are no token.
pub(super) fn authorization(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    super::upgrade::joined(headers, &header::AUTHORIZATION)
}

fn hub(request: &HttpRequest) -> Result<&web::Data<Hub>, Problem> {
    request.app_data().ok_or_else(|| {
        Failure::new(ErrorCode::Internal, "the routes were set up without a hub").into()
    })
}

fn forbidden(detail: impl Into<Cow<'static, str>>) -> Problem {
    Failure::new(ErrorCode::Forbidden, detail).into()
}

/// Who asks, if they may. `whom` says who may by a token.
pub(super) fn allowed(
    request: &HttpRequest,
    scope: Scope,
    whom: &'static str,
) -> Result<Principal, Problem> {
    let principal = principal(request)?;
    if principal.may(scope) {
        return Ok(principal);
    }
    Err(match principal {
        Principal::Identity(_) => forbidden(whom),
        Principal::Service(_) => forbidden(format!("the key has no scope {}", scope.as_str())),
    })
}

/// Anybody known.
impl FromRequest for Principal {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(principal(request))
    }
}

impl FromRequest for Viewer {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(allowed(request, Scope::AdminRead, "for support and admins").map(|_| Self))
    }
}

impl FromRequest for Admin {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(allowed(request, Scope::AdminWrite, "for admins").map(Self))
    }
}

impl FromRequest for Operator {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let listener = request.app_data::<web::Data<Listener>>();
        if listener.is_some_and(|listener| listener.trusts_everybody()) {
            return ready(Ok(Self));
        }
        ready(allowed(request, Scope::MetricsRead, "for admins").map(|_| Self))
    }
}
