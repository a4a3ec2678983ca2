//! Back-pressure by the connection actor: while it pauses, its connection is not read.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::send_state::SendState;

/// Pauses reading on a connection.
///
/// While reading is paused, the peer's pongs are not seen either.
#[derive(Debug, Clone)]
pub struct ReadPause(Arc<SendState>);

/// One reason for a pause; it ends with this guard's drop.
#[derive(Debug)]
#[must_use = "dropped, it lets messages go on"]
pub struct ReadPauseGuard(Arc<SendState>);

// === impl ReadPause ===

impl ReadPause {
    pub(super) fn new(send_state: Arc<SendState>) -> Self {
        Self(send_state)
    }

    /// Stops reading. No message comes until this guard and all others are dropped.
    pub fn pause(&self) -> ReadPauseGuard {
        self.0.pauses.fetch_add(1, Ordering::AcqRel);
        ReadPauseGuard(Arc::clone(&self.0))
    }

    /// Whether reading is paused.
    pub fn is_paused(&self) -> bool {
        self.0.is_read_paused()
    }
}

impl Drop for ReadPauseGuard {
    fn drop(&mut self) {
        if self.0.pauses.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.task.wake();
        }
    }
}
