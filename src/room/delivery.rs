//! Delivers chat messages strictly in order of their `seq`, in whatever order they arrive.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many messages after a gap may wait.
const MAX_WAITING: usize = 64;
/// After so many reads that find nothing of a gap, what came behind it does not exist.
const MAX_EMPTY_READS: u32 = 10;
/// How old a gap must be before it is read from the database.
pub const GAP_AGE: Duration = Duration::from_millis(100);

/// The last delivered message, and those that wait for a gap to be filled.
#[derive(Debug)]
pub struct Delivery<T> {
    /// The highest delivered `seq`.
    delivered: i64,
    /// The highest `seq` that ever arrived: all messages up to it exist.
    known: i64,
    /// Messages after `delivered + 1`, by `seq`.
    waiting: BTreeMap<i64, T>,
    /// Since when there is a gap.
    gap_since: Option<Instant>,
    /// How many reads of the gap have found nothing.
    empty_reads: u32,
}

impl<T> Delivery<T> {
    /// Continues after `delivered`.
    pub fn new(delivered: i64) -> Self {
        Self {
            delivered,
            known: delivered,
            waiting: BTreeMap::new(),
            gap_since: None,
            empty_reads: 0,
        }
    }

    /// The highest delivered `seq`.
    pub fn delivered(&self) -> i64 {
        self.delivered
    }

    /// Takes a message and returns those that are delivered now, in order. A message that was
    /// delivered before is dropped; so is the highest one where too many wait, and the read of the
    /// gap brings it back.
    pub fn accept(&mut self, seq: i64, message: T, now: Instant) -> Vec<(i64, T)> {
        if seq <= self.delivered {
            return Vec::new();
        }
        self.known = self.known.max(seq);
        self.waiting.insert(seq, message);
        let mut ready = Vec::new();
        while let Some(message) = self.waiting.remove(&(self.delivered + 1)) {
            self.delivered += 1;
            ready.push((self.delivered, message));
        }
        if self.waiting.len() > MAX_WAITING {
            self.waiting.pop_last();
        }
        if !ready.is_empty() {
            self.empty_reads = 0;
        }
        let complete = self.delivered == self.known;
        self.gap_since = match (complete, ready.is_empty()) {
            (true, _) => None,
            (false, true) => self.gap_since.or(Some(now)),
            (false, false) => Some(now),
        };
        ready
    }

    /// Notes that all messages up to this one exist. Those that do not come are read.
    pub fn learn(&mut self, seq: i64, now: Instant) {
        if seq > self.known.max(self.delivered) {
            self.known = seq;
            self.gap_since.get_or_insert(now);
        }
    }

    /// The database had nothing of the gap when it was asked. What was only said to exist is
    /// forgotten; what came is kept, since the gap may have been filled meanwhile, unless it stays.
    pub fn forget_gap(&mut self) {
        self.empty_reads += 1;
        if self.empty_reads >= MAX_EMPTY_READS {
            self.waiting.clear();
        }
        let highest = self.waiting.last_key_value().map_or(0, |(seq, _)| *seq);
        self.known = highest.max(self.delivered);
        if self.waiting.is_empty() {
            (self.gap_since, self.empty_reads) = (None, 0);
        }
    }

    /// When the gap will be old enough for a read.
    pub fn gap_due(&self) -> Option<Instant> {
        self.gap_since.map(|since| since + GAP_AGE)
    }

    /// The gap to read now: the last `seq` before it and the last one in it. The next read is due
    /// after another [`GAP_AGE`].
    pub fn gap(&mut self, now: Instant) -> Option<(i64, i64)> {
        if self.gap_due()? > now {
            return None;
        }
        self.gap_since = Some(now);
        // Nothing waits only where a message was dropped because too many waited.
        let upto = self.waiting.first_key_value().map_or(self.known, |(first, _)| first - 1);
        Some((self.delivered, upto))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seqs(ready: &[(i64, ())]) -> Vec<i64> {
        ready.iter().map(|(seq, ())| *seq).collect()
    }

    #[test]
    fn messages_are_delivered_in_order_and_once() {
        let (mut delivery, now) = (Delivery::new(4), Instant::now());
        assert!(delivery.accept(6, (), now).is_empty());
        assert!(delivery.accept(7, (), now).is_empty());
        assert_eq!(seqs(&delivery.accept(5, (), now)), [5, 6, 7]);
        assert!(delivery.accept(6, (), now).is_empty());
        assert_eq!(seqs(&delivery.accept(8, (), now)), [8]);
        assert_eq!(delivery.delivered(), 8);
    }

    #[test]
    fn a_gap_is_read_once_it_is_old_enough() {
        let (mut delivery, now) = (Delivery::new(0), Instant::now());
        delivery.accept(3, (), now);
        assert_eq!(delivery.gap(now), None);
        let later = now + GAP_AGE;
        assert_eq!(delivery.gap(later), Some((0, 2)));
        assert_eq!(delivery.gap(later), None, "one read at a time");
        delivery.accept(1, (), later);
        assert_eq!(delivery.gap(later + GAP_AGE), Some((1, 2)));
        delivery.accept(2, (), later);
        assert_eq!((delivery.delivered(), delivery.gap_due()), (3, None));
    }

    #[test]
    fn what_others_know_of_is_read_if_it_does_not_come() {
        let (mut delivery, now) = (Delivery::new(4), Instant::now());
        delivery.learn(4, now);
        assert_eq!(delivery.gap_due(), None, "it is here");
        delivery.learn(6, now);
        delivery.learn(5, now + GAP_AGE);
        assert_eq!(delivery.gap(now + GAP_AGE), Some((4, 6)));
        delivery.accept(5, (), now);
        delivery.accept(6, (), now);
        assert_eq!(delivery.gap_due(), None);
        delivery.learn(i64::MAX, now);
        delivery.forget_gap();
        assert_eq!(delivery.gap_due(), None, "it was only said");
        assert!(delivery.accept(8, (), now).is_empty());
        delivery.forget_gap();
        assert_eq!(seqs(&delivery.accept(7, (), now)), [7, 8], "what came is kept");
        assert!(delivery.accept(99, (), now).is_empty());
        (0..MAX_EMPTY_READS).for_each(|_| delivery.forget_gap());
        assert_eq!((delivery.waiting.len(), delivery.gap_due()), (0, None));
    }

    #[test]
    fn the_number_of_messages_behind_a_gap_is_bounded() {
        let (mut delivery, now) = (Delivery::new(0), Instant::now());
        for seq in 2..200 {
            delivery.accept(seq, (), now);
        }
        assert_eq!(delivery.waiting.len(), MAX_WAITING);
        assert_eq!(seqs(&delivery.accept(1, (), now)), (1..=65).collect::<Vec<_>>());
        let later = now + GAP_AGE;
        assert_eq!(delivery.gap(later), Some((65, 199)), "those that had no room are read");
    }
}
