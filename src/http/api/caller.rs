//! Who calls: a back end, which may do everything, or a user, who may do what an order allows.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use crate::auth::Identity;
use crate::http::access::identity;
use crate::http::problem::Problem;
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::role::Role;

/// Anybody with a good token.
pub(super) struct Caller(pub(super) Identity);

/// Somebody who may do everything here: a service or an admin.
pub(super) struct BackEnd;

impl Caller {
    /// Whether it may do everything here.
    pub(super) fn is_back_end(&self) -> bool {
        matches!(self.0.role, Role::Service | Role::Admin)
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identity(request).map(Self))
    }
}

impl FromRequest for BackEnd {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identity(request).map(Caller).and_then(|caller| {
            let refused = || Failure::new(ErrorCode::Forbidden, "for services and admins");
            caller.is_back_end().then_some(Self).ok_or_else(|| refused().into())
        }))
    }
}
