//! Random bytes for names, fetched from the system many at a time: a call for each would be a good
//! part of what a connection costs.

use std::cell::RefCell;

/// How many bytes a thread fetches at once.
const POOL: usize = 1024;

thread_local! {
    static UNUSED: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL], used: POOL }) };
}

/// What a thread has fetched.
struct Pool {
    bytes: [u8; POOL],
    /// How many of them were given out, from the first on.
    used: usize,
}

impl Pool {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), getrandom::Error> {
        if out.len() > POOL {
            return getrandom::fill(out);
        }
        if self.used + out.len() > POOL {
            getrandom::fill(&mut self.bytes)?;
            self.used = 0;
        }
        let given = &mut self.bytes[self.used..self.used + out.len()];
        out.copy_from_slice(given);
        // They are somebody's secret now, and nobody else's.
        given.fill(0);
        self.used += out.len();
        Ok(())
    }
}

/// Fills `out` with bytes that nobody can guess and nobody else gets.
///
/// # Errors
/// Where the system has no randomness to give.
pub fn fill(out: &mut [u8]) -> Result<(), getrandom::Error> {
    UNUSED.with_borrow_mut(|pool| pool.fill(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_what_somebody_got_before() {
        let mut pool = Pool { bytes: [0; POOL], used: POOL };
        let mut given = std::collections::HashSet::new();
        for length in (8..40).cycle().take(1000) {
            let mut out = vec![0; length];
            pool.fill(&mut out).expect("randomness");
            assert!(given.insert(out[..8].to_vec()));
            assert!(pool.bytes[..pool.used].iter().all(|byte| *byte == 0));
        }
        let mut large = vec![0; 3 * POOL];
        pool.fill(&mut large).expect("randomness");
        assert!(large.chunks(POOL).all(|part| part.iter().any(|byte| *byte != 0)));
    }
}
