//! Long-polling (Engine.IO 4): a connection without a socket of its own. Its client asks with GETs
//! for what its outbox holds, and POSTs what the session is to read; later it may move to a
//! WebSocket.
//!
//! ```text
//! GET  ── Polling::poll ──▶ PollState ◀── FrameWriter ◀── queue ◀── Outbox
//! POST ── Polling::post ──▶    │
//! WebSocket ─ Probe ──────▶    └──▶ Inbound ──▶ Incoming
//! ```
//!
//! To the outbox a client without a waiting GET is a socket that takes no more, so both kinds of frames
//! and all limits hold for it. Bounds: one GET waits and one POST is under way per session, a POST
//! is within the message limit, an answer is bounded in bytes, and smaller for a slow client.

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

/// The client's side of a connection by long-polling, for those who serve its requests. Clones are
/// handles of the same one, and do not keep the session.
#[derive(Debug, Clone)]
pub struct Polling(Arc<SendState>);

/// Why a request of a connection by long-polling is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PollError {
    /// The session has ended.
    #[error("the session has ended")]
    Ended,
    /// The session goes on over its WebSocket.
    #[error("the session has moved to a WebSocket")]
    Moved,
    /// Another request of its kind is under way; the session ends for it.
    #[error("another request of this session is under way")]
    Overlap,
    /// The body is no payload of packets; the session ends for it.
    #[error("the body is no payload")]
    Malformed,
}

/// Makes a connection that is polled, and its ends.
///
/// `id_guard` is dropped when the connection has ended in whatever way and nobody can reach it any
/// more: the place to forget its id.
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
    /// Whether somebody has logged in on the connection.
    pub fn is_authenticated(&self) -> bool {
        self.0.authenticated.load(Ordering::Acquire)
    }

    /// Waits, as a GET, for what the outbox holds: resolves with the body of the answer.
    ///
    /// # Errors
    /// [`PollError`]; on [`PollError::Overlap`] the session ends, and the GET that waits hears so.
    pub fn poll(&self) -> Result<PendingPoll, PollError> {
        let answer = self.0.begin_poll()?;
        Ok(PendingPoll::new(Arc::clone(&self.0), answer))
    }

    /// Begins a POST, before its body is read.
    ///
    /// # Errors
    /// [`PollError`]; on [`PollError::Overlap`] the session ends.
    pub fn post(&self) -> Result<Post, PollError> {
        self.0.begin_post()?;
        Ok(Post::new(Arc::clone(&self.0)))
    }

    /// Begins the attempt of a WebSocket to take the connection over.
    ///
    /// # Errors
    /// [`PollError::Overlap`] where another one has begun (nothing ends for it), else as above.
    pub fn probe(&self) -> Result<Probe, PollError> {
        self.0.begin_probe()?;
        Ok(Probe::new(Arc::clone(&self.0)))
    }
}
