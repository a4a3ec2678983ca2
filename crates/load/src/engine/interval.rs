//! The results of an interval of the run: the difference between two readings of all counters.

use std::time::Duration;

use crate::hub_usage::UsageSample;
use crate::measure::Counts;

/// A reading of all counters, which only grow.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    /// The time, in microseconds from the beginning.
    pub at: u64,
    /// Messages and bytes.
    pub counts: Counts,
    /// Refusals.
    pub errors: u64,
    /// Connections that the hub ended.
    pub closes: u64,
    /// The processor time of this program; none if the system does not report it.
    pub cpu: Option<Duration>,
    /// The hub's resource usage, if it is read.
    pub hub: Option<UsageSample>,
}

/// The difference between two readings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Interval {
    /// The length of the interval.
    pub time: Duration,
    /// Messages and bytes.
    pub counts: Counts,
    /// Refusals.
    pub errors: u64,
    /// Connections that the hub ended.
    pub closes: u64,
    /// The processor use of this program; 1 is a core.
    pub cpu: Option<f64>,
    /// The processor use of the hub; 1 is a core.
    pub hub_cpu: Option<f64>,
}

impl Counters {
    /// The interval from this reading to a later one.
    pub fn until(&self, later: &Self) -> Interval {
        let time = Duration::from_micros(later.at.saturating_sub(self.at));
        let used = later.cpu.zip(self.cpu).map(|(later, first)| later.saturating_sub(first));
        Interval {
            time,
            counts: later.counts.since(&self.counts),
            errors: later.errors.saturating_sub(self.errors),
            closes: later.closes.saturating_sub(self.closes),
            cpu: used.map(|used| used.as_secs_f64() / time.as_secs_f64().max(1e-3)),
            hub_cpu: self.hub.zip(later.hub).and_then(|(first, later)| first.cpu_until(&later)),
        }
    }
}

impl Interval {
    /// The rate per second of this count in the interval.
    pub fn per_second(&self, count: u64) -> f64 {
        let secs = self.time.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "rates need no 16 digits")]
        let count = count as f64;
        if secs > 0.0 { count / secs } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_the_difference_of_two_looks() {
        let counts = |chat_sent| Counts { chat_sent, ..Counts::default() };
        let cpu = |ms| Some(Duration::from_millis(ms));
        let first = Counters {
            at: 500_000,
            counts: counts(1),
            errors: 2,
            cpu: cpu(10),
            ..Counters::default()
        };
        let later =
            Counters { at: 2_500_000, counts: counts(9), errors: 3, cpu: cpu(510), ..first };
        let span = first.until(&later);
        assert_eq!((span.time, span.errors, span.counts.chat_sent), (Duration::from_secs(2), 1, 8));
        assert!((span.per_second(8) - 4.0).abs() < 1e-9);
        assert_eq!((span.cpu, span.hub_cpu), (Some(0.25), None));
        assert!(Interval::default().per_second(8).abs() < 1e-9);
    }
}
