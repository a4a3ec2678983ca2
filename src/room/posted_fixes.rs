//! Fixes that are posted together, some of them late: the outcome of each, and which of them are
//! points of the trail.

use std::time::Duration;

use protocol::error::ErrorCode;
use protocol::location::Position;

/// The outcome of one fix, from worst to best. For a fix of several orders the best outcome counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FixOutcome {
    /// No order accepted it.
    Rejected(ErrorCode),
    /// It is older than what is known.
    Stale,
    /// It counts.
    Accepted,
}

// === impl FixOutcome ===

impl FixOutcome {
    /// The better of two outcomes.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let rank = |outcome| match outcome {
            Self::Rejected(_) => 0,
            Self::Stale => 1,
            Self::Accepted => 2,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

/// Thins positions, which are sorted by time, so that at least `interval` lies between them.
pub fn thin_trail(positions: impl Iterator<Item = Position>, interval: Duration) -> Vec<Position> {
    let mut kept: Vec<Position> = Vec::new();
    for position in positions {
        let due = kept.last().map(|last| last.taken_at().plus(interval));
        if due.is_none_or(|due| position.taken_at() >= due) {
            kept.push(position);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::events::location::Fix;
    use protocol::time::Timestamp;

    fn fix(secs: Option<i64>) -> Fix {
        Fix {
            lat: 1.0,
            lng: 2.0,
            accuracy: None,
            heading: None,
            speed: None,
            altitude: None,
            battery: None,
            recorded_at: secs.map(Timestamp::from_secs),
        }
    }

    #[test]
    fn the_trail_has_a_point_per_interval() {
        let driver: protocol::ids::UserId = "d".parse().expect("an id");
        let at = |secs| Position::of(&fix(Some(secs)), driver.clone(), Timestamp::from_secs(500));
        let kept =
            thin_trail([0, 1, 9, 10, 19, 21, 300].into_iter().map(at), Duration::from_secs(10));
        let kept: Vec<i64> =
            kept.iter().map(|position| position.taken_at().as_millis() / 1000).collect();
        assert_eq!(kept, [0, 10, 21, 300]);
    }

    #[test]
    fn the_best_outcome_of_several_orders_is_returned() {
        use FixOutcome::{Accepted, Rejected, Stale};
        let refused = Rejected(ErrorCode::Forbidden);
        assert_eq!(refused.or(Stale).or(Accepted).or(refused), Accepted);
        assert_eq!(refused.or(Rejected(ErrorCode::OrderClosed)), refused, "the first");
    }
}
