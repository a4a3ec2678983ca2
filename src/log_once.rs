//! Values from clients that are logged once each.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// How many values are remembered. Later ones are not logged.
const MOST_VALUES: usize = 100;
/// How many characters of a value are compared and logged.
const MOST_CHARS: usize = 100;

/// Values that were logged. Clients choose them, so their number and length are bounded.
#[derive(Debug, Default)]
pub struct LogOnce {
    logged: Mutex<HashSet<Box<str>>>,
}

impl LogOnce {
    /// The value as it is to be logged: cut, in quotes, with invisible characters escaped. `None`
    /// if it was logged before, or the set is full.
    pub fn first(&self, value: &str) -> Option<String> {
        let cut: Box<str> = value.chars().take(MOST_CHARS).collect();
        let shown = format!("{cut:?}");
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        (logged.len() < MOST_VALUES && logged.insert(cut)).then_some(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_logged_once_cut_and_escaped() {
        let once = LogOnce::default();
        assert_eq!(once.first("okhttp/3.12").as_deref(), Some("\"okhttp/3.12\""));
        assert_eq!(once.first("okhttp/3.12"), None);
        assert_eq!(once.first("a\nb\u{1b}\"").as_deref(), Some("\"a\\nb\\u{1b}\\\"\""));
        let long = "x".repeat(MOST_CHARS + 1);
        assert_eq!(once.first(&long).map(|shown| shown.len()), Some(MOST_CHARS + 2));
        assert_eq!(once.first(&long[1..]), None, "only what is logged counts");
    }

    #[test]
    fn beyond_the_most_nothing_is_logged_or_remembered() {
        let once = LogOnce::default();
        let logged = (0..2 * MOST_VALUES).filter_map(|n| once.first(&n.to_string())).count();
        assert_eq!(logged, MOST_VALUES);
    }
}
