//! Requests that wait for a writer, which does many of them in one transaction.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::db_thread::QUEUE_TIMEOUT;
use super::error::StoreError;

/// Requests `T` that are answered with `R`. Each has a permit, which bounds their number.
pub(super) struct GroupQueue<T, R>(Mutex<VecDeque<(T, Reply<R>)>>);

/// The way back to the caller of a request.
pub(super) struct Reply<R> {
    asked: Instant,
    done: oneshot::Sender<Result<R, StoreError>>,
    /// Released when the request is done, not when its caller goes away.
    _permit: OwnedSemaphorePermit,
}

// === impl GroupQueue ===

impl<T, R> Default for GroupQueue<T, R> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T, R> GroupQueue<T, R> {
    /// Queues a request at once. The future is its answer.
    pub(super) fn push(
        &self,
        request: T,
        permit: OwnedSemaphorePermit,
    ) -> impl Future<Output = Result<R, StoreError>> + use<T, R> {
        let (done, answer) = oneshot::channel();
        let reply = Reply { asked: Instant::now(), done, _permit: permit };
        self.0.lock().push_back((request, reply));
        async { answer.await.map_err(|_| StoreError::Closed)? }
    }

    /// Takes at most `most` requests for one transaction. Those that have waited too long are
    /// answered instead.
    pub(super) fn next(&self, most: usize, now: Instant) -> Vec<(T, Reply<R>)> {
        let mut waiting = self.0.lock();
        let mut next = Vec::new();
        while next.len() < most {
            let Some((request, reply)) = waiting.pop_front() else { break };
            if now.saturating_duration_since(reply.asked) > QUEUE_TIMEOUT {
                reply.send(Err(StoreError::Busy));
            } else {
                next.push((request, reply));
            }
        }
        next
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

// === impl Reply ===

impl<R> Reply<R> {
    pub(super) fn send(self, answer: Result<R, StoreError>) {
        // A caller that no longer waits has dropped the receiver.
        drop(self.done.send(answer));
    }

    /// Whether the caller no longer waits.
    pub(super) fn is_abandoned(&self) -> bool {
        self.done.is_closed()
    }
}
