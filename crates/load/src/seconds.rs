//! A run second by second, for the charts of a report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::measure::Timing;

/// An interval of a run: a second, or several in a run of hours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// When it ended, in seconds from the beginning.
    pub at: f64,
    /// Members in their rooms at that moment.
    pub inside: usize,
    /// Messages sent, per second.
    pub sent: f64,
    /// Messages seen, per second.
    pub seen: f64,
    /// Refusals in it.
    #[serde(default)]
    pub errors: u64,
    /// Connections that the hub ended in it.
    #[serde(default)]
    pub closes: u64,
    /// The processor use of this program; 1 is a core.
    pub cpu: f64,
    /// The hub's resource usage, if it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubSecond>,
    /// The times of what ended in this interval.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub times: BTreeMap<Timing, TimingSummary>,
}

/// The hub's resource usage in a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HubSecond {
    /// Its processor use; 1 is a core. None without two readings in the second.
    #[serde(default)]
    pub cpu: Option<f64>,
    /// Its memory, in bytes.
    pub memory: u64,
}

/// Times of one kind in a second, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimingSummary {
    /// How many.
    pub count: u64,
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// The most recorded intervals of a run.
const MAX_STRETCHES: u64 = 7200;

/// How many seconds an interval has in a run of this length.
pub fn stretch(secs: u64) -> u64 {
    secs.div_ceil(MAX_STRETCHES).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_days_keeps_no_more_than_one_of_hours() {
        assert_eq!((stretch(0), stretch(7200), stretch(7201)), (1, 1, 2));
        assert_eq!(stretch(7 * 86_400), 84);
    }
}
