//! `chat.unread`: who has not been shown a message of an order, and when that is told.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;

use super::momentary::MAX_AGE;
use protocol::chat::ChatMessage;
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;

/// How many messages one webhook shows.
pub const MOST_SHOWN: usize = 3;
/// The most users of whom something waits to be written.
const MOST_NOTES: usize = 65_536;

/// When it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadRules {
    /// `UNREAD_AFTER_SECS`: how long a message may be unread; zero tells of none.
    pub after: Duration,
    /// `UNREAD_REPEAT_SECS`: how long after one webhook a user gets the next for the same order.
    pub repeat: Duration,
}

/// How far a user is with an order's chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The read mark.
    pub read: i64,
    /// What a joined connection was sent last.
    pub shown: i64,
    /// Whether the user's app tells what was read: then only that counts.
    pub reads: bool,
    /// The newest message that was told, and when.
    pub told: Option<(i64, Timestamp)>,
}

/// What is to be told of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing, until there is another message.
    Nothing,
    /// Nothing before this time.
    Later(Timestamp),
    /// That the messages after this one are unread.
    Tell(i64),
}

/// What is new of a user in an order, until it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Note {
    /// The role by which the user's token let them in, and when.
    pub joined: Option<(Role, Timestamp)>,
    /// What a joined connection was sent last.
    pub shown: i64,
    /// The newest message that was told, and when.
    pub told: Option<(i64, Timestamp)>,
}

/// Notes by order and user.
pub type Notes = HashMap<(OrderId, UserId), Note>;

/// The notes that wait to be written, and those that are being written.
#[derive(Debug, Default)]
pub struct NoteBook {
    waiting: Mutex<(Notes, Notes)>,
}

// === impl Progress ===

impl Progress {
    /// The last message that the user has seen.
    pub fn seen(&self) -> i64 {
        if self.reads { self.read } else { self.read.max(self.shown) }
    }

    /// Adds what is noted and not written yet.
    pub fn add(&mut self, note: Note) {
        self.shown = self.shown.max(note.shown);
        self.told = self.told.max(note.told);
    }

    /// What is to be told to a user of an order whose newest messages are these, oldest first.
    pub fn judge(
        &self,
        user: &UserId,
        newest: &[ChatMessage],
        rules: &UnreadRules,
        now: Timestamp,
    ) -> Verdict {
        let seen = self.seen();
        let beyond = seen.max(self.told.map_or(0, |(seq, _)| seq));
        let is_unread = |one: &&ChatMessage| one.seq > beyond && one.sender_id != *user;
        let mut unread = newest.iter().filter(is_unread);
        let Some(first) = unread.next() else { return Verdict::Nothing };
        let last = unread.next_back().unwrap_or(first);
        let again = self.told.map(|(_, at)| at.plus(rules.repeat));
        let due = |message: &ChatMessage| {
            let due = message.created_at.plus(rules.after);
            again.map_or(due, |again| again.max(due))
        };
        if now < due(first) {
            Verdict::Later(due(first))
        } else if now > due(last).plus(MAX_AGE) {
            Verdict::Nothing
        } else {
            Verdict::Tell(seen)
        }
    }
}

