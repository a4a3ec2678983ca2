//! The handle by which a session and its rooms send to one connection, from any thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use super::flusher::schedule;
use super::frame::Frame;
use super::frame_writer::PingMark;
use super::queue::LatestKey;
use super::send_state::{SendInner, SendState};
use super::{Backlog, Closed};
use crate::protocol::close::CloseCode;

/// The sending end of a connection; clones are handles of the same one.
///
/// A push queues and returns. What a thread has pushed in one turn is written at the end of that
/// turn, in one system call per connection. Where the socket takes no more, frames wait, bounded
/// as [`super::TransportOptions`] says; then the outbox gives up, refuses, and its session hears
/// [`super::Incoming::Overrun`].
///
/// Arbiter threads push best. A push on any other thread is written at once.
#[derive(Debug, Clone)]
pub struct Outbox(Arc<SendState>);

// === impl Outbox ===

impl Outbox {
    pub(super) fn new(send_state: Arc<SendState>) -> Self {
        Self(send_state)
    }

    /// Sends a frame, behind all that was pushed before.
    ///
    /// # Errors
    /// [`Closed`] when the connection has ended, is about to, or gave up on this very frame.
    pub fn push(&self, frame: Frame) -> Result<(), Closed> {
        self.add(true, |state| {
            let since = state.writer.blocked.then(Instant::now);
            state.writer.queue.push(frame, since);
        })
    }

    /// Sends a frame that only the newest of its key matters of: a waiting one is replaced where
    /// it stands, and may be dropped where room is short.
    ///
    /// # Errors
    /// [`Closed`] when the connection has ended or is about to.
    pub fn push_latest(&self, key: LatestKey, frame: Frame) -> Result<(), Closed> {
        self.add(false, |state| {
            let blocked = state.writer.blocked;
            let replaced = state.writer.queue.push_latest(key, frame, blocked);
            if replaced > 0 {
                self.0.options.metrics.conflated.inc_by(replaced);
            }
        })
    }

    /// Drops the waiting frame of a key.
    pub fn discard_latest(&self, key: LatestKey) {
        self.0.discard_latest(key);
    }

    /// Sends a ping, unless one waits already; where the socket takes no more, before all that waits.
    pub fn ping(&self) -> Option<PingMark> {
        self.ping_with(Frame::ping())
    }

    /// The same with a frame that asks for a sign of life: the ping of a protocol that has its own.
    pub fn ping_with(&self, frame: Frame) -> Option<PingMark> {
        let mut mark = None;
        self.add(false, |state| mark = state.writer.push_ping(frame)).ok()?;
        mark
    }

    /// Whether a peer whose pong is late is only slow: what was sent before the ping is still arriving.
    /// To be asked when the pong is due, and again after the same time.
    pub fn is_still_receiving(&self, ping: &mut PingMark) -> bool {
        self.0.lock().writer.is_still_receiving(ping, Instant::now())
    }

    /// Answers a ping; where the socket takes no more, only the newest answer waits.
    pub fn pong(&self, payload: Bytes) {
        let frame = Frame::pong(&payload);
        let _ = self.add(false, |state| state.writer.queue.push_pong(frame, state.writer.blocked));
    }

    /// Ends the connection: sends what waits (after an overrun nothing does), then `last`, then
    /// the close frame, then ends the writing side. Refuses pushes from now on.
    ///
    /// The socket is gone when the peer has ended its side too, at the latest after the close
    /// timeout. A client of long-polling hears it with the poll that waits, or with its next one
    /// within the close timeout, and its close frame is the packet `1`; but one that did not answer
    /// a ping ([`CloseCode::NO_PONG`]) and has no poll waiting is not waited for. Only the first
    /// call counts.
    pub fn finish(&self, last: impl IntoIterator<Item = Frame>, close: CloseCode) {
        let frame = Frame::close(Some(close.code), close.reason);
        self.close(last.into_iter().chain([frame]), close == CloseCode::NO_PONG);
    }

    /// The same without a close frame: to the peer the connection is lost behind `last`. `why` is
    /// not told.
    ///
    /// Some Engine.IO clients do not hear a close frame, and wait until they miss a ping. All of them
    /// notice the end of TCP at once, and come back. A client of long-polling hears that its session
    /// is unknown.
    pub fn hang_up(&self, last: impl IntoIterator<Item = Frame>, why: CloseCode) {
        self.close(last, why == CloseCode::NO_PONG);
    }

    /// Ends the connection in answer to the peer's close frame, with the code that it had.
    pub fn answer_close(&self, code: Option<u16>) {
        self.close([Frame::close(code, "")], false);
    }

    /// Ends the connection at once: what waits is not sent any more.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Says that somebody has logged in on this connection.
    pub fn mark_authenticated(&self) {
        self.0.authenticated.store(true, Ordering::Release);
    }

    /// Whether pushes are refused.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Has the processor fetch where a push begins, and does not wait for it: a room that calls this
    /// for every member before it pushes to the first waits for memory once, and not for each.
    pub fn prefetch(&self) {
        std::hint::black_box((self.0.is_closed(), Arc::strong_count(&self.0)));
    }

    /// Whether what is pushed has to wait: the socket takes no more, or no poll waits.
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
