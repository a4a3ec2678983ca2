//! Back ends, which may do everything here that their token's role or their API key's scopes allow;
//! and users, who read at a rate of their own.

use std::future::{Ready, ready};
use std::time::{Duration, Instant};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::actors::shared::too_fast;
use crate::actors::store::{Caller, Store};
use crate::auth::{Principal, Scope};
use crate::http::Hub;
use crate::http::access::allowed;
use crate::http::problem::Problem;
use crate::session::users::Kind;

/// Somebody who may read every order.
pub(super) struct Reader;

/// Somebody who may change every order.
pub(super) struct Writer;

/// Somebody who may send events to rooms and to users.
pub(super) struct Announcer;

/// Somebody who may revoke users' tokens.
pub(super) struct Revoker(pub(super) Principal);

/// Who may by a token, in the words of a refusal.
const WHOM: &str = "for services and admins";

/// The store, as it serves whoever calls: those who may do it for every order as back ends.
pub(super) fn store_of(hub: &Hub, caller: &Principal, scope: Scope) -> Store {
    let by = if caller.may(scope) { Caller::BackEnd } else { Caller::User };
    hub.shared.store.on_behalf_of(by)
}

/// How long a read waits for those of the same user before it.
const TURN_PATIENCE: Duration = Duration::from_secs(4);
/// When a user whose reads take so long may try again.
const TURN_RETRY: Duration = Duration::from_secs(1);

/// A user's turn to read, until it is dropped. Back ends and admins need none.
///
/// # Errors
/// Where the user reads too much.
pub(super) async fn read_turn(
    hub: &Hub,
    caller: &Principal,
) -> Result<Option<OwnedSemaphorePermit>, Problem> {
    let Some(user) = caller.identity().filter(|_| !caller.may(Scope::OrdersRead)) else {
        return Ok(None);
    };
    let now = Instant::now();
    let rates = hub.shared.users.of(&user.user, now);
    rates.take(Kind::Read, now).map_err(|wait| too_fast("too many reads", wait))?;
    let turn = timeout(TURN_PATIENCE, rates.read_turn()).await;
    Ok(turn.map_err(|_| too_fast("too many reads at a time", TURN_RETRY))?)
}

impl FromRequest for Reader {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(allowed(request, Scope::OrdersRead, WHOM).map(|_| Self))
    }
}

impl FromRequest for Writer {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(allowed(request, Scope::OrdersWrite, WHOM).map(|_| Self))
    }
}

impl FromRequest for Announcer {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(allowed(request, Scope::EventsWrite, WHOM).map(|_| Self))
    }
}

impl FromRequest for Revoker {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(allowed(request, Scope::UsersWrite, WHOM).map(Self))
    }
}
