//! Authentication over HTTP: the caller whom the token or API key of a request names.

use std::borrow::Cow;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{FromRequest, HttpMessage, HttpRequest, ResponseError, web};

use super::Hub;
use super::problem::Problem;
use super::request_head::authorization;
use crate::auth::{Principal, TokenProblem, basic_password, find_token};
use protocol::error::{ErrorCode, Failure};

/// The path below which apps post that only track a phone.
const TRACKERS: &str = "/api/v1/drivers/me/locations/";

/// The outcome of authentication, kept with its request.
struct Authenticated(Result<Principal, Problem>);

/// Authenticates a request, and keeps the outcome for its route.
pub(super) async fn authenticate(request: &HttpRequest) -> Option<Principal> {
    let outcome = caller_of(request).await;
    let caller = outcome.as_ref().ok().cloned();
    request.extensions_mut().insert(Authenticated(outcome));
    caller
}

async fn caller_of(request: &HttpRequest) -> Result<Principal, Problem> {
    let hub = request.app_data::<web::Data<Hub>>();
    let hub = hub.ok_or_else(|| Problem::internal("the routes were set up without a hub"))?;
    let is_tracker = request.path().starts_with(TRACKERS);
    let token = offered_token(request, is_tracker, hub.shared.config.server.allow_query_token);
    let caller = await_keys(hub, || hub.shared.authenticate(token.as_deref().map_err(|it| *it)?));
    caller.await.map_err(|failure| {
        let problem = Problem::from(failure);
        let asks_again = is_tracker && problem.status_code() == StatusCode::UNAUTHORIZED;
        let basic = HeaderValue::from_static("Basic realm=\"orderhub\"");
        if asks_again { problem.with_header(header::WWW_AUTHENTICATE, basic) } else { problem }
    })
}

/// Authenticates, and once more if the token's key may be among keys that are being fetched.
pub(super) async fn await_keys<T>(
    hub: &Hub,
    authenticate: impl Fn() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let outcome = authenticate();
    if outcome.as_ref().is_err_and(|failure| failure.code == ErrorCode::Unavailable)
        && let Some(settled) = hub.shared.verifier.wait_for_keys()
    {
        settled.await;
        return authenticate();
    }
    outcome
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

/// Any authenticated caller.
impl FromRequest for Principal {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let extensions = request.extensions();
        let outcome = extensions.get().map(|Authenticated(outcome)| outcome.clone());
        let missed = || Err(Problem::internal("the request was not authenticated"));
        ready(outcome.unwrap_or_else(missed))
    }
}
