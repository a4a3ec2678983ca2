//! Ordinary requests: handshakes, GETs and POSTs.

use std::io;

use actix_http::Method;
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::{Engine, EngineHandler, NewSession, TransportKind, reply};
use crate::{PendingPoll, PollError, Polling, Post, open_polling};
use protocol::close::CloseCode;
use protocol::socketio::engine::EngineError;

/// Why a body was not read.
enum BodyError {
    /// The body is over the message limit.
    TooBig,
    /// The body took too long.
    Slow,
    /// The host has no memory for the body now.
    Full,
    /// The client went away.
    Lost,
}

// === impl BodyError ===

impl From<&PayloadError> for BodyError {
    fn from(error: &PayloadError) -> Self {
        match error {
            PayloadError::Overflow => Self::TooBig,
            PayloadError::Io(error) => match error.kind() {
                io::ErrorKind::OutOfMemory => Self::Full,
                io::ErrorKind::TimedOut => Self::Slow,
                _ => Self::Lost,
            },
            _ => Self::Lost,
        }
    }
}

// === impl Engine ===

impl<H: EngineHandler> Engine<H> {
    /// Answers an ordinary request of a session.
    pub(super) async fn serve_polling(
        &self,
        polling: &Polling,
        request: &HttpRequest,
        payload: web::Payload,
    ) -> HttpResponse {
        match *request.method() {
            Method::GET => answer(polling.poll()).await,
            Method::POST => self.post(polling, request, payload).await,
            _ => reply::refusal(EngineError::BadRequest),
        }
    }

    /// Starts a session that polls, and answers with its open packet.
    pub(super) async fn open_polling_session(&self, request: &HttpRequest) -> HttpResponse {
        let (data, sid) = match self.begin_session(request) {
            Ok(begun) => begun,
            Err(refused) => return reply::refused(refused),
        };
        let id_guard = Box::new(self.sessions.id_guard(&sid));
        let (inbound, outbox, polling) = open_polling(&self.options.transport, id_guard);
        self.sessions.insert(&sid, polling.clone());
        // Fails only when the outbox is closed, which it is not yet.
        let _ = outbox.push(self.open_packet(&sid, TransportKind::Polling));
        // Before the handler can push a packet: this answer has the open packet alone.
        let poll = polling.poll();
        self.handler
            .on_connect(data, NewSession { sid, inbound, outbox, kind: TransportKind::Polling });
        answer(poll).await
    }

    /// A POST is answered when the session has taken its packets.
    async fn post(
        &self,
        polling: &Polling,
        request: &HttpRequest,
        mut payload: web::Payload,
    ) -> HttpResponse {
        let post = match polling.post() {
            Ok(post) => post,
            Err(error) => return reply::poll_error(error),
        };
        match self.read_body(request, &mut payload).await {
            Ok(body) => {
                post.deliver(body).await.map_or_else(reply::poll_error, |()| reply::taken())
            }
            Err(unread) => self.refuse_post(post, &unread).await,
        }
    }

    async fn refuse_post(&self, post: Post, unread: &BodyError) -> HttpResponse {
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
                self.handler
                    .unavailable("the hub has too many requests in progress")
                    .error_response()
            }
            // The POST's drop reports that the client is gone.
            BodyError::Lost => reply::refusal(EngineError::BadRequest),
        }
    }

    /// Reads a body within its limits of bytes and of time. An announced length over the limit is
    /// refused at once.
    async fn read_body(
        &self,
        request: &HttpRequest,
        payload: &mut web::Payload,
    ) -> Result<Bytes, BodyError> {
        let limit = self.options.transport.max_message_bytes;
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| usize::try_from(length).map_or(true, |it| it > limit)) {
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
        let time_limit = self.options.request_timeout;
        tokio::time::timeout(time_limit, whole).await.unwrap_or(Err(BodyError::Slow))
    }
}

/// Answers a GET when the session has packets for it.
async fn answer(poll: Result<PendingPoll, PollError>) -> HttpResponse {
    match poll {
        Ok(packets) => packets.await.map_or_else(reply::poll_error, reply::payload),
        Err(error) => reply::poll_error(error),
    }
}
