//! Rates: how many events a client may send, and when patience ends.

use std::time::{Duration, Instant};

/// A bucket of tokens that refills steadily: so many events a second, so many at once.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Time that one event costs; none where the rate is not limited.
    cost: Option<Duration>,
    /// Time that can be saved up.
    depth: Duration,
    /// From when on the bucket is full.
    full_at: Option<Instant>,
}

/// Counts offences, of which one is forgiven at intervals.
#[derive(Debug, Clone)]
pub struct Strikes {
    bucket: Bucket,
}

// === impl Bucket ===

impl Bucket {
    /// `per_second` events a second, `burst` at once. 0 a second means no limit.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let cost = (per_second > 0).then(|| Duration::from_secs(1) / per_second);
        Self { cost, depth: cost.unwrap_or_default() * burst, full_at: None }
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long until there is one again.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let Some(cost) = self.cost else { return Ok(()) };
        let owed = self.full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        if owed + cost > self.depth {
            return Err((owed + cost).saturating_sub(self.depth));
        }
        self.full_at = Some(now + owed + cost);
        Ok(())
    }
}

// === impl Strikes ===

impl Strikes {
    /// The `most`-th offence ends patience; one is forgiven every `forgive`.
    pub fn new(most: u32, forgive: Duration) -> Self {
        let bucket = Bucket { cost: Some(forgive), depth: forgive * (most - 1), full_at: None };
        Self { bucket }
    }

    /// Counts one. True where it was one too many.
    pub fn strike(&mut self, now: Instant) -> bool {
        self.bucket.take(now).is_err()
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
}
