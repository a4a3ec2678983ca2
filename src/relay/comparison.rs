//! When the rooms of a node are compared with the database: what has no effect by the bus is found
//! in this way.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::{Duration, Instant};

use protocol::ids::OrderId;

/// How many orders one query asks for.
const QUERY_ORDERS: usize = 500;
/// How many queries are under way at most.
const MAX_QUERIES: usize = 2;
/// In so many seconds all orders are compared while all is well.
const CALM_SECONDS: usize = 25;
/// For how long all rooms are compared every second after the bus is back: others were down too.
pub const AFTER_RECONNECT: Duration = Duration::from_secs(3);
/// The same after a node vanished, which may have been killed between a commit and its publishing.
pub const AFTER_VANISHING: Duration = Duration::from_secs(10);

/// Which orders are to be compared, and when.
#[derive(Debug)]
pub struct Comparison {
    /// Orders whose turn it is.
    queue: VecDeque<OrderId>,
    /// Those that go before the others.
    first: BTreeSet<OrderId>,
    /// Where the calm pass goes on.
    cursor: Option<OrderId>,
    queries: usize,
    is_up: bool,
    /// Whether a node does not hear the others, and goes on storing.
    is_cut_off: bool,
    hurries_until: Option<Instant>,
    up_since: Option<Instant>,
}

impl Default for Comparison {
    /// A bus begins as down.
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            first: BTreeSet::new(),
            up_since: None,
            cursor: None,
            queries: 0,
            is_up: false,
            is_cut_off: false,
            hurries_until: None,
        }
    }
}

impl Comparison {
    /// The bus has another state.
    pub fn set_up(&mut self, is_up: bool, now: Instant) {
        if self.is_up == is_up {
            return;
        }
        self.is_up = is_up;
        self.up_since = is_up.then_some(now);
        if is_up {
            self.hurry(now + AFTER_RECONNECT);
        }
    }

    /// Whether there is a node that stores and publishes nothing.
    pub fn set_cut_off(&mut self, is_cut_off: bool, now: Instant) {
        if self.is_cut_off && !is_cut_off {
            self.hurry(now + AFTER_RECONNECT);
        }
        self.is_cut_off = is_cut_off;
    }

    /// Compares everything every second until then.
    pub fn hurry(&mut self, until: Instant) {
        self.hurries_until = self.hurries_until.max(Some(until));
    }

    /// Compares an order before the others.
    pub fn add(&mut self, order: &OrderId) {
        self.first.insert(order.clone());
    }

    /// Whether this node hears the others for long enough to say who is gone.
    pub fn hears_others(&self, now: Instant) -> bool {
        self.up_since.is_some_and(|since| now >= since + AFTER_RECONNECT)
    }

    /// Once a second: whose turn it is. What still waits goes first.
    pub fn tick(&mut self, orders: &BTreeSet<&OrderId>, now: Instant) {
        if !self.queue.is_empty() {
            return;
        }
        let hurries =
            !self.is_up || self.is_cut_off || self.hurries_until.is_some_and(|until| now < until);
        if hurries {
            self.cursor = None;
            self.queue.extend(orders.iter().copied().cloned());
            return;
        }
        let start = self.cursor.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let slice = orders.len().div_ceil(CALM_SECONDS);
        let next = orders.range::<OrderId, _>((start, Bound::Unbounded)).take(slice);
        self.queue.extend(next.copied().cloned());
        // At the end the next pass begins.
        self.cursor = self.queue.back().cloned();
    }

    /// The orders of the next query, if one may be made.
    pub fn next_query(&mut self) -> Option<Vec<OrderId>> {
        if self.queries >= MAX_QUERIES || (self.queue.is_empty() && self.first.is_empty()) {
            return None;
        }
        self.queries += 1;
        let mut orders = Vec::new();
        while orders.len() < QUERY_ORDERS
            && let Some(order) = self.first.pop_first().or_else(|| self.queue.pop_front())
        {
            orders.push(order);
        }
        Some(orders)
    }

