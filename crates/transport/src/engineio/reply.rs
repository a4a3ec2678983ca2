//! The answers of an engine.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use bytes::Bytes;

use super::HandshakeRefusal;
use crate::PollError;
use protocol::socketio::engine::EngineError;

const NO_STORE: &str = "no-store";

/// The answer to a GET.
pub(super) fn payload(body: Bytes) -> HttpResponse {
    reply(StatusCode::OK, "text/plain; charset=UTF-8", body)
}

/// The answer to an accepted POST. A browser would offer plain text as a download.
pub(super) fn taken() -> HttpResponse {
    reply(StatusCode::OK, "text/html", Bytes::from_static(b"ok"))
}

/// An answer with a status and no body.
pub(super) fn bare(status: StatusCode) -> HttpResponse {
    HttpResponse::build(status).insert_header((CACHE_CONTROL, NO_STORE)).finish()
}

/// One of Engine.IO's own errors.
pub(super) fn refusal(refusal: EngineError) -> HttpResponse {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    reply(status, "application/json", Bytes::from_static(refusal.json().as_bytes()))
}

/// The answer to a refused handshake.
pub(super) fn refused(refused: HandshakeRefusal) -> HttpResponse {
    match refused {
        HandshakeRefusal::Engine(reason) => refusal(reason),
        HandshakeRefusal::Host(error) => error.error_response(),
    }
}

/// The answer to a request that its session cannot serve.
pub(super) fn poll_error(error: PollError) -> HttpResponse {
    refusal(match error {
        PollError::Ended => EngineError::UnknownSid,
        PollError::Moved | PollError::Overlap | PollError::Malformed => EngineError::BadRequest,
    })
}

fn reply(status: StatusCode, kind: &'static str, body: Bytes) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((CONTENT_TYPE, kind))
        .insert_header((CACHE_CONTROL, NO_STORE))
        .body(body)
}