/// The `webhook-id`: the same for the same message and user, also after a restart.
pub fn webhook_id(order: &OrderId, user: &UserId, seq: i64) -> String {
    let hash = digest(&SHA256, format!("chat.unread {order} {user} {seq}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_ref()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

// === impl Note ===

impl Note {
    fn merge(&mut self, other: Self) {
        self.joined = self.joined.max_by_time(other.joined);
        self.shown = self.shown.max(other.shown);
        self.told = self.told.max(other.told);
    }
}

trait MaxByTime {
    fn max_by_time(self, other: Self) -> Self;
}

impl MaxByTime for Option<(Role, Timestamp)> {
    fn max_by_time(self, other: Self) -> Self {
        match (self, other) {
            (Some(one), Some(two)) => Some(if two.1 >= one.1 { two } else { one }),
            (one, two) => one.or(two),
        }
    }
}

// === impl NoteBook ===

impl NoteBook {
    /// Notes something of a user. Where too many wait, it is lost: then a user may be told of what
    /// was shown, or not of what was not.
    pub fn note(&self, order: &OrderId, user: &UserId, note: Note) {
        let mut books = self.waiting.lock();
        let waiting = &mut books.0;
        let key = (order.clone(), user.clone());
        if waiting.len() < MOST_NOTES || waiting.contains_key(&key) {
            waiting.entry(key).or_default().merge(note);
        }
    }

    /// What is noted of a user and may not be written.
    pub fn of(&self, order: &OrderId, user: &UserId) -> Note {
        let books = self.waiting.lock();
        let key = (order.clone(), user.clone());
        let mut note = Note::default();
        [&books.0, &books.1].into_iter().filter_map(|notes| notes.get(&key)).for_each(|known| {
            note.merge(*known);
        });
        note
    }

    /// Takes some notes, to be written.
    pub fn take(&self, most: usize) -> Notes {
        let mut books = self.waiting.lock();
        let (new, taken) = &mut *books;
        let room = most.saturating_sub(taken.len());
        let keys: Vec<_> = new.keys().take(room).cloned().collect();
        for key in keys {
            if let Some(note) = new.remove(&key) {
                taken.entry(key).or_default().merge(note);
            }
        }
        taken.clone()
    }

    /// Whether some wait.
    pub fn has_more(&self) -> bool {
        !self.waiting.lock().0.is_empty()
    }

    /// The notes that were taken are written.
    pub fn written(&self) {
        self.waiting.lock().1.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::chat::ChatKind;

    const RULES: UnreadRules =
        UnreadRules { after: Duration::from_secs(10), repeat: Duration::from_secs(300) };

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1000 + secs)
    }

    /// Messages 1, 2, … that were written at these seconds.
    fn messages(times: &[i64]) -> Vec<ChatMessage> {
        let message = |(seq, secs): (i64, &i64)| ChatMessage {
            id: seq.to_string(),
            order_id: "o".parse().expect("an id"),
            seq,
            sender_id: "bob".parse().expect("an id"),
            sender_name: "Bob".to_owned(),
            sender_role: Role::Customer,
            content: "hi".to_owned(),
            kind: ChatKind::Text,
            created_at: at(*secs),
            client_msg_id: None,
        };
        (1..).zip(times).map(message).collect()
    }

    fn judge(progress: &Progress, chat: &[ChatMessage], secs: i64) -> Verdict {
        progress.judge(&"ann".parse().expect("an id"), chat, &RULES, at(secs))
    }

    #[test]
    fn a_message_that_was_not_shown_in_time_is_told_once() {
        let (chat, mut ann) = (messages(&[0, 5]), Progress::default());
        let judge = |ann: &Progress, secs| judge(ann, &chat, secs);
        let bob = "bob".parse().expect("an id");
        assert_eq!(ann.judge(&bob, &chat, &RULES, at(10)), Verdict::Nothing, "they are his own");
        assert_eq!(judge(&ann, 9), Verdict::Later(at(10)));
        assert_eq!(judge(&ann, 10), Verdict::Tell(0));
        assert_eq!(judge(&ann, 615), Verdict::Tell(0));
        assert_eq!(judge(&ann, 616), Verdict::Nothing, "ten minutes are too late");
        ann.read = 1;
        assert_eq!(judge(&ann, 12), Verdict::Later(at(15)));
        assert_eq!(judge(&ann, 15), Verdict::Tell(1));
        ann.told = Some((2, at(15)));
        assert_eq!(judge(&ann, 400), Verdict::Nothing);
        (ann.told, ann.read) = (None, 2);
        assert_eq!(judge(&ann, 20), Verdict::Nothing);
    }

    #[test]
    fn delivery_counts_only_for_apps_without_read_receipts() {
        let (chat, mut ann) = (messages(&[0, 0]), Progress { shown: 2, ..Progress::default() });
        assert_eq!(judge(&ann, &chat, 10), Verdict::Nothing);
        ann.reads = true;
        assert_eq!(judge(&ann, &chat, 10), Verdict::Tell(0));
    }

    #[test]
    fn a_newer_message_is_told_after_the_interval() {
        let chat = messages(&[0, 20]);
        let ann = Progress { told: Some((1, at(10))), ..Progress::default() };
        assert_eq!(judge(&ann, &chat, 30), Verdict::Later(at(310)));
        assert_eq!(judge(&ann, &chat, 310), Verdict::Tell(0));
        assert_eq!(judge(&ann, &chat, 910), Verdict::Tell(0));
        assert_eq!(judge(&ann, &chat, 911), Verdict::Nothing);
    }

    #[test]
    fn notes_count_until_they_are_written() {
        let (book, order, ann): (_, OrderId, UserId) =
            (NoteBook::default(), "o".parse().expect("an id"), "ann".parse().expect("an id"));
        let joined = Some((Role::Customer, at(1)));
        book.note(&order, &ann, Note { joined, ..Note::default() });
        assert_eq!(book.take(9).len(), 1);
        book.note(&order, &ann, Note { shown: 3, ..Note::default() });
        assert_eq!(book.of(&order, &ann), Note { joined, shown: 3, told: None });
        // The write failed: all of it is taken again.
        assert_eq!(book.take(9)[&(order.clone(), ann.clone())].joined, joined);
        book.written();
        assert_eq!((book.of(&order, &ann), book.take(9).len()), (Note::default(), 0));
    }
}
