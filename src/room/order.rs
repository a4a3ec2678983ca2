//! An order as back ends set it: its status, its driver, and its participants.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;

/// The facts of an order on which rights depend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderFacts {
    /// Its status. `None` where no back end has set one.
    pub status: Option<String>,
    /// The assigned driver.
    pub driver_id: Option<UserId>,
    /// The assigned driver's name, where the back end gave one.
    pub driver_name: Option<String>,
    /// When it reached a terminal status.
    pub ended_at: Option<Timestamp>,
    /// Since when customers see the driver's position, where they do.
    pub shown_since: Option<Timestamp>,
    /// Whether a back end ever assigned a driver. From then on only the assigned driver may send
    /// positions.
    pub dispatched: bool,
    /// Whether a back end has deleted it and not created it again.
    pub deleted: bool,
    /// When a back end last created it again after a deletion. Chat and positions from before
    /// belong to the deleted order, and are not shown.
    pub remade_at: Option<Timestamp>,
    /// Its participants, and the users who were removed.
    pub participants: Participants,
}

/// The participants of an order, and the users who were removed from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Participants {
    states: BTreeMap<UserId, ParticipantState>,
}

/// What a back end last set for a user in an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipantState {
    /// The role in this order.
    pub role: Role,
    /// The name, where one was given.
    pub name: Option<String>,
    /// Whether the user was removed, which overrides a token.
    pub removed: bool,
}

/// A participant of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    /// The user.
    pub user_id: UserId,
    /// The role in this order.
    pub role: Role,
    /// The name, where one was given.
    pub name: Option<String>,
}

// === impl OrderFacts ===

impl OrderFacts {
    /// Whether a back end made this user the driver of the order, and it has not ended.
    pub fn is_served_by(&self, user: &UserId) -> bool {
        let drives = match &self.driver_id {
            Some(driver) => driver == user,
            None => !self.dispatched && self.participants.role_of(user) == Some(Role::Driver),
        };
        drives && !self.deleted && self.ended_at.is_none()
    }

    /// The user whom a back end made the driver: by assignment, or else as a participant with that
    /// role.
    pub fn driver(&self) -> Option<&UserId> {
        let is_driver =
            |(user, _): &(&UserId, _)| self.participants.role_of(user) == Some(Role::Driver);
        let by_part = || self.participants.present().find(is_driver).map(|(user, _)| user);
        self.driver_id.as_ref().or_else(|| (!self.dispatched).then(by_part).flatten())
    }

    /// The users whom the order concerns: its participants, and its driver.
    pub fn involved_users(&self) -> impl Iterator<Item = &UserId> {
        let driver = self.driver_id.as_ref();
        let driver = driver.filter(|driver| self.participants.role_of(driver).is_none());
        self.participants.present().map(|(user, _)| user).chain(driver)
    }
}

/// The most orders to which a position without `orderId` goes.
pub const MAX_LOCATION_TARGETS: usize = 50;

/// The orders to which a position without `orderId` goes. `orders` may name one more than once.
pub fn location_targets<'a>(orders: impl Iterator<Item = &'a OrderId>) -> Vec<OrderId> {
    let mut orders: Vec<OrderId> = orders.cloned().collect();
    orders.sort_unstable();
    orders.dedup();
    orders.truncate(MAX_LOCATION_TARGETS);
    orders
}

// === impl Participants ===

impl Participants {
    /// The most participants of one order.
    pub const MOST: usize = 100;
    /// The most users of whom something is kept, including those who were removed.
    pub const MOST_REMEMBERED: usize = 1000;

    /// The participants, sorted by id.
    pub fn present(&self) -> impl Iterator<Item = (&UserId, &ParticipantState)> {
        self.states.iter().filter(|(_, state)| !state.removed)
    }

    /// All users of whom something is kept.
    pub fn all(&self) -> impl Iterator<Item = (&UserId, &ParticipantState)> {
        self.states.iter()
    }

    /// What is kept of a user.
    pub fn get(&self, user: &UserId) -> Option<&ParticipantState> {
        self.states.get(user)
    }

    /// The role of a participant.
    pub fn role_of(&self, user: &UserId) -> Option<Role> {
        self.get(user).filter(|state| !state.removed).map(|state| state.role)
    }

    /// Whether a user was removed.
    pub fn has_removed(&self, user: &UserId) -> bool {
        self.get(user).is_some_and(|state| state.removed)
    }

    /// Whether there are more participants, or more kept users, than allowed.
    pub fn are_too_many(&self) -> bool {
        self.states.len() > Self::MOST_REMEMBERED || self.present().count() > Self::MOST
    }

