//! Random bytes for ids. A thread fetches many at a time, because one system call for each id would
//! be a large part of the cost of a connection.

use std::cell::RefCell;

/// How many bytes a thread fetches at once.
const POOL: usize = 1024;

thread_local! {
    static UNUSED: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL], used: POOL }) };
}

/// The bytes that a thread has fetched.
struct Pool {
    bytes: [u8; POOL],
    /// How many of them, from the first, were given out.
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
        // They are a secret of the caller now, so no copy stays here.
        given.fill(0);
        self.used += out.len();
        Ok(())
    }
}

/// Fills `out` with unpredictable bytes, which are given out only once.
///
/// # Errors
/// Where the system has no randomness.
pub fn fill(out: &mut [u8]) -> Result<(), getrandom::Error> {
    UNUSED.with_borrow_mut(|pool| pool.fill(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_do_not_repeat() {
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
