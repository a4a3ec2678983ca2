//! Rates: how many events a client may send, and when patience ends.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A second in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// A bucket of tokens that refills steadily: so many events a second, so many at once.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Time that one event costs, in nanoseconds; 0 where the rate is not limited.
    cost: u64,
    /// Time that can be saved up, in nanoseconds.
    depth: u64,
    /// From when on the bucket is full.
    full_at: Option<Instant>,
}

/// Counts offences, of which one is forgiven at intervals.
#[derive(Debug, Clone)]
pub struct Strikes {
    bucket: Bucket,
}

/// A bucket each for many. Whose bucket is full again is forgotten when there are too many.
#[derive(Debug)]
pub struct Rates<K> {
    /// The bucket of one who has taken nothing.
    fresh: Bucket,
    /// How many are remembered.
    most: usize,
    known: Mutex<HashMap<K, Bucket>>,
}

// === impl Bucket ===

impl Bucket {
    /// `per_second` events a second, `burst` at once. 0 a second means no limit.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let cost = SECOND.checked_div(u64::from(per_second)).unwrap_or(0);
        Self { cost, depth: cost * u64::from(burst), full_at: None }
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long until there is one again.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        if self.cost == 0 {
            return Ok(());
        }
        let (cost, depth) = (Duration::from_nanos(self.cost), Duration::from_nanos(self.depth));
        let owed = self.full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        if owed + cost > depth {
            return Err((owed + cost).saturating_sub(depth));
        }
        self.full_at = Some(now + owed + cost);
        Ok(())
    }
}

// === impl Strikes ===

impl Strikes {
    /// The `most`-th offence ends patience; one is forgiven every `forgive`.
    pub fn new(most: u32, forgive: Duration) -> Self {
        let cost = u64::try_from(forgive.as_nanos()).unwrap_or(u64::MAX);
        let depth = cost.saturating_mul(u64::from(most.saturating_sub(1)));
        let bucket = Bucket { cost, depth, full_at: None };
        Self { bucket }
    }

    /// Counts one. True where it was one too many.
    pub fn strike(&mut self, now: Instant) -> bool {
        self.bucket.take(now).is_err()
    }
}

// === impl Rates ===

impl<K: Eq + Hash + Clone> Rates<K> {
    /// `per_second` for each, `burst` at once, and `most` that are remembered. 0 a second means no
    /// limit.
    pub fn new(per_second: u32, burst: u32, most: usize) -> Self {
        let known = Mutex::new(HashMap::new());
        Self { fresh: Bucket::new(per_second, burst), most, known }
    }

    /// Takes one of somebody's.
    ///
    /// # Errors
    /// How long until there is one again.
    pub fn take(&self, who: &K, now: Instant) -> Result<(), Duration> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = known.get_mut(who) {
            return bucket.take(now);
        }
        if known.len() >= self.most {
            known.retain(|_, bucket| bucket.full_at.is_some_and(|at| at > now));
        }
        if known.len() >= self.most {
            // So many at once: whoever is forgotten may begin anew, which costs less than memory.
            known.clear();
        }
        known.entry(who.clone()).or_insert_with(|| self.fresh.clone()).take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let (mut bucket, now) = (Bucket::new(20, 40), Instant::now());
        assert!((0..40).all(|_| bucket.take(now).is_ok()));
        assert_eq!(bucket.take(now), Err(Duration::from_millis(50)));
        assert_eq!(bucket.take(now + Duration::from_millis(50)), Ok(()));
        assert!(bucket.take(now + Duration::from_millis(50)).is_err());
        let later = now + Duration::from_secs(60);
        assert!((0..40).all(|_| bucket.take(later).is_ok()));
        assert!(bucket.take(later).is_err(), "no more than the burst is saved up");
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        let (mut bucket, now) = (Bucket::new(0, 0), Instant::now());
        assert!((0..10_000).all(|_| bucket.take(now).is_ok()));
    }

    #[test]
    fn the_tenth_strike_is_out_and_one_is_forgiven_every_ten_seconds() {
        let (mut strikes, now) = (Strikes::new(10, Duration::from_secs(10)), Instant::now());
        assert!((0..9).all(|_| !strikes.strike(now)));
        assert!(strikes.clone().strike(now));
        assert!(!strikes.strike(now + Duration::from_secs(10)));
        assert!(strikes.strike(now + Duration::from_secs(10)));
    }

    #[test]
    fn each_has_a_rate_and_the_idle_ones_are_forgotten_when_there_are_too_many() {
        let (rates, start) = (Rates::new(1, 2, 3), Instant::now());
        for _ in 0..2 {
            assert_eq!(rates.take(&"ann", start), Ok(()));
        }
        assert_eq!(rates.take(&"ann", start), Err(Duration::from_secs(1)));
        assert_eq!(rates.take(&"bob", start), Ok(()));
        assert_eq!(rates.take(&"carl", start), Ok(()));
        // Bob's and Carl's buckets are full again, Ann's is not.
        let later = start + Duration::from_millis(1500);
        assert_eq!(rates.take(&"dan", later), Ok(()));
        assert_eq!(rates.known.lock().expect("no panic").len(), 2);
        assert_eq!(rates.take(&"ann", later), Ok(()));
        assert!(rates.take(&"ann", later).is_err(), "still remembered");
        let crowd = ["e", "f", "g", "h"].map(|one| rates.take(&one, later));
        assert_eq!(crowd, [Ok(()); 4]);
        assert!(rates.known.lock().expect("no panic").len() <= 3);
    }
}