    /// Adds a participant, or changes the role. Without a name the old one stays.
    pub fn put(&mut self, participant: Participant) {
        let Participant { user_id, role, name } = participant;
        match self.states.entry(user_id) {
            Entry::Occupied(mut known) => {
                let name = name.or_else(|| known.get_mut().name.take());
                known.insert(ParticipantState { role, name, removed: false });
            }
            Entry::Vacant(unknown) => {
                unknown.insert(ParticipantState { role, name, removed: false });
            }
        }
    }

    /// Removes a user, whether known before or not.
    pub fn remove(&mut self, user: UserId) {
        let unknown = || ParticipantState { role: Role::Customer, name: None, removed: false };
        self.states.entry(user).or_insert_with(unknown).removed = true;
    }

    /// Sets the participants; all others are removed.
    pub fn replace(&mut self, participants: Vec<Participant>) {
        for state in self.states.values_mut() {
            state.removed = true;
        }
        for participant in participants {
            self.put(participant);
        }
    }
}

impl FromIterator<(UserId, ParticipantState)> for Participants {
    fn from_iter<I: IntoIterator<Item = (UserId, ParticipantState)>>(states: I) -> Self {
        Self { states: states.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> UserId {
        id.parse().expect("id")
    }

    fn customer(id: &str, name: Option<&str>) -> Participant {
        let name = name.map(ToOwned::to_owned);
        Participant { user_id: user(id), role: Role::Customer, name }
    }

    #[test]
    fn users_missing_in_a_new_list_are_removed() {
        let mut participants = Participants::default();
        participants.replace(vec![customer("ann", Some("Ann")), customer("bob", None)]);
        participants.replace(vec![customer("ann", None), customer("carl", None)]);
        let present: Vec<_> = participants.present().map(|(user, _)| user.as_str()).collect();
        assert_eq!(present, ["ann", "carl"]);
        assert!(participants.has_removed(&user("bob")) && !participants.has_removed(&user("eve")));
        assert_eq!(participants.get(&user("ann")).and_then(|s| s.name.as_deref()), Some("Ann"));
        participants.put(customer("bob", None));
        assert_eq!(participants.role_of(&user("bob")), Some(Role::Customer), "back again");
    }

    #[test]
    fn a_user_whom_only_a_token_names_can_be_removed() {
        let mut participants = Participants::default();
        participants.remove(user("eve"));
        assert!(participants.has_removed(&user("eve")));
        assert_eq!(participants.role_of(&user("eve")), None);
    }

    #[test]
    fn the_number_of_remembered_users_is_bounded() {
        let mut participants = Participants::default();
        (0..Participants::MOST).for_each(|n| participants.put(customer(&format!("u{n}"), None)));
        assert!(!participants.are_too_many());
        participants.put(customer("one-more", None));
        assert!(participants.are_too_many());
        participants.replace(Vec::new());
        assert!(!participants.are_too_many());
        (0..Participants::MOST_REMEMBERED)
            .for_each(|n| participants.remove(user(&format!("r{n}"))));
        assert!(participants.are_too_many());
    }

    #[test]
    fn an_order_is_served_by_its_driver_until_it_ends() {
        let (ann, dan) = (user("ann"), user("dan"));
        let mut facts = OrderFacts::default();
        facts.participants.put(Participant { role: Role::Driver, ..customer("ann", None) });
        assert!(facts.is_served_by(&ann) && !facts.is_served_by(&dan));
        (facts.driver_id, facts.dispatched) = (Some(dan.clone()), true);
        assert!(!facts.is_served_by(&ann) && facts.is_served_by(&dan));
        let ended = OrderFacts { ended_at: Some(Timestamp::from_secs(1)), ..facts.clone() };
        assert!(!ended.is_served_by(&dan));
        facts.driver_id = None;
        assert!(!facts.is_served_by(&ann), "it waits for the next driver");
    }

    #[test]
    fn an_order_involves_each_user_once() {
        let mut facts = OrderFacts { driver_id: Some(user("dan")), ..OrderFacts::default() };
        facts.participants.put(customer("bob", None));
        facts.participants.remove(user("eve"));
        let ids = |facts: &OrderFacts| {
            facts.involved_users().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(ids(&facts), ["bob", "dan"]);
        facts.participants.put(Participant { role: Role::Driver, ..customer("dan", None) });
        assert_eq!(ids(&facts), ["bob", "dan"]);
    }
}
