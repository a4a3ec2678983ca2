//! What a node has committed in the last seconds. Each of its beats names it, so that a room that
//! was not told reads the rest.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use protocol::ids::OrderId;

/// For how long a commit is named: in three beats.
const NAMED_FOR: Duration = Duration::from_secs(3);
/// How many orders a beat names. Beyond it those that were committed first are left out, which
/// earlier beats have named; what is lost all the same is found by the slow comparison.
const MOST: usize = 16_384;

/// What an order's row says of its chat and its rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Commit {
    /// The order.
    pub order_id: OrderId,
    /// The highest number of a message; 0 where no message was committed.
    #[serde(default)]
    pub last_seq: i64,
    /// The revision of its rights; 0 where they were not changed.
    #[serde(default)]
    pub rev: i64,
}

/// The orders in which this node has committed something lately.
#[derive(Debug, Default)]
pub struct RecentCommits {
    by_order: HashMap<OrderId, Noted>,
    /// In the order of time; an order that is here several times counts by its last one.
    queue: VecDeque<(Instant, OrderId)>,
}

#[derive(Debug)]
struct Noted {
    last_seq: i64,
    rev: i64,
    at: Instant,
}

impl RecentCommits {
    /// Notes a commit.
    pub fn note(&mut self, order: &OrderId, last_seq: i64, rev: i64, now: Instant) {
        if let Some(noted) = self.by_order.get_mut(order) {
            (noted.last_seq, noted.rev) = (noted.last_seq.max(last_seq), noted.rev.max(rev));
            noted.at = now;
        } else {
            self.forget(now);
            self.by_order.insert(order.clone(), Noted { last_seq, rev, at: now });
            self.queue.push_back((now, order.clone()));
        }
    }

    /// The commits of the last seconds.
    pub fn recent(&mut self, now: Instant) -> Vec<Commit> {
        self.forget(now);
        let commit = |(order, noted): (&OrderId, &Noted)| Commit {
            order_id: order.clone(),
            last_seq: noted.last_seq,
            rev: noted.rev,
        };
        // One that was committed again lies further back than its time.
        let is_recent =
            |(_, noted): &(_, &Noted)| now.saturating_duration_since(noted.at) < NAMED_FOR;
        self.by_order.iter().filter(is_recent).map(commit).collect()
    }

    /// Forgets what is old, and what is too much.
    fn forget(&mut self, now: Instant) {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= NAMED_FOR;
        while let Some((at, _)) = self.queue.front()
            && (is_old(*at) || self.queue.len() >= MOST)
            && let Some((at, order)) = self.queue.pop_front()
        {
            match self.by_order.get(&order) {
                // It was committed again since.
                Some(noted) if noted.at > at && !is_old(noted.at) => {
                    self.queue.push_back((noted.at, order));
                }
                _ => drop(self.by_order.remove(&order)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(n: usize) -> OrderId {
        OrderId::new(&format!("o{n}")).expect("an id")
    }

    fn commit(n: usize, last_seq: i64, rev: i64) -> Commit {
        Commit { order_id: order(n), last_seq, rev }
    }

    #[test]
    fn a_commit_is_named_for_three_seconds_with_the_highest_numbers() {
        let (mut commits, start) = (RecentCommits::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        commits.note(&order(1), 4, 0, at(0));
        commits.note(&order(1), 0, 2, at(1000));
        commits.note(&order(2), 9, 0, at(2000));
        let mut recent = commits.recent(at(3500));
        recent.sort_by(|one, other| one.order_id.cmp(&other.order_id));
        assert_eq!(recent, [commit(1, 4, 2), commit(2, 9, 0)]);
        assert_eq!(commits.recent(at(4500)), [commit(2, 9, 0)]);
        assert_eq!(commits.recent(at(5000)), []);
        assert!(commits.queue.is_empty());
    }

    #[test]
    fn their_number_is_bounded() {
        let (mut commits, now) = (RecentCommits::default(), Instant::now());
        for n in 0..=MOST {
            commits.note(&order(n), 1, 0, now);
        }
        let recent = commits.recent(now);
        assert!(recent.len() <= MOST && commits.queue.len() <= MOST);
        assert!(recent.contains(&commit(MOST, 1, 0)), "the newest is named");
    }

    #[test]
    fn what_travels_may_have_new_fields_and_lack_numbers() {
        let read = |text| serde_json::from_str::<Commit>(text).ok();
        assert_eq!(read(r#"{"orderId":"o1","rev":3,"new":1}"#), Some(commit(1, 0, 3)));
        assert_eq!(read(r#"{"orderId":"a b"}"#), None);
    }
}
