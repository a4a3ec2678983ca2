//! Who is typing, and what members are told of it: the newest, not too often, and its end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::ids::{SessionId, UserId};

/// For how long somebody is typing who does not say so again.
pub const LASTS: Duration = Duration::from_secs(5);
/// At most one word of a user in this time.
pub const PAUSE: Duration = Duration::from_secs(1);

/// Those who are typing. `K` is under what members' outboxes know a user's word.
#[derive(Debug)]
pub struct Typists<K> {
    by_user: BTreeMap<UserId, Typist<K>>,
}

#[derive(Debug)]
struct Typist<K> {
    key: K,
    /// The device that typed last.
    session: SessionId,
    /// What the user says.
    typing: bool,
    /// When that ends by itself.
    until: Instant,
    /// What members know.
    told: bool,
    /// Whether there is anything to tell.
    news: bool,
    /// From when on it may be told.
    free: Instant,
}

/// What members are to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word<K> {
    /// Of whom.
    pub user: UserId,
    /// Under what their outboxes know it.
    pub key: K,
    /// Whether the user is typing.
    pub typing: bool,
}

// === impl Typists ===

impl<K> Default for Typists<K> {
    fn default() -> Self {
        Self { by_user: BTreeMap::new() }
    }
}

impl<K: Copy> Typists<K> {
    /// The most that are known at once; more are not shown.
    pub const MOST: usize = 50;

    /// A user says whether he is typing. What members hear of it is [`Self::due`] then.
    pub fn say(
        &mut self,
        user: &UserId,
        session: SessionId,
        typing: bool,
        now: Instant,
        key: impl FnOnce() -> K,
    ) {
        if let Some(typist) = self.by_user.get_mut(user) {
            return typist.say(session, typing, now);
        }
        if typing && self.by_user.len() < Self::MOST {
            let (until, told, news) = (now + LASTS, false, true);
            let typist = Typist { key: key(), session, typing, until, told, news, free: now };
            self.by_user.insert(user.clone(), typist);
        }
    }

    /// A user has said what he typed: that ends it at once.
    pub fn stop(&mut self, user: &UserId, now: Instant) -> Option<Word<K>> {
        let key = self.by_user.get_mut(user)?.stop(now)?;
        Some(Word { user: user.clone(), key, typing: false })
    }

    /// A device is gone: what it typed ends at once.
    pub fn leave(&mut self, session: SessionId, now: Instant) -> Option<Word<K>> {
        let of_session = |typist: &Typist<K>| typist.session == session;
        let (user, typist) = self.by_user.iter_mut().find(|(_, typist)| of_session(typist))?;
        let key = typist.stop(now)?;
        Some(Word { user: user.clone(), key, typing: false })
    }

    /// What members are to be told now.
    pub fn due(&mut self, now: Instant) -> Vec<Word<K>> {
        let mut words = Vec::new();
        self.by_user.retain(|user, typist| {
            if let Some(typing) = typist.due(now) {
                words.push(Word { user: user.clone(), key: typist.key, typing });
            }
            typist.typing || typist.told || typist.free > now
        });
        words
    }

    /// When there is something to do.
    pub fn next_due(&self) -> Option<Instant> {
        self.by_user.values().map(Typist::next_due).min()
    }

    /// Under what outboxes know what is said of those who type.
    pub fn keys(&self) -> impl Iterator<Item = K> {
        self.by_user.values().map(|typist| typist.key)
    }
}

// === impl Typist ===

impl<K: Copy> Typist<K> {
    fn say(&mut self, session: SessionId, typing: bool, now: Instant) {
        // Another device that does not type takes nothing back.
        if !typing && session != self.session {
            return;
        }
        (self.session, self.typing, self.until) = (session, typing, now + LASTS);
        self.news = typing || self.told;
    }

    fn stop(&mut self, now: Instant) -> Option<K> {
        (self.typing, self.news) = (false, false);
        let told = std::mem::take(&mut self.told);
        told.then(|| {
            self.free = now + PAUSE;
            self.key
        })
    }

    fn due(&mut self, now: Instant) -> Option<bool> {
        if self.typing && self.until <= now {
            (self.typing, self.news) = (false, self.told);
        }
        if !self.news || self.free > now {
            return None;
        }
        (self.told, self.news, self.free) = (self.typing, false, now + PAUSE);
        Some(self.typing)
    }

