//! Back-pressure by the session: while it holds, nothing is read of its connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::line::Line;

/// Holds a connection's messages back, and lets them go on.
///
/// While it is held the peer's pongs are not seen either.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Line>);

/// One reason why nothing is read; dropped, there is one less.
#[derive(Debug)]
#[must_use = "dropped, it lets messages go on"]
pub struct Hold(Arc<Line>);

// === impl Gate ===

impl Gate {
    pub(super) fn new(line: Arc<Line>) -> Self {
        Self(line)
    }

    /// Stops reading; no message comes until this hold and all others are dropped.
    pub fn hold(&self) -> Hold {
        self.0.holds.fetch_add(1, Ordering::AcqRel);
        Hold(Arc::clone(&self.0))
    }

    /// Whether nothing is read.
    pub fn is_paused(&self) -> bool {
        self.0.is_held()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.0.holds.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.task.wake();
        }
    }
}
