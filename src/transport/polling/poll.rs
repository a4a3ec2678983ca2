//! A GET that waits for what the outbox holds.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::send_state::SendState;
use super::PollError;
use crate::protocol::socketio::engine;

/// The answer to a GET, when there is one: a payload of packets.
///
/// Dropped before that, it says that the client's connection is lost, and its session with it:
/// what is under way to a client cannot be told from what has arrived.
#[derive(Debug)]
#[must_use = "dropped, it ends the session"]
pub struct PendingPoll {
    send_state: Arc<SendState>,
    answer: oneshot::Receiver<Bytes>,
    /// Whether the answer was taken.
    answered: bool,
}

// === impl PendingPoll ===

impl PendingPoll {
    pub(super) fn new(send_state: Arc<SendState>, answer: oneshot::Receiver<Bytes>) -> Self {
        Self { send_state, answer, answered: false }
    }
}

impl Future for PendingPoll {
    type Output = Result<Bytes, PollError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        self.answered = true;
        Poll::Ready(answer.map_err(|_| PollError::Ended))
    }
}

impl Drop for PendingPoll {
    fn drop(&mut self) {
        // A poll that had nothing to say takes nothing with it.
        let is_noop = |body: &Bytes| body == engine::NOOP;
        if !self.answered && !self.answer.try_recv().as_ref().is_ok_and(is_noop) {
            self.send_state.connection_lost();
        }
    }
}
