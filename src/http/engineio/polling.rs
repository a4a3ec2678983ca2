//! Ordinary requests: handshakes, polls and POSTs.

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

use super::sessions::new_id;
use super::{Arrival, Engine, Host, Kind, Wanted, reply};
use crate::http::problem::Problem;
use crate::http::request_body::{self, unread_payload};
use crate::http::serving::answer_unread;
use crate::protocol::close::CloseCode;
use crate::protocol::socketio::engine::Refusal;
use crate::transport::{Polling, Post, open_polling};

/// Why a body was not read.
enum Unread {
    /// It is over the message limit.
    TooBig,
    /// It took too long.
    Slow,
    /// Too many bytes are under way.
    Full,
    /// The client went away.
    Lost,
}

// === impl Unread ===

impl From<&PayloadError> for Unread {
    fn from(error: &PayloadError) -> Self {
        match (unread_payload(error), error) {
            (Some(request_body::Unread::Full), _) => Self::Full,
            (Some(request_body::Unread::TooSlow), _) => Self::Slow,
            (None, PayloadError::Overflow) => Self::TooBig,
            (None, _) => Self::Lost,
        }
    }
}

// === impl Engine ===

impl<H: Host> Engine<H> {
    /// Answers an ordinary request.
    pub(super) async fn serve(&self, request: HttpRequest, payload: web::Payload) -> HttpResponse {
        let polling = match self.judge(request.head(), false) {
            Ok(Wanted::Session(polling)) => polling,
            Ok(Wanted::Handshake) => return self.shake_hands(&request).await,
            Err(refusal) => return answer_unread(reply::refusal(refusal), payload.into_inner()),
        };
        match *request.method() {
            Method::GET => poll(&polling).await,
            Method::POST => {
                let limits = (self.options.transport.max_message_bytes, self.options.patience);
                post(&polling, &request, payload.into_inner(), limits).await
            }
            _ => answer_unread(reply::refusal(Refusal::BadRequest), payload.into_inner()),
        }
    }

    /// Begins a session that polls, and answers with its open packet.
    async fn shake_hands(&self, request: &HttpRequest) -> HttpResponse {
        let ticket = match self.host.admit(request.head()) {
            Ok(ticket) => ticket,
            Err(refused) => return reply::refused(refused),
        };
        let Some(sid) = new_id() else {
            return reply::refused(Problem::unavailable("no randomness", 1).into());
        };
        let tenure = Box::new(self.sessions.tenure(&sid));
        let (inbound, outbox, polling) = open_polling(&self.options.transport, tenure);
        self.sessions.insert(&sid, polling.clone());
        // Refused only where the outbox is closed, which it is not yet.
        let _ = outbox.push(self.open_packet(&sid, Kind::Polling));
        // Before the host can say anything: this answer is the open packet alone.
        let answer = polling.poll();
        self.host.open(ticket, Arrival { sid, inbound, outbox, kind: Kind::Polling });
        match answer {
            Ok(answer) => answer.await.map_or_else(reply::poll_error, reply::payload),
            Err(error) => reply::poll_error(error),
        }
    }
}

/// A GET: waits for what the session has to say.
async fn poll(polling: &Polling) -> HttpResponse {
    match polling.poll() {
        Ok(answer) => answer.await.map_or_else(reply::poll_error, reply::payload),
        Err(error) => reply::poll_error(error),
    }
}

/// A POST: answered when the session has taken what it brings.
async fn post(
    polling: &Polling,
    request: &HttpRequest,
    mut payload: Payload,
    limits: (usize, Duration),
) -> HttpResponse {
    let post = match polling.post() {
        Ok(post) => post,
        Err(error) => return answer_unread(reply::poll_error(error), payload),
    };
    match read(request, &mut payload, limits).await {
        Ok(body) => match post.deliver(body).await {
            Ok(()) => reply::taken(),
            Err(error) => reply::poll_error(error),
        },
        Err(unread) => answer_unread(refuse(post, &unread).await, payload),
    }
}

async fn refuse(post: Post, unread: &Unread) -> HttpResponse {
    match unread {
        Unread::TooBig => {
            post.refuse(CloseCode::TOO_BIG).await;
            reply::bare(StatusCode::PAYLOAD_TOO_LARGE)
        }
        Unread::Slow => {
            post.refuse(CloseCode::PROTOCOL_ERROR).await;
            reply::bare(StatusCode::REQUEST_TIMEOUT)
        }
        // The session goes on: it is not to blame.
        Unread::Full => {
            post.put_off();
            Problem::unavailable("too much is under way", 1).error_response()
        }
        // Dropped, the POST says by itself that its client is gone.
        Unread::Lost => reply::refusal(Refusal::BadRequest),
    }
}

/// Reads a body within its limits of bytes, which a length that is announced may break at once,
/// and of time.
async fn read(
    request: &HttpRequest,
    payload: &mut Payload,
    (limit, patience): (usize, Duration),
) -> Result<Bytes, Unread> {
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| usize::try_from(length).map_or(true, |bytes| bytes > limit)) {
        return Err(Unread::TooBig);
    }
    let whole = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| Unread::from(&error))?;
            if body.len() + chunk.len() > limit {
                return Err(Unread::TooBig);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    tokio::time::timeout(patience, whole).await.unwrap_or(Err(Unread::Slow))
}
