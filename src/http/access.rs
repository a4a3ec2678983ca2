//! Who asks over HTTP: the token in the `Authorization` header, and what its role allows.

use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_http::ConnectionType;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, web};

use super::engineio::Sessions;
use super::problem::Problem;
use super::{Hub, Listener};
use crate::auth::{Identity, find_token};
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::role::Role;
use crate::time::Timestamp;

/// Somebody who may look: support or admin.
pub(super) struct Viewer;

/// Somebody who may change things: admin.
pub(super) struct Admin(pub(super) Identity);

/// Somebody who may see the metrics: whoever reaches an address of operation's own, else an admin.
pub(super) struct Operator;

/// An answer that keeps the request's body until it is sent: a body that was neither read nor kept
/// would make actix wait for the rest of it, however long that takes.
pub struct Answer {
    body: BoxBody,
    _unread: Option<Payload>,
}

/// Ends the connection behind the answer to somebody unknown, whose body nobody reads. The first
/// head of a connection has to come in time, but actix waits for the next ones, and for the rest of
/// a chunked body, as long as it takes.
///
/// Known is who has a token, and who names an Engine.IO session that lives: its polls follow each
/// other on one connection, and its POSTs are read (up to a limit, for a time).
///
/// # Errors
/// Those of the route.
pub async fn one_request_for_strangers<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<Answer>, actix_web::Error> {
    let known = identify(request.request()).ok();
    let is_stranger = known.is_none() && !is_in_session(request.request());
    let unread = is_stranger.then(|| request.take_payload());
    if let Some(known) = known {
        request.extensions_mut().insert(known);
    }
    let mut answer = next.call(request).await?;
    if unread.is_some() {
        answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(answer.map_body(|_, body| Answer { body: body.boxed(), _unread: unread }))
}

fn is_in_session(request: &HttpRequest) -> bool {
    let sessions = request.app_data::<web::Data<Sessions>>();
    sessions.is_some_and(|sessions| sessions.knows(request.head()))
}

/// Answers without reading the body, and ends the connection behind that.
pub(super) fn answer_unread(
    response: HttpResponse<BoxBody>,
    unread: Payload,
) -> HttpResponse<BoxBody> {
    let mut response =
        response.map_body(|_, body| Answer { body, _unread: Some(unread) }).map_into_boxed_body();
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

/// The identity in a request's `Authorization` header.
pub(super) fn identity(request: &HttpRequest) -> Result<Identity, Problem> {
    let known = request.extensions().get::<Identity>().cloned();
    known.map_or_else(|| identify(request), Ok)
}

fn identify(request: &HttpRequest) -> Result<Identity, Problem> {
    let hub = hub(request)?;
    let authorization =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = find_token(authorization, None, None, false).token.map_err(|problem| {
        Problem::unauthenticated(Failure::new(ErrorCode::Unauthenticated, problem.to_string()))
    })?;
    let now = Timestamp::now();
    let identity = hub.shared.verifier.verify(&token, now);
    let identity = identity.map_err(|error| Problem::unauthenticated(Failure::from(&error)))?;
    match hub.shared.bans.from_hub(&identity.user, now) {
        Some(_) => Err(forbidden("removed by an admin")),
        None => Ok(identity),
    }
}

fn hub(request: &HttpRequest) -> Result<&web::Data<Hub>, Problem> {
    request.app_data().ok_or_else(|| {
        Failure::new(ErrorCode::Internal, "the routes were set up without a hub").into()
    })
}

fn forbidden(detail: &'static str) -> Problem {
    Failure::new(ErrorCode::Forbidden, detail).into()
}

impl FromRequest for Viewer {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identity(request).and_then(|identity| match identity.role {
            Role::Support | Role::Admin => Ok(Self),
            _ => Err(forbidden("for support and admins")),
        }))
    }
}

impl FromRequest for Admin {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identity(request).and_then(|identity| match identity.role {
            Role::Admin => Ok(Self(identity)),
            _ => Err(forbidden("for admins")),
        }))
    }
}

impl FromRequest for Operator {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let listener = request.app_data::<web::Data<Listener>>();
        if listener.is_some_and(|listener| listener.trusts_everybody()) {
            return ready(Ok(Self));
        }
        ready(Admin::from_request(request, payload).into_inner().map(|_| Self))
    }
}
