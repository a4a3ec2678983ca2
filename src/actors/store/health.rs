//! Logs of a failing database: one line, then silence for a while, then a line when it works again.
//! Every failure is counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::metrics::Metrics;

/// Failures are logged at most once in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Counts and reports failures.
pub(super) struct Health {
    metrics: Arc<Metrics>,
    failure_log: Mutex<FailureLog>,
}

#[derive(Default)]
struct FailureLog {
    /// When a failure was last logged.
    logged_at: Option<Instant>,
    /// Failures since then that were not logged.
    suppressed: u64,
    /// Whether something failed since the last success.
    down: bool,
}

// === impl Health ===

impl Health {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, failure_log: Mutex::default() }
    }

    /// Counts a failure of the database or of this program.
    pub(super) fn report_failure(&self, what: &str, error: &dyn std::fmt::Display) {
        self.metrics.store_errors.inc();
        if let Some(suppressed) = self.failure_log.lock().record(Instant::now()) {
            log::warn!("{what}: {error} ({suppressed} more failures since the last such line)");
        }
    }

    /// Counts a query that got no answer in time: the database hangs or is far too slow.
    pub(super) fn report_timeout(&self) {
        self.report_failure("a query was given up", &"the database does not answer");
    }

    pub(super) fn report_success(&self) {
        let mut failure_log = self.failure_log.lock();
        if failure_log.down {
            failure_log.down = false;
            log::info!("the database works again");
        }
    }
}

// === impl FailureLog ===

impl FailureLog {
    /// Records a failure; returns how many were not logged, when a line is due.
    fn record(&mut self, now: Instant) -> Option<u64> {
        self.down = true;
        if self.logged_at.is_some_and(|logged_at| now.duration_since(logged_at) < LOG_INTERVAL) {
            self.suppressed += 1;
            return None;
        }
        self.logged_at = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_down_does_not_fill_the_log() {
        let (mut failure_log, start) = (FailureLog::default(), Instant::now());
        assert_eq!(failure_log.record(start), Some(0));
        assert_eq!(failure_log.record(start + Duration::from_secs(1)), None);
        assert_eq!(failure_log.record(start + Duration::from_secs(9)), None);
        assert_eq!(failure_log.record(start + LOG_INTERVAL), Some(2));
    }
}