    fn next_due(&self) -> Instant {
        match (self.news, self.typing) {
            (true, true) => self.free.min(self.until),
            (false, true) => self.until,
            // To tell the end, or to be forgotten.
            (_, false) => self.free,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Room {
        typists: Typists<u8>,
        start: Instant,
        phone: SessionId,
    }

    impl Room {
        fn new() -> Self {
            let (start, phone) = (Instant::now(), SessionId::random());
            Self { typists: Typists::default(), start, phone }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn say(&mut self, typing: bool, ms: u64) -> Vec<bool> {
            self.typists.say(&user("ann"), self.phone, typing, self.at(ms), || 1);
            self.heard(ms)
        }

        fn heard(&mut self, ms: u64) -> Vec<bool> {
            self.typists.due(self.at(ms)).into_iter().map(|word| word.typing).collect()
        }

        fn next(&self) -> Option<u64> {
            let due = self.typists.next_due()?;
            Some(u64::try_from((due - self.start).as_millis()).expect("small"))
        }
    }

    fn user(id: &str) -> UserId {
        id.parse().expect("an id")
    }

    #[test]
    fn typing_ends_by_itself() {
        let mut room = Room::new();
        assert_eq!(room.say(true, 0), [true]);
        assert_eq!(room.next(), Some(5000));
        assert_eq!(room.heard(4999), [true; 0]);
        assert_eq!(room.heard(5000), [false]);
        assert_eq!(room.next(), Some(6000), "then it is forgotten");
        room.heard(6000);
        assert_eq!(room.next(), None);
    }

    #[test]
    fn saying_it_again_makes_it_last_and_is_told_once_a_second() {
        let mut room = Room::new();
        let mut told = 0;
        for ms in (0..8000).step_by(100) {
            told += room.say(true, ms).len();
        }
        assert_eq!(told, 8);
        assert_eq!(room.heard(12_899), [true], "the last was still to be told");
        assert_eq!(room.heard(13_900), [false]);
    }

    #[test]
    fn of_many_changes_the_newest_is_told_when_its_time_has_come() {
        let mut room = Room::new();
        assert_eq!(room.say(true, 0), [true]);
        assert_eq!(room.say(false, 300), [true; 0]);
        assert_eq!(room.next(), Some(1000));
        assert_eq!(room.heard(1000), [false]);
        assert_eq!(room.say(true, 1300), [true; 0]);
        assert_eq!(room.say(false, 1400), [true; 0]);
        assert_eq!(room.heard(2000), [true; 0], "members know of nothing that could end");
        assert_eq!(room.next(), None);
        assert_eq!(room.say(false, 3000), [true; 0]);
        assert_eq!(room.next(), None, "one who does not type is not kept");
    }

    #[test]
    fn a_message_or_a_leave_ends_it_at_once_and_only_what_was_told() {
        let mut room = Room::new();
        let word = Word { user: user("ann"), key: 1, typing: false };
        assert_eq!(room.typists.stop(&user("ann"), room.at(0)), None);
        room.say(true, 0);
        assert_eq!(room.typists.stop(&user("ann"), room.at(200)), Some(word.clone()));
        assert_eq!(room.typists.stop(&user("ann"), room.at(200)), None);
        assert_eq!(room.heard(900), [true; 0]);
        assert_eq!(room.say(true, 900), [true; 0], "the pause counts from what was told last");
        assert_eq!(room.heard(1200), [true]);
        let tablet = SessionId::random();
        assert_eq!(room.typists.leave(tablet, room.at(1300)), None, "another device");
        assert_eq!(room.typists.leave(room.phone, room.at(1300)), Some(word));
    }

    #[test]
    fn another_device_takes_over_but_does_not_end_it() {
        let mut room = Room::new();
        let (phone, tablet) = (room.phone, SessionId::random());
        room.say(true, 0);
        room.phone = tablet;
        assert_eq!(room.say(false, 100), [true; 0]);
        assert_eq!(room.next(), Some(5000), "still typing");
        assert_eq!(room.say(true, 2000), [true]);
        assert_eq!(room.typists.leave(phone, room.at(2500)), None);
        assert!(room.typists.leave(tablet, room.at(2500)).is_some());
    }

    #[test]
    fn there_is_an_end_to_how_many_are_shown() {
        let mut room = Room::new();
        for number in 0..=Typists::<u8>::MOST {
            let one = user(&format!("u{number}"));
            room.typists.say(&one, SessionId::random(), true, room.start, || 1);
        }
        assert_eq!(room.heard(0).len(), Typists::<u8>::MOST);
        assert_eq!(room.typists.keys().count(), Typists::<u8>::MOST);
    }
}
