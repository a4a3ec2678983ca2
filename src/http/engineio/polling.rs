//! Ordinary requests: handshakes, GETs and POSTs.

use std::time::Duration;

use actix_http::Method;
use actix_web::ResponseError;
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::polling_sessions::new_sid;
use super::{Engine, EngineHandler, NewSession, RequestTarget, TransportKind, reply};
use crate::http::problem::Problem;
use crate::http::request_body::{self, payload_refusal};
use crate::http::request_lifecycle::respond_without_reading;
use crate::transport::{Polling, Post, open_polling};
use protocol::close::CloseCode;
use protocol::socketio::engine::EngineError;

/// Why a body was not read.
enum BodyError {
    /// The body is over the message limit.
    TooBig,
    /// The body took too long.
    Slow,
    /// Too many bytes are in progress.
    Full,
    /// The client went away.
    Lost,
}

// === impl BodyError ===

impl From<&PayloadError> for BodyError {
    fn from(error: &PayloadError) -> Self {
        match (payload_refusal(error), error) {
            (Some(request_body::BodyRefusal::Full), _) => Self::Full,
            (Some(request_body::BodyRefusal::TooSlow), _) => Self::Slow,
            (None, PayloadError::Overflow) => Self::TooBig,
            (None, _) => Self::Lost,
        }
    }
}

// === impl Engine ===

impl<H: EngineHandler> Engine<H> {
    /// Answers an ordinary request.
    pub(super) async fn serve(&self, request: HttpRequest, payload: web::Payload) -> HttpResponse {
        let polling = match self.classify(request.head(), false) {
            Ok(RequestTarget::Session(polling)) => polling,
            Ok(RequestTarget::Handshake) => return self.open_polling_session(&request).await,
            Err(refusal) => {
                return respond_without_reading(reply::refusal(refusal), payload.into_inner());
            }
        };
        match *request.method() {
            Method::GET => poll(&polling).await,
            Method::POST => {
                let limits =
                    (self.options.transport.max_message_bytes, self.options.request_timeout);
                post(&polling, &request, payload.into_inner(), limits).await
            }
            _ => respond_without_reading(
                reply::refusal(EngineError::BadRequest),
                payload.into_inner(),
            ),
        }
    }

    /// Starts a session that polls, and answers with its open packet.
    async fn open_polling_session(&self, request: &HttpRequest) -> HttpResponse {
        let data = match self.handler.on_handshake(request.head()) {
            Ok(data) => data,
            Err(refused) => return reply::refused(refused),
        };
        let Some(sid) = new_sid() else {
            return reply::refused(Problem::unavailable("no randomness", 1).into());
        };
        let id_guard = Box::new(self.sessions.id_guard(&sid));
        let (inbound, outbox, polling) = open_polling(&self.options.transport, id_guard);
        self.sessions.insert(&sid, polling.clone());
        // Fails only when the outbox is closed, which it is not yet.
        let _ = outbox.push(self.open_packet(&sid, TransportKind::Polling));
        // Before the handler can push a packet: this answer has the open packet alone.
        let answer = polling.poll();
        self.handler
            .on_connect(data, NewSession { sid, inbound, outbox, kind: TransportKind::Polling });
        match answer {
            Ok(answer) => answer.await.map_or_else(reply::poll_error, reply::payload),
            Err(error) => reply::poll_error(error),
        }
    }
}

/// A GET waits for packets of the session.
async fn poll(polling: &Polling) -> HttpResponse {
    match polling.poll() {
        Ok(answer) => answer.await.map_or_else(reply::poll_error, reply::payload),
        Err(error) => reply::poll_error(error),
    }
}

/// A POST is answered when the session has taken its packets.
async fn post(
    polling: &Polling,
    request: &HttpRequest,
    mut payload: Payload,
    limits: (usize, Duration),
) -> HttpResponse {
    let post = match polling.post() {
        Ok(post) => post,
        Err(error) => return respond_without_reading(reply::poll_error(error), payload),
    };
    match read(request, &mut payload, limits).await {
        Ok(body) => match post.deliver(body).await {
            Ok(()) => reply::taken(),
            Err(error) => reply::poll_error(error),
        },
        Err(unread) => respond_without_reading(refuse(post, &unread).await, payload),
    }
}

async fn refuse(post: Post, unread: &BodyError) -> HttpResponse {
    match unread {
        BodyError::TooBig => {
            post.refuse(CloseCode::TOO_BIG).await;
            reply::bare(StatusCode::PAYLOAD_TOO_LARGE)
        }
        BodyError::Slow => {
            post.refuse(CloseCode::PROTOCOL_ERROR).await;
            reply::bare(StatusCode::REQUEST_TIMEOUT)
        }
        // The session continues: this is not its fault.
        BodyError::Full => {
            post.decline();
            Problem::unavailable("too much is under way", 1).error_response()
        }
        // The POST's drop reports that the client is gone.
        BodyError::Lost => reply::refusal(EngineError::BadRequest),
    }
}

/// Reads a body within its limits of bytes and of time. An announced length over the limit is
/// refused at once.
async fn read(
    request: &HttpRequest,
    payload: &mut Payload,
    (limit, request_timeout): (usize, Duration),
) -> Result<Bytes, BodyError> {
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| usize::try_from(length).map_or(true, |bytes| bytes > limit)) {
        return Err(BodyError::TooBig);
    }
    let whole = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| BodyError::from(&error))?;
            if body.len() + chunk.len() > limit {
                return Err(BodyError::TooBig);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    tokio::time::timeout(request_timeout, whole).await.unwrap_or(Err(BodyError::Slow))
}
