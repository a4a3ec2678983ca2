//! Callers of the API. A back end may do everything that its token's role or its API key's scopes
//! allow; a user reads at a rate of his own.

use std::future::{Ready, ready};
use std::time::{Duration, Instant};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::actors::shared::rate_limited;
use crate::actors::store::{CallerClass, Store};
use crate::auth::{Principal, Scope};
use crate::http::Hub;
use crate::http::access::require_scope;
use crate::http::problem::Problem;
use crate::rate_limit::users::RateKind;

/// A caller that may read every order.
pub(super) struct OrderReader;

/// A caller that may change every order.
pub(super) struct OrderWriter;

/// A caller that may send events to rooms and to users.
pub(super) struct EventSender;

/// A caller that may revoke users' tokens.
pub(super) struct Revoker(pub(super) Principal);

/// Who may do this with a token, for a refusal.
const WHOM: &str = "for services and admins";

/// The store for this caller. A caller with the scope for every order counts as a back end.
pub(super) fn store_of(hub: &Hub, caller: &Principal, scope: Scope) -> Store {
    let by = if caller.may(scope) { CallerClass::BackEnd } else { CallerClass::User };
    hub.shared.store.on_behalf_of(by)
}

/// How long a read waits for earlier reads of the same user.
const TURN_TIMEOUT: Duration = Duration::from_secs(4);
/// When a user whose reads take that long may try again.
const TURN_RETRY: Duration = Duration::from_secs(1);

/// Takes a user's turn to read, until the permit is dropped. Back ends and admins need none.
///
/// # Errors
/// When the user reads too much.
pub(super) async fn acquire_read(
    hub: &Hub,
    caller: &Principal,
) -> Result<Option<OwnedSemaphorePermit>, Problem> {
    let Some(user) = caller.identity().filter(|_| !caller.may(Scope::OrdersRead)) else {
        return Ok(None);
    };
    let now = Instant::now();
    let rates = hub.shared.users.of(&user.user, now);
    rates.take(RateKind::Read, now).map_err(|wait| rate_limited("too many reads", wait))?;
    let turn = timeout(TURN_TIMEOUT, rates.acquire_read()).await;
    Ok(turn.map_err(|_| rate_limited("too many reads at a time", TURN_RETRY))?)
}

impl FromRequest for OrderReader {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(require_scope(request, Scope::OrdersRead, WHOM).map(|_| Self))
    }
}

impl FromRequest for OrderWriter {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(require_scope(request, Scope::OrdersWrite, WHOM).map(|_| Self))
    }
}

impl FromRequest for EventSender {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(require_scope(request, Scope::EventsWrite, WHOM).map(|_| Self))
    }
}

impl FromRequest for Revoker {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(require_scope(request, Scope::UsersWrite, WHOM).map(Self))
    }
}
