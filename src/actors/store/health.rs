//! What the operator hears of a failing database: one line, then silence for a while, then a line
//! that it is back. Every failure is counted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::Metrics;

/// At most one complaint in this time.
const QUIET: Duration = Duration::from_secs(10);

/// Counts and reports failures.
pub(super) struct Health {
    metrics: Arc<Metrics>,
    trouble: Mutex<Trouble>,
}

#[derive(Default)]
struct Trouble {
    /// When the last complaint was logged.
    said: Option<Instant>,
    /// Failures since then.
    unsaid: u64,
    /// Since the last success there was a failure.
    down: bool,
}

// === impl Health ===

impl Health {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, trouble: Mutex::default() }
    }

    /// Something failed because the database, or this program, did.
    pub(super) fn failed(&self, what: &str, error: &dyn std::fmt::Display) {
        self.metrics.store_errors.inc();
        if let Some(unsaid) = self.trouble().complain(Instant::now()) {
            log::warn!("{what}: {error} ({unsaid} more failures since the last such line)");
        }
    }

    /// A question had no answer in time: the database stands still, or is far too slow.
    pub(super) fn silent(&self) {
        self.failed("a question was given up", &"the database does not answer");
    }

    /// Something worked.
    pub(super) fn worked(&self) {
        let mut trouble = self.trouble();
        if trouble.down {
            trouble.down = false;
            log::info!("the database serves again");
        }
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Trouble ===

impl Trouble {
    /// Notes a failure; says how many went unsaid when it is time for a line.
    fn complain(&mut self, now: Instant) -> Option<u64> {
        self.down = true;
        if self.said.is_some_and(|said| now.duration_since(said) < QUIET) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_down_does_not_fill_the_log() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        assert_eq!(trouble.complain(start), Some(0));
        assert_eq!(trouble.complain(start + Duration::from_secs(1)), None);
        assert_eq!(trouble.complain(start + Duration::from_secs(9)), None);
        assert_eq!(trouble.complain(start + QUIET), Some(2));
    }
}
