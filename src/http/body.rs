//! Bodies of requests: read whole, up to a limit, and refused as problems.

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::future::{FutureExt, LocalBoxFuture, TryFutureExt};

use super::problem::Problem;
use super::request_body::{Unread, unread};
use crate::protocol::error::{ErrorCode, Failure};

/// The largest body, in bytes.
pub(super) const MAX_BODY: usize = 1024 * 1024;

/// The bytes of a body; none where there is no body.
pub(super) struct Body(pub(super) web::Bytes);

impl FromRequest for Body {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        web::Bytes::from_request(request, payload).map_ok(Self).map_err(refused).boxed_local()
    }
}

fn refused(error: actix_web::Error) -> Problem {
    let status = error.as_response_error().status_code();
    match unread(&error) {
        Some(Unread::TooSlow) => return Problem::request_timeout(),
        Some(Unread::Full) => return Problem::unavailable("too much is under way", 1),
        None => {}
    }
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        return Problem::new(status, ErrorCode::InvalidPayload, "the body is over 1 MiB");
    }
    Failure::new(ErrorCode::InvalidPayload, error.to_string()).into()
}
