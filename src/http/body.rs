//! Request bodies: read whole and decoded, up to a limit, or refused with a problem.

use std::borrow::Cow;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use futures_util::future::{FutureExt, LocalBoxFuture};

use super::budget::BodyCharge;
use super::decoding::{Coding, Undecodable};
use super::problem::Problem;
use super::request_body::{BodyRefusal, body_refusal};
use protocol::error::{ErrorCode, Failure};
use protocol::lenient::without_mark;

/// The largest body, in bytes. The limit holds before and after decoding.
pub(super) const MAX_BODY: usize = 1024 * 1024;

/// The bytes of a body; empty where there is no body.
pub(super) struct Body(pub(super) web::Bytes);

// === impl Body ===

impl Body {
    /// The body as text, without a byte-order mark.
    ///
    /// # Errors
    /// `invalid_payload` where it is not UTF-8.
    pub(super) fn text(&self) -> Result<&str, Failure> {
        std::str::from_utf8(&self.0)
            .map(without_mark)
            .map_err(|_| Failure::invalid("body", "the body is not UTF-8"))
    }
}

impl FromRequest for Body {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let coding = Coding::of(request.headers());
        let charge = request.extensions().get::<BodyCharge>().cloned();
        let read = web::Bytes::from_request(request, payload);
        async move {
            let bytes = read.await.map_err(refused)?;
            if bytes.is_empty() {
                return Ok(Self(bytes));
            }
            let coding = coding.map_err(|_| Problem::unsupported_coding())?;
            let grow = |bytes| charge.as_ref().is_none_or(|charge| charge.grow(bytes));
            coding.decode(bytes, MAX_BODY, grow).map(Self).map_err(undecodable)
        }
        .boxed_local()
    }
}

fn refused(error: actix_web::Error) -> Problem {
    let status = error.as_response_error().status_code();
    match body_refusal(&error) {
        Some(BodyRefusal::TooSlow) => return Problem::request_timeout(),
        Some(BodyRefusal::Full) => return full(),
        None => {}
    }
    if status == StatusCode::PAYLOAD_TOO_LARGE { too_large() } else { invalid(error.to_string()) }
}

fn undecodable(reason: Undecodable) -> Problem {
    match reason {
        Undecodable::Corrupt => invalid("the body is not what Content-Encoding says"),
        Undecodable::TooLarge => too_large(),
        Undecodable::Full => full(),
    }
}

fn full() -> Problem {
    Problem::unavailable("the hub has too many requests in progress", 1)
}

fn too_large() -> Problem {
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    Problem::new(status, ErrorCode::InvalidPayload, "the body is over 1 MiB")
}

fn invalid(detail: impl Into<Cow<'static, str>>) -> Problem {
    Failure::new(ErrorCode::InvalidPayload, detail).into()
}
