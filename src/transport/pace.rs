//! How fast a peer takes what is sent. A slow one is not a dead one: its time begins anew whenever
//! it has taken enough. Pure: time and bytes come as arguments.

use std::time::{Duration, Instant};

/// The slowest that a socket may be, in bytes a second. A sixth of what the slowest line of a phone
/// carries, since a bad line stands still for a while and carries some of it twice; and too much to be
/// earned by a byte now and then. What counts is what the peer's system has received: a queue on the
/// way is filled at once, after which the system here takes nothing for a long time.
const MIN_RATE: u32 = 256;
/// The slowest that an answer may be fetched, in bytes a second.
const MIN_FETCH_RATE: u64 = 512;

/// How a socket takes what waits for it, while something does.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the peer had last taken enough since the time before.
    since: Instant,
    /// How many bytes it had taken then, modulo 2^32.
    taken: u32,
    /// Since when more frames wait than an outbox is meant to hold.
    pub(super) crowded: Option<Instant>,
}

impl Pace {
    /// Of a socket that begins to wait, whose peer has `taken` so many bytes.
    pub(super) fn new(now: Instant, taken: u32) -> Self {
        Self { since: now, taken, crowded: None }
    }

    /// Looks whether the peer has `taken` enough; within `timeout` it has to.
    pub(super) fn observe(&mut self, now: Instant, taken: u32, timeout: Duration) {
        let seconds = u32::try_from(timeout.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        if taken.wrapping_sub(self.taken) >= MIN_RATE.saturating_mul(seconds) {
            (self.since, self.taken) = (now, taken);
        }
    }

    /// Since when it has not taken enough.
    pub(super) fn since(&self) -> Instant {
        self.since
    }
}

/// How long a peer may take to fetch so many bytes.
pub(super) fn fetch_time(bytes: usize) -> Duration {
    Duration::from_millis(
        u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1000) / MIN_FETCH_RATE,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_peer_that_takes_enough_begins_anew_and_one_that_takes_a_byte_now_and_then_does_not() {
        let start = Instant::now();
        // What is counted modulo 2^32 goes on behind its end.
        let mut taken = u32::MAX - 5;
        let mut pace = Pace::new(start, taken);
        for second in 1..20 {
            taken = taken.wrapping_add(1);
            pace.observe(start + S * second, taken, S * 20);
        }
        assert_eq!(pace.since(), start);
        taken = taken.wrapping_add(20 * MIN_RATE);
        pace.observe(start + S * 20, taken, S * 20);
        assert_eq!(pace.since(), start + S * 20);
        pace.observe(start + S * 21, taken.wrapping_add(MIN_RATE), S * 20);
        assert_eq!(pace.since(), start + S * 20, "not enough since then");
    }

    #[test]
    fn what_is_given_at_once_may_be_fetched_slowly() {
        assert_eq!(fetch_time(64 * 1024), S * 128);
        assert_eq!(fetch_time(0), Duration::ZERO);
    }
}
