//! Back-pressure by the session: while it holds, nothing is read of its connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::line::Line;

/// The hold of [`Gate::pause`], apart from those that are counted.
const PAUSED: u32 = 1 << 31;

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

    /// Stops reading until [`Self::resume`]: one hold, however often it is called.
    pub fn pause(&self) {
        self.0.holds.fetch_or(PAUSED, Ordering::AcqRel);
    }

    /// Ends what [`Self::pause`] began. Says whether there was something to end.
    pub fn resume(&self) -> bool {
        let before = self.0.holds.fetch_and(!PAUSED, Ordering::AcqRel);
        if before == PAUSED {
            self.0.task.wake();
        }
        before & PAUSED != 0
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
