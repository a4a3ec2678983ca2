//! The last messages of a room, kept as JSON so that a snapshot copies instead of encoding.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::value::RawValue;

use protocol::chat::MAX_PAGE_BYTES;

/// The most messages kept.
const MAX_MESSAGES: usize = 200;
/// The most bytes kept.
const MAX_BYTES: usize = 128 * 1024;

/// A stored message as JSON.
pub type MessageJson = Arc<RawValue>;

/// The newest messages of a room, without a gap.
#[derive(Debug, Default)]
pub struct RecentMessages {
    messages: VecDeque<MessageJson>,
    /// The seq of the newest; 0 before the first message.
    last_seq: i64,
    bytes: usize,
}

/// The messages of a snapshot.
#[derive(Debug)]
pub struct SnapshotPage {
    /// Messages in order.
    pub messages: Vec<MessageJson>,
    /// Whether they are all messages since the joiner's `sinceSeq`.
    pub recovered: bool,
}

impl RecentMessages {
    /// An empty list, of a room whose newest message is `last_seq`.
    pub fn new(last_seq: i64) -> Self {
        Self { last_seq, ..Self::default() }
    }

    /// The seq of the newest message.
    pub fn last_seq(&self) -> i64 {
        self.last_seq
    }

    /// Adds the next message, and drops the oldest ones beyond the bounds.
    pub fn push(&mut self, seq: i64, message: MessageJson) {
        if seq != self.last_seq + 1 {
            // Messages before a gap cannot be part of a page any more.
            self.messages.clear();
            self.bytes = 0;
        }
        self.last_seq = seq;
        self.bytes += message.get().len();
        self.messages.push_back(message);
        while self.messages.len() > MAX_MESSAGES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes -= oldest.get().len();
        }
    }

    /// The seq of the oldest kept message, or of the next one where none is kept.
    fn first_seq(&self) -> i64 {
        self.last_seq + 1 - i64::try_from(self.messages.len()).unwrap_or(0)
    }

    /// The page for a joiner that has all messages up to `since` (`None`: it has none): all newer
    /// messages, or, where they exceed `limit` or [`MAX_PAGE_BYTES`], the newest page. `None` where
    /// the kept messages do not reach back far enough.
    pub fn page(&self, since: Option<i64>, limit: i64) -> Option<SnapshotPage> {
        let since = since.map(|since| since.min(self.last_seq));
        let after = since.unwrap_or(0).max(self.last_seq - limit);
        if after + 1 < self.first_seq() && !self.fills_a_page(limit) {
            return None;
        }
        let wanted = usize::try_from(self.last_seq - after).unwrap_or(0);
        let messages = newest(self.messages.iter().rev().take(wanted).cloned());
        let complete = since.is_some_and(|since| {
            i64::try_from(messages.len()).is_ok_and(|found| since + found == self.last_seq)
        });
        Some(SnapshotPage { messages, recovered: complete })
    }

    /// Whether the kept messages fill a page: then no page reaches back further.
    fn fills_a_page(&self, limit: i64) -> bool {
        let limit = usize::try_from(limit).unwrap_or(0);
        self.messages.len() >= limit || self.bytes > MAX_PAGE_BYTES
    }
}

/// As many of the newest messages as fit into a page, oldest first. At least one, however large.
fn newest(from_newest: impl Iterator<Item = MessageJson>) -> Vec<MessageJson> {
    let mut bytes = 0;
    let mut messages: Vec<_> = from_newest
        .take_while(|message| {
            let first = bytes == 0;
            bytes += message.get().len();
            first || bytes <= MAX_PAGE_BYTES
        })
        .collect();
    messages.reverse();
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: i64, bytes: usize) -> MessageJson {
        let number = seq.to_string();
        let text = format!("\"{}{number}\"", "0".repeat(bytes - 2 - number.len()));
        Arc::from(RawValue::from_string(text).expect("JSON"))
    }

    fn ring(seqs: std::ops::RangeInclusive<i64>, bytes: usize) -> RecentMessages {
        let mut ring = RecentMessages::new(seqs.start() - 1);
        seqs.for_each(|seq| ring.push(seq, message(seq, bytes)));
        ring
    }

    fn shown(ring: &RecentMessages, since: Option<i64>, limit: i64) -> Option<(Vec<i64>, bool)> {
        let page = ring.page(since, limit)?;
        let seq = |json: &MessageJson| json.get().trim_matches('"').parse().expect("a seq");
        Some((page.messages.iter().map(seq).collect(), page.recovered))
    }

    #[test]
    fn a_first_snapshot_holds_the_newest_messages() {
        assert_eq!(shown(&RecentMessages::new(0), None, 50), Some((vec![], false)));
        assert_eq!(shown(&ring(1..=5, 20), None, 3), Some((vec![3, 4, 5], false)));
        assert_eq!(shown(&ring(1..=5, 20), None, 50), Some((vec![1, 2, 3, 4, 5], false)));
        assert_eq!(shown(&ring(1..=5, 20), None, 0), Some((vec![], false)));
    }

    #[test]
    fn a_snapshot_since_a_seq_holds_the_missed_messages() {
        let ring = ring(1..=9, 20);
        assert_eq!(shown(&ring, Some(7), 50), Some((vec![8, 9], true)));
        assert_eq!(shown(&ring, Some(9), 50), Some((vec![], true)));
        assert_eq!(shown(&ring, Some(99), 50), Some((vec![], true)), "beyond counts as newest");
        assert_eq!(shown(&ring, Some(2), 3), Some((vec![7, 8, 9], false)), "gap over the page");
        assert_eq!(shown(&ring, Some(6), 3), Some((vec![7, 8, 9], true)));
        assert_eq!(shown(&ring, Some(0), 9), Some(((1..=9).collect(), true)));
    }

    #[test]
    fn messages_that_are_not_kept_must_be_read() {
        let ring = ring(101..=110, 20);
        assert_eq!(shown(&ring, None, 50), None);
        assert_eq!(shown(&ring, Some(99), 50), None);
        assert_eq!(shown(&ring, Some(100), 50), Some(((101..=110).collect(), true)));
        assert_eq!(shown(&ring, None, 10), Some(((101..=110).collect(), false)));
        assert_eq!(shown(&RecentMessages::new(5), None, 50), None);
    }

    #[test]
    fn a_page_ends_at_48_kib_and_has_at_least_one_message() {
        let large = ring(1..=20, 10 * 1024);
        assert_eq!(shown(&large, None, 50), Some(((17..=20).collect(), false)));
        assert_eq!(shown(&large, Some(1), 50), Some(((17..=20).collect(), false)));
        assert_eq!(shown(&ring(1..=2, 70 * 1024), Some(1), 50), Some((vec![2], true)));
    }

    #[test]
    fn memory_is_bounded_and_a_gap_clears_the_list() {
        let mut ring = ring(1..=1000, 1000);
        assert!(ring.messages.len() <= MAX_MESSAGES && ring.bytes <= MAX_BYTES);
        ring.push(2000, message(2000, 20));
        assert_eq!((ring.messages.len(), ring.bytes, ring.last_seq()), (1, 20, 2000));
    }
}
