//! When a failed delivery is tried again.

use std::time::Duration;

/// The waits after each failure, as `WEBHOOK_RETRY_SCHEDULE` gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySchedule(Vec<Duration>);

/// How far a wait may differ from the schedule, as a share of it: what failed together is not tried
/// again in the same moment.
const JITTER: f64 = 0.2;
/// The longest schedule.
const MOST_STEPS: usize = 50;
/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);

// === impl RetrySchedule ===

impl RetrySchedule {
    /// Reads waits with commas between them, like `5s,5m,2h`.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let waits = text.split(',').map(|wait| humantime::parse_duration(wait.trim()));
        let waits: Option<Vec<Duration>> = waits.map(Result::ok).collect();
        let is_good = |waits: &Vec<Duration>| {
            let in_range = |wait: &Duration| (Duration::from_millis(1)..=MAX_WAIT).contains(wait);
            waits.len() <= MOST_STEPS && waits.iter().all(in_range)
        };
        waits.filter(is_good).map(Self).ok_or_else(|| {
            "1 to 50 waits of 1ms to 7d with commas between them, like 5s,5m,2h".to_owned()
        })
    }

    /// The wait after this many failures in a row; `None` when no try is left. `random` is from 0
    /// to 1.
    pub fn wait(&self, failures: u32, random: f64) -> Option<Duration> {
        let step = usize::try_from(failures.checked_sub(1)?).ok()?;
        self.0.get(step).map(|wait| vary(*wait, random))
    }

    /// The same, but the last wait again and again when the schedule has ended.
    pub fn wait_forever(&self, failures: u32, random: f64) -> Duration {
        let last = self.0.last().map_or(MAX_WAIT, |wait| vary(*wait, random));
        self.wait(failures.max(1), random).unwrap_or(last)
    }
}

fn vary(wait: Duration, random: f64) -> Duration {
    wait.mul_f64(1.0 + JITTER * (2.0 * random.clamp(0.0, 1.0) - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_follow_the_schedule_and_end() {
        let schedule = RetrySchedule::parse("5s, 5m,30m").expect("a schedule");
        let secs = |failures, random| {
            schedule.wait(failures, random).map(|wait| wait.as_secs_f64().round())
        };
        assert_eq!(
            [1, 2, 3, 4].map(|failures| secs(failures, 0.5)),
            [Some(5.0), Some(300.0), Some(1800.0), None]
        );
        assert_eq!((secs(1, 0.0), secs(1, 1.0), secs(0, 0.5)), (Some(4.0), Some(6.0), None));
        assert_eq!(schedule.wait_forever(9, 0.5), Duration::from_secs(1800));
        assert_eq!(schedule.wait_forever(0, 0.5), Duration::from_secs(5));
    }

    #[test]
    fn a_schedule_without_a_wait_is_refused() {
        for bad in ["", "5", "5s,", "0s", "8d", "5s;5m", "-5s", &"1s,".repeat(51)] {
            assert!(RetrySchedule::parse(bad).is_err(), "{bad}");
        }
    }
}
