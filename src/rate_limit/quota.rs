//! Rates: how often something may happen, and how many offences end a connection.
//!
//! The use of a rate is stored as the time at which nothing would be used any more (the
//! "theoretical arrival time" of GCRA): one number, which many threads can advance without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A second in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// How far in advance one can be reserved, in nanoseconds. A connection that ends does not return
/// its reservation, so a client that reconnects all the time would push its own reservations into
/// the future for ever.
const MAX_RESERVATION: u64 = 30 * SECOND;

/// A limit: so many a second, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The time that one costs, in nanoseconds; 0 where the rate is not limited.
    cost: u64,
    /// The time that can be saved up, in nanoseconds.
    depth: u64,
}

/// How much of a [`Quota`] is used.
#[derive(Debug, Default)]
pub struct Meter {
    /// When nothing is used any more, in nanoseconds of the caller's clock.
    unused_at: AtomicU64,
}

/// Counts offences, one of which is forgiven at each interval.
#[derive(Debug)]
pub struct Strikes {
    quota: Quota,
    /// When all are forgiven. `None` where there was none.
    forgiven_at: Option<Instant>,
}

// === impl Quota ===

impl Quota {
    /// A limit of `per_second` in the long run, and `burst` at once. 0 a second means no limit.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let cost = SECOND.checked_div(u64::from(per_second)).unwrap_or(0);
        Self { cost, depth: cost * u64::from(burst) }
    }

    /// When one more may be taken if nothing is used any more at `unused_at`, and when nothing is
    /// used any more after that.
    fn next(self, unused_at: u64, now: u64) -> (u64, u64) {
        let after = unused_at.max(now).saturating_add(self.cost);
        (after.saturating_sub(self.depth), after)
    }
}

// === impl Meter ===

impl Meter {
    /// Takes one, if the quota allows it at `now`.
    ///
    /// # Errors
    /// How many nanoseconds it takes until one may be taken.
    pub fn take(&self, quota: Quota, now: u64) -> Result<(), u64> {
        if quota.cost == 0 {
            return Ok(());
        }
        let mut unused_at = self.unused_at.load(Ordering::Relaxed);
        loop {
            let (from, after) = quota.next(unused_at, now);
            if from > now {
                return Err(from - now);
            }
            match self.unused_at.compare_exchange_weak(
                unused_at,
                after,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(moved) => unused_at = moved,
            }
        }
    }

    /// Reserves one in advance. Returns when it may be used, which is in 30 seconds at the latest.
    /// Reservations are granted in the order of the calls.
    pub fn reserve(&self, quota: Quota, now: u64) -> u64 {
        if quota.cost == 0 {
            return now;
        }
        let furthest = now.saturating_add(MAX_RESERVATION);
        let reserve = |unused_at| {
            let (from, after) = quota.next(unused_at, now);
            (from <= furthest).then_some(after)
        };
        let before = self.unused_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve);
        before.map_or(furthest, |before| quota.next(before, now).0)
    }

    /// Whether nothing is used at `now`.
    pub fn is_unused(&self, now: u64) -> bool {
        self.unused_at.load(Ordering::Relaxed) <= now
    }
}

// === impl Strikes ===

impl Strikes {
    /// The `most`-th offence is one too many; one is forgiven every `forgive`.
    pub fn new(most: u32, forgive: Duration) -> Self {
        let cost = u64::try_from(forgive.as_nanos()).unwrap_or(u64::MAX);
        let depth = cost.saturating_mul(u64::from(most.saturating_sub(1)));
        Self { quota: Quota { cost, depth }, forgiven_at: None }
    }

    /// Counts one. Returns whether it was one too many.
    pub fn strike(&mut self, now: Instant) -> bool {
        let debt = self.forgiven_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let debt = debt + Duration::from_nanos(self.quota.cost);
        if debt > Duration::from_nanos(self.quota.depth) {
            return true;
        }
        self.forgiven_at = Some(now + debt);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nanoseconds.
    fn millis(millis: u64) -> u64 {
        millis * 1_000_000
    }

    #[test]
    fn a_quota_gives_its_burst_and_then_its_rate() {
        let (quota, meter, now) = (Quota::new(20, 40), Meter::default(), millis(5000));
        assert!((0..40).all(|_| meter.take(quota, now).is_ok()));
        assert_eq!(meter.take(quota, now), Err(millis(50)));
        assert_eq!(meter.take(quota, now + millis(50)), Ok(()));
        assert!(meter.take(quota, now + millis(50)).is_err());
        let later = now + millis(60_000);
        assert!(meter.is_unused(later) && !meter.is_unused(now + millis(50)));
        assert!((0..40).all(|_| meter.take(quota, later).is_ok()));
        assert!(meter.take(quota, later).is_err(), "no more than the burst is saved up");
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        let (quota, meter) = (Quota::new(0, 0), Meter::default());
        assert!((0..10_000).all(|_| meter.take(quota, 0).is_ok()));
        assert_eq!(meter.reserve(quota, 7), 7);
        assert!(meter.is_unused(0));
    }

    #[test]
    fn each_reservation_gets_a_turn_of_its_own() {
        let (quota, meter, now) = (Quota::new(10, 2), Meter::default(), millis(1000));
        let turns: Vec<u64> = (0..4).map(|_| meter.reserve(quota, now)).collect();
        assert!(turns[0] <= now && turns[1] <= now, "the burst: {turns:?}");
        assert_eq!(turns[2..], [now + millis(100), now + millis(200)]);
        assert_eq!(meter.take(quota, now), Err(millis(300)), "none is given out in between");
    }

    #[test]
    fn unused_reservations_delay_by_half_a_minute_at_most() {
        let (quota, meter, now) = (Quota::new(5, 10), Meter::default(), millis(1000));
        let last = (0..100_000).map(|_| meter.reserve(quota, now)).max();
        assert_eq!(last, Some(now + MAX_RESERVATION));
        assert!(meter.take(quota, now + MAX_RESERVATION + millis(200)).is_ok());
    }

    #[test]
    fn threads_that_take_at_once_get_no_more_than_the_quota() {
        let (quota, meter) = (Quota::new(1, 1000), Meter::default());
        let taken = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| meter.take(quota, 0).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<usize>()
        });
        assert_eq!(taken, 1000);
    }

    #[test]
    fn the_tenth_strike_is_too_many_and_one_is_forgiven_every_ten_seconds() {
        let (mut strikes, now) = (Strikes::new(10, Duration::from_secs(10)), Instant::now());
        assert!((0..9).all(|_| !strikes.strike(now)));
        assert!(strikes.strike(now), "the tenth");
        assert!(!strikes.strike(now + Duration::from_secs(10)));
        assert!(strikes.strike(now + Duration::from_secs(10)));
    }
}
