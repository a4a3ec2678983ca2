//! The users in a room, however many connections each of them has.

use std::time::{Duration, Instant};

use protocol::events::presence::MemberInfo;
use protocol::ids::UserId;
use protocol::role::Role;

/// The users of a room.
#[derive(Debug, Default)]
pub struct Roster {
    /// Sorted by id. A tree would allocate room for eleven from the start, and most rooms have
    /// three.
    users: Vec<(UserId, Present)>,
}

#[derive(Debug)]
struct Present {
    name: Box<str>,
    role: Role,
    connections: usize,
    /// When a user whose last connection was lost counts as gone.
    gone_at: Option<Instant>,
}

/// A user who has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departed {
    /// The user.
    pub user: UserId,
    /// The name that was shown.
    pub name: String,
    /// The role that was shown.
    pub role: Role,
}

impl Roster {
    /// Adds a connection of a user. Returns whether the others should be told: it is the user's
    /// first one, and no grace was running.
    pub fn enter(&mut self, user: &UserId, name: &str, role: Role) -> bool {
        match self.index_of(user) {
            Ok(index) => {
                let present = &mut self.users[index].1;
                present.connections += 1;
                present.gone_at = None;
                present.name = name.into();
                present.role = role;
                false
            }
            Err(index) => {
                let present = Present { name: name.into(), role, connections: 1, gone_at: None };
                self.users.insert(index, (user.clone(), present));
                true
            }
        }
    }

    /// Removes a connection of a user. After an unclean end the user stays for `grace`. Without a
    /// grace, the user of the last connection is returned, to be announced.
    pub fn leave(
        &mut self,
        user: &UserId,
        grace: Option<Duration>,
        now: Instant,
    ) -> Option<Departed> {
        let index = self.index_of(user).ok()?;
        let present = &mut self.users[index].1;
        present.connections = present.connections.saturating_sub(1);
        if present.connections > 0 {
            return None;
        }
        if let Some(grace) = grace.filter(|grace| !grace.is_zero()) {
            present.gone_at = Some(now + grace);
            return None;
        }
        Some(self.remove(index))
    }

    /// A user may not come back. Returns the user if only the grace was still running, to be
    /// announced.
    pub fn stop_awaiting(&mut self, user: &UserId) -> Option<Departed> {
        let index = self.index_of(user).ok()?;
        self.users[index].1.gone_at.is_some().then(|| self.remove(index))
    }

    /// The users whose grace has ended.
    pub fn expired(&mut self, now: Instant) -> Vec<Departed> {
        let is_due = |present: &Present| present.gone_at.is_some_and(|gone_at| gone_at <= now);
        let due = self.users.extract_if(.., |(_, present)| is_due(present));
        due.map(Departed::from).collect()
    }

    /// When the next grace ends.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.users.iter().filter_map(|(_, present)| present.gone_at).min()
    }

    /// All users, sorted by id.
    pub fn members(&self) -> impl Iterator<Item = MemberInfo<'_>> {
        self.users.iter().map(|(user_id, present)| MemberInfo {
            user_id,
            name: &present.name,
            role: present.role,
        })
    }

    /// Whether a user is here.
    pub fn contains(&self, user: &UserId) -> bool {
        self.index_of(user).is_ok()
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether no user is here.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The index of a user, or where to insert it.
    fn index_of(&self, user: &UserId) -> Result<usize, usize> {
        self.users.binary_search_by(|(known, _)| known.cmp(user))
    }

    fn remove(&mut self, index: usize) -> Departed {
        self.users.remove(index).into()
    }
}

impl From<(UserId, Present)> for Departed {
    fn from((user, present): (UserId, Present)) -> Self {
        Self { user, name: present.name.into(), role: present.role }
    }
}

impl Departed {
    /// The user as members are told.
    pub fn info(&self) -> MemberInfo<'_> {
        MemberInfo { user_id: &self.user, name: &self.name, role: self.role }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Option<Duration> = Some(Duration::from_secs(15));

    fn user(id: &str) -> UserId {
        id.parse().expect("id")
    }

    #[test]
    fn a_user_enters_and_leaves_once_with_any_number_of_connections() {
        let (mut roster, ann, now) = (Roster::default(), user("ann"), Instant::now());
        assert!(roster.enter(&ann, "Ann", Role::Customer));
        assert!(!roster.enter(&ann, "Ann", Role::Customer));
        assert_eq!(roster.len(), 1);
        assert_eq!(roster.leave(&ann, None, now), None);
        let departed = roster.leave(&ann, None, now).expect("the last one");
        assert_eq!((departed.user, departed.name.as_str()), (ann, "Ann"));
        assert!(roster.is_empty());
    }

    #[test]
    fn a_user_who_loses_the_connection_stays_for_the_grace() {
        let (mut roster, ann, now) = (Roster::default(), user("ann"), Instant::now());
        roster.enter(&ann, "Ann", Role::Customer);
        assert_eq!(roster.leave(&ann, GRACE, now), None);
        assert_eq!(roster.next_expiry(), Some(now + Duration::from_secs(15)));
        assert!(roster.expired(now + Duration::from_secs(14)).is_empty());
        assert!(!roster.enter(&ann, "Ann", Role::Customer), "back in time: it is not announced");
        assert!(roster.expired(now + Duration::from_secs(99)).is_empty());
        roster.leave(&ann, GRACE, now);
        assert_eq!(roster.expired(now + Duration::from_secs(15)).len(), 1);
        assert!(roster.is_empty());
    }

    #[test]
    fn a_removed_user_gets_no_grace() {
        let (mut roster, ann, now) = (Roster::default(), user("ann"), Instant::now());
        roster.enter(&ann, "Ann", Role::Customer);
        assert_eq!(roster.stop_awaiting(&ann), None, "she is here");
        roster.leave(&ann, GRACE, now);
        assert_eq!(roster.stop_awaiting(&ann).map(|departed| departed.user), Some(ann.clone()));
        assert_eq!(roster.stop_awaiting(&ann), None);
    }

    #[test]
    fn an_absent_user_cannot_leave() {
        assert_eq!(Roster::default().leave(&user("ann"), None, Instant::now()), None);
    }
}
