//! How fast a peer takes what is sent. A slow one is not a dead one: its time begins anew whenever
//! it has taken enough. Pure: time and bytes come as arguments.

use std::time::{Duration, Instant};

/// The slowest that a socket may be, in bytes a second. A sixth of what the slowest line of a phone
/// carries, since a socket is written 8 KiB at a time and a bad line stands still for a while; and too
/// much to be earned by a byte now and then.
const SLOWEST: usize = 256;
/// The slowest that an answer may be fetched, in bytes a second.
const SLOWEST_FETCH: u64 = 512;

/// How a socket takes what waits for it, while something does.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the peer had last taken enough since the time before.
    since: Instant,
    /// The bytes that it has taken since then.
    taken: usize,
    /// Since when more frames wait than an outbox is meant to hold.
    pub(super) crowded: Option<Instant>,
}

impl Pace {
    /// Of a socket that begins to wait.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, taken: 0, crowded: None }
    }

    /// The peer has taken so much more.
    pub(super) fn take(&mut self, bytes: usize) {
        self.taken += bytes;
    }

    /// Looks whether the peer has taken enough; within `timeout` it has to.
    pub(super) fn look(&mut self, now: Instant, timeout: Duration) {
        let seconds = timeout.as_millis().div_ceil(1000);
        let enough = SLOWEST * usize::try_from(seconds).unwrap_or(usize::MAX / SLOWEST);
        if self.taken >= enough {
            (self.since, self.taken) = (now, 0);
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
        u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1000) / SLOWEST_FETCH,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn who_takes_enough_begins_anew_and_who_takes_a_byte_now_and_then_does_not() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for second in 1..20 {
            pace.take(1);
            pace.look(start + S * second, S * 20);
        }
        assert_eq!(pace.since(), start);
        pace.take(20 * SLOWEST);
        pace.look(start + S * 20, S * 20);
        assert_eq!(pace.since(), start + S * 20);
        pace.take(SLOWEST);
        pace.look(start + S * 21, S * 20);
        assert_eq!(pace.since(), start + S * 20, "not enough since then");
    }

    #[test]
    fn what_is_given_at_once_may_be_fetched_slowly() {
        assert_eq!(fetch_time(64 * 1024), S * 128);
        assert_eq!(fetch_time(0), Duration::ZERO);
    }
}
