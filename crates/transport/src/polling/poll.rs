//! A GET that waits for what the outbox holds.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::send_state::SendState;
use super::PollError;
use protocol::socketio::engine;

/// The answer to a GET: a payload of packets, when there is one.
///
/// A drop before that means that the client's connection is lost, and ends the session: the hub
/// cannot tell what has arrived and what has not.
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
        // A noop carries no packets, so nothing is lost with it.
        let is_noop = |body: &Bytes| body == engine::NOOP;
        if !self.answered && !self.answer.try_recv().as_ref().is_ok_and(is_noop) {
            self.send_state.connection_lost();
        }
    }
}
