//! What a room keeps of each driver: the key of the positions in the latest-wins lane, and when one
//! was last written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use transport::LatestKey;

/// The next key of a latest-wins lane, over all rooms: a session is in several.
static NEXT_LATEST_KEY: AtomicU64 = AtomicU64::new(0);

/// A new, unused key.
pub(super) fn next_latest_key() -> LatestKey {
    LatestKey(NEXT_LATEST_KEY.fetch_add(1, Ordering::Relaxed))
}

/// What a room keeps of a driver.
pub(super) struct DriverLane {
    /// The key of the driver's positions in the latest-wins lane.
    pub(super) key: LatestKey,
    /// The time of the position that was last written.
    saved_ms: i64,
}

impl DriverLane {
    pub(super) fn new() -> Self {
        Self { key: next_latest_key(), saved_ms: i64::MIN }
    }

    /// Whether a position of this time is due to be written; if so, notes that it is. A time well
    /// before the last one is due too: the phone's clock was set back.
    pub(super) fn is_due(&mut self, taken_ms: i64, every: Duration) -> bool {
        let is_due = Duration::from_millis(taken_ms.abs_diff(self.saved_ms)) >= every;
        if is_due {
            self.saved_ms = taken_ms;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_written_once_in_each_interval() {
        let (mut lane, every) = (DriverLane::new(), Duration::from_secs(10));
        let mut due = |ms| lane.is_due(ms, every);
        assert!(due(5000), "the first");
        assert!(!due(5000) && !due(14_999));
        assert!(due(15_000));
        assert!(!due(5001), "a little back");
        assert!(due(-1), "well back");
        assert!(!due(9998) && due(9999));
    }
}
