//! Bans: users whom an admin has removed from a room, or from the hub, for a while.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use protocol::ids::{OrderId, UserId};
use protocol::time::Timestamp;

/// What a user is banned from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BanScope {
    /// From the whole hub.
    Hub,
    /// From one room.
    Order(OrderId),
}

/// All current bans, shared by all threads. The database keeps them over a restart.
#[derive(Debug, Default)]
pub struct Bans {
    until: RwLock<HashMap<UserId, Vec<(BanScope, Timestamp)>>>,
}

impl Bans {
    /// Bans a user until a time. Expired bans are forgotten.
    pub fn insert(&self, scope: BanScope, user: UserId, until: Timestamp, now: Timestamp) {
        let mut bans = self.until.write().unwrap_or_else(PoisonError::into_inner);
        bans.retain(|_, scopes| {
            scopes.retain(|(_, until)| *until > now);
            !scopes.is_empty()
        });
        let scopes = bans.entry(user).or_default();
        scopes.retain(|(known, _)| *known != scope);
        scopes.push((scope, until));
    }

    /// These are all bans from now on.
    pub fn replace_all(&self, all: impl IntoIterator<Item = (BanScope, UserId, Timestamp)>) {
        let mut bans = HashMap::<UserId, Vec<_>>::new();
        for (scope, user, until) in all {
            bans.entry(user).or_default().push((scope, until));
        }
        *self.until.write().unwrap_or_else(PoisonError::into_inner) = bans;
    }

    /// When the user may enter the hub again, if not now.
    pub fn from_hub(&self, user: &UserId, now: Timestamp) -> Option<Timestamp> {
        self.find(user, &BanScope::Hub, now)
    }

    /// Whether the user is banned from an order.
    pub fn from_order(&self, user: &UserId, order: &OrderId, now: Timestamp) -> bool {
        // Most users have no ban; then nothing is cloned for the lookup.
        self.read().contains_key(user)
            && self.find(user, &BanScope::Order(order.clone()), now).is_some()
    }

    fn find(&self, user: &UserId, scope: &BanScope, now: Timestamp) -> Option<Timestamp> {
        let bans = self.read();
        let until = bans.get(user)?.iter().find(|(known, _)| known == scope)?.1;
        (until > now).then_some(until)
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<UserId, Vec<(BanScope, Timestamp)>>> {
        self.until.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_holds_in_its_scope_until_its_time() {
        let (bans, at) = (Bans::default(), Timestamp::from_secs);
        let user: UserId = "u1".parse().expect("id");
        let (o1, o2): (OrderId, OrderId) = ("o1".parse().expect("id"), "o2".parse().expect("id"));
        bans.insert(BanScope::Order(o1.clone()), user.clone(), at(10), at(0));
        assert!(bans.from_order(&user, &o1, at(9)));
        assert!(!bans.from_order(&user, &o1, at(10)));
        assert!(!bans.from_order(&user, &o2, at(9)));
        assert_eq!(bans.from_hub(&user, at(9)), None);
        bans.insert(BanScope::Hub, user.clone(), at(20), at(11));
        assert_eq!(bans.from_hub(&user, at(12)), Some(at(20)));
        assert_eq!(bans.read().get(&user).map(Vec::len), Some(1), "the expired one is gone");
        bans.replace_all([(BanScope::Order(o2.clone()), user.clone(), at(30))]);
        assert_eq!(bans.from_hub(&user, at(12)), None, "it was lifted meanwhile");
        assert!(bans.from_order(&user, &o2, at(12)));
    }
}
