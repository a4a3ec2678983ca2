//! How far each user has read an order's chat.

use std::collections::BTreeMap;

use protocol::ids::UserId;

/// The read marks of an order: the highest message that each user has read. They only increase.
#[derive(Debug, Default)]
pub struct ReadMarks {
    seqs: BTreeMap<UserId, i64>,
}

/// The result of a mark that moved.
#[derive(Debug, PartialEq, Eq)]
pub struct MarkAdvance {
    /// The user whose mark was dropped for it where there were too many: the one furthest behind.
    pub forgotten: Option<UserId>,
}

// === impl ReadMarks ===

impl ReadMarks {
    /// How many marks are kept at most.
    pub const MOST: usize = 100;

    /// The stored marks; of too many, the highest ones.
    pub fn new(mut stored: Vec<(UserId, i64)>) -> Self {
        stored.sort_unstable_by_key(|(_, seq)| std::cmp::Reverse(*seq));
        stored.truncate(Self::MOST);
        Self { seqs: stored.into_iter().collect() }
    }

    /// Notes that a user has read up to `seq`. `None` where the mark does not move.
    pub fn advance(&mut self, user: &UserId, seq: i64) -> Option<MarkAdvance> {
        if let Some(mark) = self.seqs.get_mut(user) {
            let moved = *mark < seq;
            *mark = (*mark).max(seq);
            return moved.then_some(MarkAdvance { forgotten: None });
        }
        if seq <= 0 {
            return None;
        }
        let forgotten = (self.seqs.len() >= Self::MOST).then(|| self.forget_one()).flatten();
        self.seqs.insert(user.clone(), seq);
        Some(MarkAdvance { forgotten })
    }

    fn forget_one(&mut self) -> Option<UserId> {
        let furthest_behind = self.seqs.iter().min_by_key(|(_, seq)| **seq);
        let user = furthest_behind.map(|(user, _)| user.clone())?;
        self.seqs.remove(&user);
        Some(user)
    }

    /// How many of the messages after `floor` and up to `cut` a user has not read. A user who sends
    /// a message has read all before it, so these are messages of others.
    pub fn unread(&self, user: &UserId, floor: i64, cut: i64) -> i64 {
        let read = self.seqs.get(user).map_or(floor, |seq| (*seq).max(floor));
        (cut - read).max(0)
    }

    /// How far a user has read.
    pub fn of(&self, user: &UserId) -> i64 {
        self.seqs.get(user).copied().unwrap_or(0)
    }

    /// All marks, sorted by user.
    pub fn iter(&self) -> impl Iterator<Item = (&UserId, i64)> {
        self.seqs.iter().map(|(user, seq)| (user, *seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> UserId {
        id.parse().expect("an id")
    }

    fn marks(marks: &ReadMarks) -> Vec<(String, i64)> {
        marks.iter().map(|(user, seq)| (user.to_string(), seq)).collect()
    }

    #[test]
    fn a_mark_moves_up_and_never_back() {
        let (mut read, ann) = (ReadMarks::new(vec![(user("bob"), 7)]), user("ann"));
        assert_eq!(read.advance(&ann, 0), None, "nothing is nothing");
        assert!(read.advance(&ann, 3).is_some());
        assert_eq!(read.advance(&ann, 3), None);
        assert_eq!(read.advance(&ann, 2), None);
        assert!(read.advance(&ann, 5).is_some());
        assert_eq!(marks(&read), [("ann".to_owned(), 5), ("bob".to_owned(), 7)]);
    }

    #[test]
    fn messages_after_the_mark_are_unread() {
        let read = ReadMarks::new(vec![(user("ann"), 3), (user("bob"), 9)]);
        assert_eq!(read.unread(&user("ann"), 0, 5), 2);
        assert_eq!(read.unread(&user("bob"), 0, 5), 0, "read further than this");
        assert_eq!(read.unread(&user("carl"), 0, 5), 5);
        assert_eq!(read.unread(&user("carl"), 4, 5), 1, "what is gone is not unread");
        assert_eq!(read.unread(&user("ann"), 4, 5), 1);
    }

    #[test]
    fn beyond_the_bound_the_lowest_mark_is_dropped() {
        let stored = (0..=ReadMarks::MOST).zip((0..1000).rev());
        let stored = stored.map(|(n, seq)| (user(&format!("u{n}")), seq)).collect();
        let mut read = ReadMarks::new(stored);
        assert_eq!(read.iter().count(), ReadMarks::MOST);
        assert_eq!(
            read.unread(&user("u100"), 0, 1),
            1,
            "the lowest of the stored ones is not taken"
        );
        let moved = read.advance(&user("new"), 1).expect("moved");
        assert_eq!(moved.forgotten, Some(user("u99")));
        assert_eq!(read.iter().count(), ReadMarks::MOST);
        assert_eq!(read.advance(&user("new"), 2), Some(MarkAdvance { forgotten: None }));
    }
}
