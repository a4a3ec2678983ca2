//! Long-polling (Engine.IO 4): a connection without a socket of its own. Its client gets what its
//! outbox holds with GETs, and sends with POSTs. Later it may move to a WebSocket.
//!
//! ```text
//! GET  ── Polling::poll ──▶ PollState ◀── FrameWriter ◀── queue ◀── Outbox
//! POST ── Polling::post ──▶    │
//! WebSocket ─ Probe ──────▶    └──▶ Inbound ──▶ Incoming
//! ```
//!
//! To the outbox, a client without a waiting GET is a socket that takes no more, so both kinds of
//! frames and all limits work the same. Bounds: one GET waits and one POST is in progress per
//! connection, a POST is within the message limit, and an answer is bounded in bytes, more tightly
//! for a slow client.

mod poll;
mod poll_state;
mod post;
mod probe;
mod requests;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use self::poll::PendingPoll;
pub(super) use self::poll_state::{PollEvent, PollState};
pub use self::post::Post;
pub(super) use self::post::PostedPackets;
pub use self::probe::Probe;
pub(super) use self::probe::UpgradedSocket;
use super::TransportOptions;
use super::frame_writer::Sink;
use super::inbound::Inbound;
use super::outbox::Outbox;
use super::queue::Queue;
use super::send_state::SendState;

/// The client's side of a connection by long-polling, for the HTTP handlers of its requests. Clones
/// are handles of the same connection, and do not keep it open.
#[derive(Debug, Clone)]
pub struct Polling(Arc<SendState>);

/// Why a long-polling request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PollError {
    /// The connection has ended.
    #[error("the session has ended")]
    Ended,
    /// The connection continues over its WebSocket.
    #[error("the session has moved to a WebSocket")]
    Moved,
    /// Another request of the same kind is in progress. This ends the connection.
    #[error("another request of this session is under way")]
    Overlap,
    /// The body is not a payload of packets. This ends the connection.
    #[error("the body is not a payload")]
    Malformed,
}

/// Makes a connection by long-polling, and returns its ends.
///
/// `id_guard` is dropped when the connection has ended and no request can reach it any more; its
/// owner can forget the connection's id then.
pub fn open_polling(
    options: &Arc<TransportOptions>,
    id_guard: Box<dyn Any + Send>,
) -> (Inbound, Outbox, Polling) {
    let send_state =
        SendState::new(Sink::Poll(Box::default()), Queue::default(), Arc::clone(options));
    let send_state = Arc::new(send_state);
    let inbound = Inbound::from_polling(Arc::clone(&send_state), id_guard);
    (inbound, Outbox::new(Arc::clone(&send_state)), Polling(send_state))
}

// === impl Polling ===

impl Polling {
    /// Whether a user is authenticated on the connection.
    pub fn is_authenticated(&self) -> bool {
        self.0.authenticated.load(Ordering::Acquire)
    }

    /// Begins a GET that waits for what the outbox holds. It resolves with the body of the answer.
    ///
    /// # Errors
    /// [`PollError`]. [`PollError::Overlap`] ends the connection, and answers the waiting GET with
    /// the end.
    pub fn poll(&self) -> Result<PendingPoll, PollError> {
        let answer = self.0.begin_poll()?;
        Ok(PendingPoll::new(Arc::clone(&self.0), answer))
    }

    /// Begins a POST, before its body is read.
    ///
    /// # Errors
    /// [`PollError`]. [`PollError::Overlap`] ends the connection.
    pub fn post(&self) -> Result<Post, PollError> {
        self.0.begin_post()?;
        Ok(Post::new(Arc::clone(&self.0)))
    }

    /// Begins a WebSocket's attempt to take over the connection.
    ///
    /// # Errors
    /// [`PollError::Overlap`] where another attempt has begun, which ends nothing; otherwise as
    /// above.
    pub fn probe(&self) -> Result<Probe, PollError> {
        self.0.begin_probe()?;
        Ok(Probe::new(Arc::clone(&self.0)))
    }
}
