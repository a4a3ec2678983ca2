//! How many inputs a property gets, and from which seed.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

/// Few cases from a fixed seed, unless `PROPTEST_CASES` and `PROPTEST_RNG_SEED` say otherwise:
/// `tests/fuzz` sets both.
pub fn config() -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(1);
    }
    // What is found becomes a test with the right value, beside the parser.
    config.failure_persistence = None;
    config
}
