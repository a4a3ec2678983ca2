//! Measures how fast a peer takes what is sent. A slow peer is not a dead one: its timeout starts
//! again whenever it has taken enough. Pure: time and bytes are arguments.

use std::time::{Duration, Instant};

/// The slowest rate that a socket may have, in bytes a second. It is a sixth of what the slowest
/// phone connection carries, because a bad connection stalls for a while and sends some bytes
/// twice. It is too much for a peer that takes a byte now and then. Only bytes that the peer's
/// system has received count: network buffers fill at once, and then the local system takes nothing
/// for a long time.
const MIN_RATE: u32 = 256;
/// The slowest rate at which an answer may be fetched, in bytes a second.
const MIN_FETCH_RATE: u64 = 512;

/// The pace of a socket for which something waits.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the peer was last seen to have taken enough.
    since: Instant,
    /// How many bytes it had taken then, modulo 2^32.
    taken: u32,
    /// Since when the outbox holds more frames than its limit.
    pub(super) crowded: Option<Instant>,
}

impl Pace {
    /// The pace of a socket that begins to wait, whose peer has `taken` this many bytes.
    pub(super) fn new(now: Instant, taken: u32) -> Self {
        Self { since: now, taken, crowded: None }
    }

    /// Checks whether the peer has `taken` enough. It has to within `timeout`.
    pub(super) fn observe(&mut self, now: Instant, taken: u32, timeout: Duration) {
        let seconds = u32::try_from(timeout.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        if taken.wrapping_sub(self.taken) >= MIN_RATE.saturating_mul(seconds) {
            (self.since, self.taken) = (now, taken);
        }
    }

    /// Since when the peer has not taken enough.
    pub(super) fn since(&self) -> Instant {
        self.since
    }
}

/// How long a peer may take to fetch `bytes`.
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
        // The counter continues at 0 after its largest value.
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
    fn an_answer_given_at_once_may_be_fetched_slowly() {
        assert_eq!(fetch_time(64 * 1024), S * 128);
        assert_eq!(fetch_time(0), Duration::ZERO);
    }
}
