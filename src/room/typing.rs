//! Who is typing, and what members are told of it: the newest state, not too often, and the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use protocol::ids::{SessionId, UserId};

/// How long a typing indicator lasts that is not repeated.
pub const TYPING_TIMEOUT: Duration = Duration::from_secs(5);
/// The shortest time between two changes of a user.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The users who are typing. `K` is the key of a user's typing events in the latest-wins lane.
#[derive(Debug)]
pub struct TypingUsers<K> {
    by_user: BTreeMap<UserId, TypingUser<K>>,
}

#[derive(Debug)]
struct TypingUser<K> {
    key: K,
    /// The device that typed last.
    session: SessionId,
    /// Whether the user is typing.
    typing: bool,
    /// When it times out.
    until: Instant,
    /// What members were last told.
    announced: bool,
    /// Whether there is a change to announce.
    changed: bool,
    /// When the next change may be announced.
    next_allowed: Instant,
}

/// A change to announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypingChange<K> {
    /// The user who types.
    pub user: UserId,
    /// The key of the user's typing events in the latest-wins lane.
    pub key: K,
    /// Whether the user is typing.
    pub typing: bool,
}

// === impl TypingUsers ===

impl<K> Default for TypingUsers<K> {
    fn default() -> Self {
        Self { by_user: BTreeMap::new() }
    }
}

impl<K: Copy> TypingUsers<K> {
    /// How many users are tracked at once; more are not shown.
    pub const MOST: usize = 50;

    /// Sets whether a user is typing. [`Self::due`] returns what to announce then.
    pub fn set(
        &mut self,
        user: &UserId,
        session: SessionId,
        typing: bool,
        now: Instant,
        key: impl FnOnce() -> K,
    ) {
        if let Some(typing_user) = self.by_user.get_mut(user) {
            return typing_user.set(session, typing, now);
        }
        if typing && self.by_user.len() < Self::MOST {
            let (until, announced, changed) = (now + TYPING_TIMEOUT, false, true);
            let typing_user = TypingUser {
                key: key(),
                session,
                typing,
                until,
                announced,
                changed,
                next_allowed: now,
            };
            self.by_user.insert(user.clone(), typing_user);
        }
    }

    /// Ends a user's typing at once, because the message was sent.
    pub fn stop(&mut self, user: &UserId, now: Instant) -> Option<TypingChange<K>> {
        let key = self.by_user.get_mut(user)?.stop(now)?;
        Some(TypingChange { user: user.clone(), key, typing: false })
    }

    /// A session has left: ends its typing at once.
    pub fn leave(&mut self, session: SessionId, now: Instant) -> Option<TypingChange<K>> {
        let of_session = |typing_user: &TypingUser<K>| typing_user.session == session;
        let (user, typing_user) =
            self.by_user.iter_mut().find(|(_, typing_user)| of_session(typing_user))?;
        let key = typing_user.stop(now)?;
        Some(TypingChange { user: user.clone(), key, typing: false })
    }

    /// The changes to announce now.
    pub fn due(&mut self, now: Instant) -> Vec<TypingChange<K>> {
        let mut changes = Vec::new();
        self.by_user.retain(|user, typing_user| {
            if let Some(typing) = typing_user.due(now) {
                changes.push(TypingChange { user: user.clone(), key: typing_user.key, typing });
            }
            typing_user.typing || typing_user.announced || typing_user.next_allowed > now
        });
        changes
    }

    /// When [`Self::due`] has something to do.
    pub fn next_due(&self) -> Option<Instant> {
        self.by_user.values().map(TypingUser::next_due).min()
    }

    /// The keys of all users who are typing.
    pub fn keys(&self) -> impl Iterator<Item = K> {
        self.by_user.values().map(|typing_user| typing_user.key)
    }
}

// === impl TypingUser ===

impl<K: Copy> TypingUser<K> {
    fn set(&mut self, session: SessionId, typing: bool, now: Instant) {
        // Another device that stops typing changes nothing.
        if !typing && session != self.session {
            return;
        }
        (self.session, self.typing, self.until) = (session, typing, now + TYPING_TIMEOUT);
        self.changed = typing || self.announced;
    }

    fn stop(&mut self, now: Instant) -> Option<K> {
        (self.typing, self.changed) = (false, false);
        std::mem::take(&mut self.announced).then(|| {
            self.next_allowed = now + MIN_INTERVAL;
            self.key
        })
    }

    fn due(&mut self, now: Instant) -> Option<bool> {
        if self.typing && self.until <= now {
            (self.typing, self.changed) = (false, self.announced);
        }
        if !self.changed || self.next_allowed > now {
            return None;
        }
        (self.announced, self.changed, self.next_allowed) =
            (self.typing, false, now + MIN_INTERVAL);
        Some(self.typing)
    }

