//! The handle by which a connection actor and rooms on any thread send to one connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use super::flusher::schedule;
use super::frame::Frame;
use super::frame_writer::SentPing;
use super::queue::LatestKey;
use super::send_state::{SendInner, SendState};
use super::{Backlog, Closed};
use protocol::close::CloseCode;

/// The sending end of a connection. Clones are handles of the same one.
///
/// A push queues a frame and returns. What a thread has pushed in one turn is written at the end of
/// that turn, with one system call per connection. If the socket takes no more, frames wait, within
/// the bounds of [`super::TransportOptions`]. Beyond these the outbox overruns: it drops what waits
/// and refuses pushes, and the connection actor gets [`super::Incoming::Overrun`].
///
/// Push from arbiter threads where possible. A push on any other thread is written at once.
#[derive(Debug, Clone)]
pub struct Outbox(Arc<SendState>);

// === impl Outbox ===

impl Outbox {
    pub(super) fn new(send_state: Arc<SendState>) -> Self {
        Self(send_state)
    }

    /// Sends a frame after all that was pushed before.
    ///
    /// # Errors
    /// [`Closed`] when the connection has ended, is ending, or overran with this frame.
    pub fn push(&self, frame: Frame) -> Result<(), Closed> {
        self.add(true, |state| {
            let since = state.writer.blocked.then(Instant::now);
            state.writer.queue.push(frame, since);
        })
    }

    /// Sends a frame of which only the newest of its key matters. While the socket takes no more,
    /// it replaces a waiting frame of its key in place, and may be dropped at a limit.
    ///
    /// # Errors
    /// [`Closed`] when the connection has ended or is ending.
    pub fn push_latest(&self, key: LatestKey, frame: Frame) -> Result<(), Closed> {
        self.add(false, |state| {
            let blocked = state.writer.blocked;
            let replaced = state.writer.queue.push_latest(key, frame, blocked);
            if replaced > 0 {
                self.0.options.metrics.conflated.inc_by(replaced);
            }
        })
    }

    /// Drops the waiting frames of a key.
    pub fn discard_latest(&self, key: LatestKey) {
        self.0.discard_latest(key);
    }

    /// Sends a ping unless one waits already. If the socket takes no more, the ping goes before all
    /// waiting frames.
    pub fn ping(&self) -> Option<SentPing> {
        self.ping_with(Frame::ping())
    }

    /// Like [`Self::ping`], with the ping frame of a protocol that has its own.
    pub fn ping_with(&self, frame: Frame) -> Option<SentPing> {
        let mut mark = None;
        self.add(false, |state| mark = state.writer.push_ping(frame)).ok()?;
        mark
    }

    /// Whether a peer with a late pong is only slow: it is still receiving what was sent before the
    /// ping. Call this when the pong is due, and again after each further wait.
    pub fn is_still_receiving(&self, ping: &mut SentPing) -> bool {
        self.0.lock().writer.is_still_receiving(ping, Instant::now())
    }

    /// Answers a ping. While the socket takes no more, only the newest answer waits.
    pub fn pong(&self, payload: Bytes) {
        let frame = Frame::pong(&payload);
        let _ = self.add(false, |state| state.writer.queue.push_pong(frame, state.writer.blocked));
    }

    /// Ends the connection: sends what waits (nothing after an overrun), then `last`, then the
    /// close frame, then closes the writing direction. Refuses pushes from now on.
    ///
    /// The socket is closed when the peer has ended too, at the latest after the close timeout. A
    /// polling client gets the end with the waiting GET, or with its next GET within the close
    /// timeout; its close frame is the packet `1`. A polling client that did not answer a ping
    /// ([`CloseCode::NO_PONG`]) and has no GET waiting gets no such time. Only the first call has
    /// an effect.
    pub fn finish(&self, last: impl IntoIterator<Item = Frame>, close: CloseCode) {
        let frame = Frame::close(Some(close.code), close.reason);
        self.close(last.into_iter().chain([frame]), close == CloseCode::NO_PONG);
    }

    /// Like [`Self::finish`], without a close frame: the peer sees a lost connection after `last`.
    /// `why` is not sent.
    ///
    /// Some Engine.IO clients ignore a close frame, and wait until they miss a ping. All of them
    /// notice the end of TCP at once, and reconnect. A polling client is answered that its session
    /// is unknown.
    pub fn hang_up(&self, last: impl IntoIterator<Item = Frame>, why: CloseCode) {
        self.close(last, why == CloseCode::NO_PONG);
    }

    /// Answers the peer's close frame with the same code, and ends the connection.
    pub fn answer_close(&self, code: Option<u16>) {
        self.close([Frame::close(code, "")], false);
    }

    /// Ends the connection at once: what waits is not sent.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Notes that a user is authenticated on this connection.
    pub fn mark_authenticated(&self) {
        self.0.authenticated.store(true, Ordering::Release);
    }

    /// Whether pushes are refused.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Prefetches the memory that a push touches first, without waiting for it. A room calls this
    /// for every member before its first push, so it waits for memory once and not once per member.
    pub fn prefetch(&self) {
        std::hint::black_box((self.0.is_closed(), Arc::strong_count(&self.0)));
    }

    /// Whether pushed frames have to wait: the socket takes no more, or no GET waits.
    pub fn is_blocked(&self) -> bool {
        self.0.lock().writer.blocked
    }

    /// What waits.
    pub fn backlog(&self) -> Backlog {
        let state = self.0.lock();
        Backlog { frames: state.writer.queue.len(), bytes: state.writer.queue.bytes() }
    }

    fn add(&self, reliable: bool, add: impl FnOnce(&mut SendInner)) -> Result<(), Closed> {
        if self.0.push(reliable, add)? {
            schedule(&self.0);
        }
        Ok(())
    }

    fn close(&self, last: impl IntoIterator<Item = Frame>, given_up: bool) {
        let began = self.0.close(given_up, |queue| {
            last.into_iter().for_each(|frame| queue.push(frame, None));
        });
        if began {
            schedule(&self.0);
        }
    }

    /// Makes the next write panic.
    #[cfg(test)]
    pub(super) fn sabotage(&self) {
        self.0.lock().writer.sabotaged = true;
    }

    /// Makes the next send by the ring panic.
    #[cfg(test)]
    pub(super) fn sabotage_uring(&self) {
        self.0.lock().writer.uring_sabotaged = true;
    }

    #[cfg(test)]
    pub(super) fn writes(&self) -> u32 {
        self.0.lock().writer.writes
    }

    #[cfg(test)]
    pub(super) fn uring_writes(&self) -> u32 {
        self.0.lock().writer.uring_writes
    }
}
