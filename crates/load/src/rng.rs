//! Random numbers that a seed makes repeatable: `SplitMix64` (Steele, Lea, Flood 2014). Not for
//! secrets.

/// A stream of numbers; the same seed gives the same stream.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Stream `number` of a seed. Streams are independent.
    pub fn stream(seed: u64, number: u64) -> Self {
        Self(Self(seed ^ Self(number).next()).next())
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least 0 and below 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float holds")]
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// At least 0 and below `most`; 0 if `most` is 0.
    pub fn below(&mut self, most: u64) -> u64 {
        u64::try_from((u128::from(self.next()) * u128::from(most)) >> 64).unwrap_or(0)
    }

    /// A number from half of `middle` to one and a half of it.
    pub fn around(&mut self, middle: u64) -> u64 {
        middle / 2 + self.below(middle)
    }

    /// The time to the next random event at this rate per second: microseconds, at least one.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and a cast saturates"
    )]
    pub fn gap(&mut self, per_second: f64) -> u64 {
        (-(1.0 - self.unit()).ln() / per_second * 1e6).clamp(1.0, 1e15) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_numbers_and_they_stay_within_their_bounds() {
        let (mut one, mut two) = (Rng::new(7), Rng::new(7));
        for _ in 0..1000 {
            assert_eq!(one.next(), two.next());
            assert!((0.0..1.0).contains(&one.unit()));
            assert!(one.below(10) < 10);
            assert!((50..150).contains(&one.around(100)));
            two = one.clone();
        }
        assert_eq!(one.below(0), 0);
    }

    #[test]
    fn streams_of_a_seed_repeat_and_differ() {
        let first = |seed, number| Rng::stream(seed, number).next();
        assert_eq!(first(1, 2), first(1, 2));
        let all: std::collections::BTreeSet<u64> =
            (0..10).flat_map(|seed| (0..100).map(move |number| first(seed, number))).collect();
        assert_eq!(all.len(), 1000);
    }

    #[test]
    fn gaps_come_to_the_rate() {
        let mut rng = Rng::new(1);
        let sum: u64 = (0..10_000).map(|_| rng.gap(100.0)).sum();
        assert!((95_000_000..105_000_000).contains(&sum), "{sum}");
        // So rare that it never happens; the sum with any time still fits.
        assert!(rng.gap(1e-300) <= 1_000_000_000_000_000);
    }
}