    fn next_due(&self) -> Instant {
        match (self.changed, self.typing) {
            (true, true) => self.next_allowed.min(self.until),
            (false, true) => self.until,
            // To announce the end, or to be removed.
            (_, false) => self.next_allowed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Room {
        typing_users: TypingUsers<u8>,
        start: Instant,
        phone: SessionId,
    }

    impl Room {
        fn new() -> Self {
            let (start, phone) = (Instant::now(), SessionId::random());
            Self { typing_users: TypingUsers::default(), start, phone }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn set(&mut self, typing: bool, ms: u64) -> Vec<bool> {
            self.typing_users.set(&user("ann"), self.phone, typing, self.at(ms), || 1);
            self.due(ms)
        }

        fn due(&mut self, ms: u64) -> Vec<bool> {
            self.typing_users.due(self.at(ms)).into_iter().map(|change| change.typing).collect()
        }

        fn next(&self) -> Option<u64> {
            let due = self.typing_users.next_due()?;
            Some(u64::try_from((due - self.start).as_millis()).expect("small"))
        }
    }

    fn user(id: &str) -> UserId {
        id.parse().expect("an id")
    }

    #[test]
    fn typing_ends_by_itself() {
        let mut room = Room::new();
        assert_eq!(room.set(true, 0), [true]);
        assert_eq!(room.next(), Some(5000));
        assert_eq!(room.due(4999), [true; 0]);
        assert_eq!(room.due(5000), [false]);
        assert_eq!(room.next(), Some(6000), "then it is forgotten");
        room.due(6000);
        assert_eq!(room.next(), None);
    }

    #[test]
    fn repeated_typing_lasts_and_is_announced_once_a_second() {
        let mut room = Room::new();
        let mut announced = 0;
        for ms in (0..8000).step_by(100) {
            announced += room.set(true, ms).len();
        }
        assert_eq!(announced, 8);
        assert_eq!(room.due(12_899), [true], "the last was still to be told");
        assert_eq!(room.due(13_900), [false]);
    }

    #[test]
    fn the_newest_change_is_announced_when_the_interval_has_passed() {
        let mut room = Room::new();
        assert_eq!(room.set(true, 0), [true]);
        assert_eq!(room.set(false, 300), [true; 0]);
        assert_eq!(room.next(), Some(1000));
        assert_eq!(room.due(1000), [false]);
        assert_eq!(room.set(true, 1300), [true; 0]);
        assert_eq!(room.set(false, 1400), [true; 0]);
        assert_eq!(room.due(2000), [true; 0], "members know of nothing that could end");
        assert_eq!(room.next(), None);
        assert_eq!(room.set(false, 3000), [true; 0]);
        assert_eq!(room.next(), None, "one who does not type is not kept");
    }

    #[test]
    fn a_message_or_a_leave_ends_announced_typing_at_once() {
        let mut room = Room::new();
        let change = TypingChange { user: user("ann"), key: 1, typing: false };
        assert_eq!(room.typing_users.stop(&user("ann"), room.at(0)), None);
        room.set(true, 0);
        assert_eq!(room.typing_users.stop(&user("ann"), room.at(200)), Some(change.clone()));
        assert_eq!(room.typing_users.stop(&user("ann"), room.at(200)), None);
        assert_eq!(room.due(900), [true; 0]);
        assert_eq!(room.set(true, 900), [true; 0], "the pause counts from what was told last");
        assert_eq!(room.due(1200), [true]);
        let tablet = SessionId::random();
        assert_eq!(room.typing_users.leave(tablet, room.at(1300)), None, "another device");
        assert_eq!(room.typing_users.leave(room.phone, room.at(1300)), Some(change));
    }

    #[test]
    fn another_device_takes_typing_over_but_does_not_end_it() {
        let mut room = Room::new();
        let (phone, tablet) = (room.phone, SessionId::random());
        room.set(true, 0);
        room.phone = tablet;
        assert_eq!(room.set(false, 100), [true; 0]);
        assert_eq!(room.next(), Some(5000), "still typing");
        assert_eq!(room.set(true, 2000), [true]);
        assert_eq!(room.typing_users.leave(phone, room.at(2500)), None);
        assert!(room.typing_users.leave(tablet, room.at(2500)).is_some());
    }

    #[test]
    fn the_number_of_typing_users_is_bounded() {
        let mut room = Room::new();
        for number in 0..=TypingUsers::<u8>::MOST {
            let one = user(&format!("u{number}"));
            room.typing_users.set(&one, SessionId::random(), true, room.start, || 1);
        }
        assert_eq!(room.due(0).len(), TypingUsers::<u8>::MOST);
        assert_eq!(room.typing_users.keys().count(), TypingUsers::<u8>::MOST);
    }
}
