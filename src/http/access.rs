//! Authentication over HTTP: the token or API key in the `Authorization` header, and what it
//! allows.

use std::borrow::Cow;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{FromRequest, HttpMessage, HttpRequest, ResponseError, web};

use super::problem::Problem;
use super::request_head::authorization;
use super::{Hub, RouteSet};
use crate::auth::{AuthError, Principal, Scope, TokenProblem, basic_password, find_token};
use protocol::error::{ErrorCode, Failure};
use protocol::time::Timestamp;

/// The path below which apps post that only track a phone.
const TRACKERS: &str = "/api/v1/drivers/me/locations/";

/// A caller that may look: support, admin, or a key with the scope.
pub(super) struct Viewer;

/// A caller that may change things: admin, or a key with the scope.
pub(super) struct Admin(pub(super) Principal);

/// A caller that may see the metrics and the API's description. That is every caller of an address
/// that is open to operators ([`super::RouteSet`]); elsewhere an admin or a key with the scope.
pub(super) struct Operator;

/// The caller whom the token or API key of a request names.
fn principal(request: &HttpRequest) -> Result<Principal, Problem> {
    let known = request.extensions().get::<Principal>().cloned();
    known.map_or_else(|| identify(request), Ok)
}

/// Like [`identify`], but waits where the token's key may be among keys that are being fetched.
pub(super) async fn identify_awaiting_keys(request: &HttpRequest) -> Result<Principal, Problem> {
    let judged = identify(request);
    let is_open = |problem: &Problem| problem.status_code() == StatusCode::SERVICE_UNAVAILABLE;
    if judged.as_ref().is_err_and(is_open)
        && let Some(settled) = hub(request)?.shared.verifier.wait_for_keys()
    {
        settled.await;
        return identify(request);
    }
    judged
}

fn identify(request: &HttpRequest) -> Result<Principal, Problem> {
    let hub = hub(request)?;
    let is_tracker = request.path().starts_with(TRACKERS);
    let unauthenticated = |failure: Failure| {
        let problem = Problem::from(failure);
        let asks_again = is_tracker && problem.status_code() == StatusCode::UNAUTHORIZED;
        let basic = HeaderValue::from_static("Basic realm=\"orderhub\"");
        if asks_again { problem.with_header(header::WWW_AUTHENTICATE, basic) } else { problem }
    };
    let token = offered_token(request, is_tracker, hub.shared.config.server.allow_query_token);
    let token = token.map_err(|problem| {
        unauthenticated(Failure::new(ErrorCode::Unauthenticated, problem.to_string()))
    })?;
    let now = Timestamp::now();
    let principal = hub.shared.verifier.principal(&token, now).map_err(|error| {
        if let AuthError::Invalid(reason) = &error {
            log::debug!("a token was refused: {reason}");
        }
        unauthenticated(Failure::from(&error))
    })?;
    let removed = principal.identity().and_then(|user| hub.shared.bans.from_hub(&user.user, now));
    match removed {
        Some(_) => Err(forbidden("removed by an admin")),
        None => Ok(principal),
    }
}

/// The token of a request. Apps that only track a phone may send it as a password or in the query.
fn offered_token(
    request: &HttpRequest,
    is_tracker: bool,
    allow_query: bool,
) -> Result<String, TokenProblem> {
    let authorization = authorization(request.headers());
    let authorization = authorization.as_deref();
    let password = authorization.filter(|_| is_tracker).and_then(basic_password);
    let bearer = password.map(|token| format!("Bearer {token}"));
    let query = is_tracker.then(|| request.query_string());
    let found = find_token(bearer.as_deref().or(authorization), None, query, allow_query);
    found.token.map(Cow::into_owned)
}

fn hub(request: &HttpRequest) -> Result<&web::Data<Hub>, Problem> {
    request.app_data().ok_or_else(|| {
        Failure::new(ErrorCode::Internal, "the routes were set up without a hub").into()
    })
}

fn forbidden(detail: impl Into<Cow<'static, str>>) -> Problem {
    Failure::new(ErrorCode::Forbidden, detail).into()
}

/// Checks the caller's scope and returns the caller. `whom` names in the refusal who may do this
/// with a token.
pub(super) fn require_scope(
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

/// Any authenticated caller.
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
        ready(require_scope(request, Scope::AdminRead, "for support and admins").map(|_| Self))
    }
}

impl FromRequest for Admin {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(require_scope(request, Scope::AdminWrite, "for admins").map(Self))
    }
}

impl FromRequest for Operator {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let route_set = request.app_data::<web::Data<RouteSet>>();
        if route_set.is_some_and(|route_set| route_set.is_open_to_operators()) {
            return ready(Ok(Self));
        }
        ready(require_scope(request, Scope::MetricsRead, "for admins").map(|_| Self))
    }
}
