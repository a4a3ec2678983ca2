//! A limit for repeated warnings and errors: how often one line of code logs in a time window.
//!
//! Every client may cause the same warning, for example while the database is down. The first ones
//! inform the operator; a million of them would fill the disk.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many records one line of code may log in a window.
const LINES: u32 = 100;
/// The length of a window.
const WINDOW: Duration = Duration::from_secs(10);

/// Recent records of each line of code. Grows with the program, not with its clients.
#[derive(Default)]
pub(super) struct RepeatLimit {
    sites: HashMap<CallSite, RepeatWindow>,
}

/// Identifies a line of code: its target, and the line number in its file.
pub(super) type CallSite = (u64, u32);

struct RepeatWindow {
    began: Instant,
    written: u32,
    left_out: u64,
}

// === impl RepeatLimit ===

impl RepeatLimit {
    /// Whether a record may be logged: if so, how many of its kind were left out before it; none if
    /// it is left out too.
    pub(super) fn admit(&mut self, site: CallSite, now: Instant) -> Option<u64> {
        let fresh = RepeatWindow { began: now, written: 0, left_out: 0 };
        let window = self.sites.entry(site).or_insert(fresh);
        let mut left_out = 0;
        if now.duration_since(window.began) >= WINDOW {
            left_out = window.left_out;
            *window = RepeatWindow { began: now, written: 0, left_out: 0 };
        }
        if window.written == LINES {
            window.left_out += 1;
            return None;
        }
        window.written += 1;
        Some(left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_repeats_is_left_out_for_the_rest_of_its_window_and_others_are_not() {
        let (mut repeats, start) = (RepeatLimit::default(), Instant::now());
        let (flood, other) = ((1, 7), (1, 8));
        for _ in 0..LINES {
            assert_eq!(repeats.admit(flood, start), Some(0));
        }
        let late = start + WINDOW / 2;
        assert_eq!(repeats.admit(flood, late), None);
        assert_eq!(repeats.admit(flood, late), None);
        assert_eq!(repeats.admit(other, late), Some(0));
        assert_eq!(repeats.admit(flood, start + WINDOW), Some(2));
        assert_eq!(repeats.admit(flood, start + WINDOW), Some(0));
    }
}