    /// A query was answered.
    pub fn answered(&mut self) {
        self.queries = self.queries.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ids(count: usize) -> Vec<OrderId> {
        (0..count).map(|n| OrderId::new(&format!("o{n:05}")).expect("an id")).collect()
    }

    /// How many orders are compared in a second.
    fn compared(comparison: &mut Comparison, ids: &[OrderId], now: Instant) -> usize {
        comparison.tick(&ids.iter().collect(), now);
        let mut count = 0;
        while let Some(query) = comparison.next_query() {
            count += query.len();
            comparison.answered();
        }
        count
    }

    #[test]
    fn all_are_compared_every_second_while_something_is_wrong_and_a_while_after() {
        let (mut comparison, ids, start) = (Comparison::default(), ids(100), Instant::now());
        assert_eq!(compared(&mut comparison, &ids, start), 100, "the bus is down");
        comparison.set_up(true, start);
        assert_eq!(compared(&mut comparison, &ids, start + 2 * SECOND), 100);
        assert_eq!(compared(&mut comparison, &ids, start + 3 * SECOND), 4);
        comparison.hurry(start + 14 * SECOND);
        assert_eq!(compared(&mut comparison, &ids, start + 13 * SECOND), 100);
        assert_eq!(compared(&mut comparison, &ids, start + 14 * SECOND), 4);
        comparison.set_cut_off(true, start + 60 * SECOND);
        assert_eq!(compared(&mut comparison, &ids, start + 99 * SECOND), 100);
        comparison.set_cut_off(false, start + 100 * SECOND);
        assert_eq!(compared(&mut comparison, &ids, start + 101 * SECOND), 100);
        assert_eq!(compared(&mut comparison, &ids, start + 103 * SECOND), 4);
    }

    #[test]
    fn while_all_is_well_each_order_is_compared_within_half_a_minute() {
        for count in [0, 1, 7, 25, 26, 999] {
            let (mut comparison, ids, now) = (Comparison::default(), ids(count), Instant::now());
            comparison.set_up(true, now);
            let later = now + 9 * SECOND;
            let mut seen = BTreeSet::new();
            for _ in 0..30 {
                comparison.tick(&ids.iter().collect(), later);
                let query = comparison.next_query().unwrap_or_default();
                assert!(query.len() <= count.div_ceil(CALM_SECONDS));
                seen.extend(query);
                comparison.answered();
            }
            assert_eq!(seen.len(), count);
        }
    }

    #[test]
    fn a_node_says_who_is_gone_only_if_it_hears_the_others_for_a_while() {
        let (mut comparison, now) = (Comparison::default(), Instant::now());
        assert!(!comparison.hears_others(now));
        comparison.set_up(true, now);
        comparison.set_up(true, now + 2 * SECOND);
        assert!(!comparison.hears_others(now + 2 * SECOND));
        assert!(comparison.hears_others(now + 3 * SECOND));
        comparison.set_up(false, now + 4 * SECOND);
        assert!(!comparison.hears_others(now + 9 * SECOND));
    }

    #[test]
    fn few_queries_are_under_way_and_none_is_large() {
        let (mut comparison, ids) = (Comparison::default(), ids(1200));
        comparison.tick(&ids.iter().collect(), Instant::now());
        let query = |comparison: &mut Comparison| comparison.next_query().map(|ids| ids.len());
        assert_eq!([(); 3].map(|()| query(&mut comparison)), [Some(500), Some(500), None]);
        comparison.tick(&ids.iter().collect(), Instant::now());
        comparison.answered();
        assert_eq!(query(&mut comparison), Some(200), "nobody twice");
        comparison.add(&ids[3]);
        comparison.add(&ids[3]);
        comparison.answered();
        assert_eq!(query(&mut comparison), Some(1));
    }
}
