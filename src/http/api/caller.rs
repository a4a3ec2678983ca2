//! Back ends, which may do everything here that their token's role or their API key's scopes allow.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use crate::auth::{Principal, Scope};
use crate::http::access::allowed;
use crate::http::problem::Problem;

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
