//! Rights: who may do what in the room of an order. All decisions are made here.

use std::collections::BTreeSet;
use std::time::Duration;

use super::order::OrderFacts;
use protocol::error::{ErrorCode, Failure};
use protocol::ids::UserId;
use protocol::role::Role;
use protocol::time::Timestamp;

/// The rules that an operator has set.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Every authenticated user may join any order, as the `NestJS` gateway allowed.
    pub open: bool,
    /// Statuses in which an order has ended.
    pub terminal_statuses: BTreeSet<String>,
    /// How long after its end an order's chat stays open.
    pub chat_open: Duration,
    /// The statuses that orders may have. `None` allows all.
    pub statuses: Option<BTreeSet<String>>,
    /// Statuses in which customers see the driver's position. `None`: all that are not terminal.
    pub location_visible: Option<BTreeSet<String>>,
    /// Since when these rules are in force: the start of the hub.
    pub in_force_since: Timestamp,
}

/// The user who asks, as the policy sees it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The user.
    pub user: &'a UserId,
    /// The role in the token.
    pub role: Role,
    /// Whether the token's `orders` names this order.
    pub named: bool,
    /// Whether an admin or a back end removed the user from it.
    pub banned: bool,
}

/// What the user wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Be in the room.
    Join,
    /// Read the chat.
    Read,
    /// See who is in the room.
    SeeMembers,
    /// Send a chat message.
    Chat,
    /// Send the driver's position.
    Locate,
    /// See the driver's position.
    SeeLocation,
}

/// A user in an order, as all decisions see them: `rights.to(Action::Chat)?`.
#[derive(Debug, Clone, Copy)]
pub struct Rights<'a> {
    /// The rules of the operator.
    pub rules: &'a Rules,
    /// The order, as back ends have set it.
    pub order: &'a OrderFacts,
    /// The user.
    pub subject: Subject<'a>,
    /// The time of the decision.
    pub now: Timestamp,
}

impl Rights<'_> {
    /// Whether the user may do `action`.
    ///
    /// # Errors
    /// `forbidden` without the right, `order_closed` where the right ended with the order.
    pub fn to(self, action: Action) -> Result<(), Failure> {
        let Self { rules, order, subject, now } = self;
        if !self.may_join() {
            return Err(Failure::forbidden());
        }
        match action {
            Action::Chat if chat_has_closed(rules, order, now) => Err(closed()),
            Action::Locate if !may_drive(order, subject) => {
                Err(Failure::new(ErrorCode::Forbidden, "only the order's driver sends positions"))
            }
            Action::Locate | Action::SeeLocation if has_ended(rules, order) => Err(closed()),
            Action::SeeLocation if !self.sees_location() => {
                Err(Failure::new(ErrorCode::Forbidden, "the driver is not shown in this status"))
            }
            _ => Ok(()),
        }
    }

    fn may_join(self) -> bool {
        let Self { rules, order, subject, .. } = self;
        if subject.banned || order.deleted {
            return false;
        }
        let (user, participants) = (subject.user, &order.participants);
        let by_back_end =
            order.driver_id.as_ref() == Some(user) || participants.role_of(user).is_some();
        // A token does not restore what a back end removed.
        let by_token = subject.named || (rules.open && subject.role != Role::Service);
        subject.role.is_staff() || by_back_end || (by_token && !participants.has_removed(user))
    }

    fn sees_location(self) -> bool {
        let Self { rules, order, subject, .. } = self;
        if subject.role.is_staff() || self.supports() || may_drive(order, subject) {
            return true;
        }
        rules.shows_driver_of(order)
    }

    /// Whether a back end made the user a supporter of the order.
    pub(super) fn supports(self) -> bool {
        self.order.participants.role_of(self.subject.user) == Some(Role::Support)
    }
}

/// The driver for whom positions count that a back end posts.
///
/// # Errors
/// `not_found` without an order or a driver, `order_closed` where the order has ended.
pub fn driver_to_report(rules: &Rules, order: &OrderFacts) -> Result<UserId, Failure> {
    if has_ended(rules, order) {
        return Err(closed());
    }
    let driver = order.driver().filter(|_| !order.deleted).cloned();
    driver.ok_or_else(|| Failure::new(ErrorCode::NotFound, "no such order, or it has no driver"))
}

/// Whether positions of this driver count here that another node has accepted. That node has judged
/// the driver's own rights; this one judges by what it knows of the order.
pub fn counts_as_driver(rules: &Rules, order: &OrderFacts, driver: &UserId) -> bool {
    let is_taken = match &order.driver_id {
        Some(assigned) => assigned != driver,
        None => order.dispatched,
    };
    let is_removed = order.participants.has_removed(driver) && order.driver_id.is_none();
    !is_taken && !is_removed && !order.deleted && !has_ended(rules, order)
}

impl Rules {
    /// Whether customers see the driver's position in this status.
    pub fn shows_driver(&self, status: &str) -> bool {
        let listed = self.location_visible.as_ref().is_none_or(|visible| visible.contains(status));
        listed && !self.terminal_statuses.contains(status)
    }

    /// Whether customers of an order see the driver's position. An order without a status is in no
    /// list of statuses.
    pub fn shows_driver_of(&self, order: &OrderFacts) -> bool {
        let status = order.status.as_ref();
        status.map_or(self.location_visible.is_none(), |status| self.shows_driver(status))
    }
}

/// Whether an order's status is terminal.
pub fn has_ended(rules: &Rules, order: &OrderFacts) -> bool {
    order.status.as_ref().is_some_and(|status| rules.terminal_statuses.contains(status))
}

/// Whether a user is the driver of an order, whatever its status.
pub(super) fn may_drive(order: &OrderFacts, subject: Subject<'_>) -> bool {
    match &order.driver_id {
        Some(driver) => driver == subject.user,
        // An order whose driver was unassigned waits for the next one: otherwise the last one could
        // go on.
        None if order.dispatched => false,
        None => {
            let role = order.participants.role_of(subject.user);
            subject.role == Role::Driver || role == Some(Role::Driver)
        }
    }
}

/// Whether an order has ended so long ago that its chat is closed.
pub fn chat_has_closed(rules: &Rules, order: &OrderFacts, now: Timestamp) -> bool {
    let closes_at = |ended: Timestamp| ended.plus(rules.chat_open);
    has_ended(rules, order) && order.ended_at.is_some_and(|ended| now > closes_at(ended))
}

fn closed() -> Failure {
    Failure::new(ErrorCode::OrderClosed, "the order has ended")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::order::Participant;

    const HOUR: Duration = Duration::from_secs(3600);

    fn rules(open: bool) -> Rules {
        let word = |word: &str| BTreeSet::from([word.to_owned()]);
        let location_visible = Some(word("PICKED_UP"));
        Rules {
            open,
            terminal_statuses: word("DELIVERED"),
            chat_open: HOUR,
            statuses: None,
            location_visible,
            in_force_since: Timestamp::from_secs(0),
        }
    }

    fn user(id: &str) -> UserId {
        id.parse().expect("id")
    }

    /// The facts of an order, in words: a status, `driver:U`, `had-driver`, `deleted`, `-U` for a
    /// removed user, `U:ROLE` for a participant.
    fn order(words: &str) -> OrderFacts {
        let mut facts = OrderFacts::default();
        for word in words.split_whitespace() {
            match (word.strip_prefix('-'), word.split_once(':')) {
                (Some(removed), _) => facts.participants.remove(user(removed)),
                (None, Some(("driver", id))) => facts.driver_id = Some(user(id)),
                (None, Some((id, role))) => facts.participants.put(Participant {
                    user_id: user(id),
                    role: Role::from_name(role).expect("a role"),
                    name: None,
                }),
                (None, None) if word == "had-driver" => facts.dispatched = true,
                (None, None) if word == "deleted" => facts.deleted = true,
                (None, None) => {
                    facts.status = Some(word.to_owned());
                    facts.ended_at = Some(Timestamp::from_secs(0));
                }
            }
        }
        facts.dispatched |= facts.driver_id.is_some();
        facts
    }

    fn ask(
        rules: &Rules,
        order: &OrderFacts,
        role: Role,
        named: bool,
        action: Action,
    ) -> Option<ErrorCode> {
        let user = user("u");
        let subject = Subject { user: &user, role, named, banned: false };
        let rights = Rights { rules, order, subject, now: Timestamp::from_secs(60) };
        rights.to(action).err().map(|failure| failure.code)
    }

    /// For each action: yes, no (forbidden), or over (the order has ended).
    fn rights(order: &OrderFacts, role: Role, named: bool) -> String {
        use Action::{Chat, Join, Locate, Read, SeeLocation, SeeMembers};
        let letter = |action| match ask(&rules(false), order, role, named, action) {
            None => 'y',
            Some(ErrorCode::Forbidden) => '-',
            Some(ErrorCode::OrderClosed) => 'x',
            Some(other) => panic!("{other:?}"),
        };
        [Join, Read, SeeMembers, Chat, Locate, SeeLocation].map(letter).iter().collect()
    }

    /// Who (role, in the token's orders) may do what of: join, read, see members, chat, send
    /// positions, see positions. `PICKED_UP` shows customers the driver, `DELIVERED` ends an order.
    #[test]
    fn roles_have_their_rights() {
        use Role::{Admin, Customer, Driver, Service, Support};
        for (facts, role, named, expected) in [
            // By the token alone.
            ("", Customer, false, "------"),
            ("", Customer, true, "yyyy--"),
            ("", Driver, false, "------"),
            ("", Driver, true, "yyyyyy"),
            ("", Support, false, "yyyy-y"),
            ("", Admin, false, "yyyy-y"),
            ("", Service, false, "------"),
            ("", Service, true, "yyyy--"),
            // By the status.
            ("NEW", Customer, true, "yyyy--"),
            ("PICKED_UP", Customer, true, "yyyy-y"),
            ("PICKED_UP", Customer, false, "------"),
            ("NEW", Support, false, "yyyy-y"),
            ("NEW", Driver, true, "yyyyyy"),
            ("DELIVERED", Customer, true, "yyyy-x"),
            ("DELIVERED", Driver, true, "yyyyxx"),
            ("DELIVERED", Support, false, "yyyy-x"),
            // By assignment, whatever the token's role.
            ("NEW driver:u", Driver, false, "yyyyyy"),
            ("NEW driver:u", Customer, false, "yyyyyy"),
            ("NEW driver:else", Driver, false, "------"),
            ("NEW driver:else", Driver, true, "yyyy--"),
            ("PICKED_UP driver:else", Driver, true, "yyyy-y"),
            ("NEW had-driver", Driver, true, "yyyy--"),
            ("NEW had-driver u:driver", Driver, true, "yyyy--"),
            // By taking part.
            ("NEW u:customer", Customer, false, "yyyy--"),
            ("PICKED_UP u:customer", Customer, false, "yyyy-y"),
            ("NEW u:driver", Customer, false, "yyyyyy"),
            ("NEW u:driver driver:else", Customer, false, "yyyy--"),
            ("NEW u:customer", Driver, false, "yyyyyy"),
            ("NEW u:support", Customer, false, "yyyy-y"),
            ("NEW else:customer", Customer, false, "------"),
            // A removal overrides the token, and nothing else.
            ("NEW -u", Customer, true, "------"),
            ("NEW -u", Driver, true, "------"),
            ("NEW -u", Support, true, "yyyy-y"),
            ("NEW -u driver:u", Driver, false, "yyyyyy"),
            // There is nothing left of a deleted order.
            ("deleted", Customer, true, "------"),
            ("deleted", Admin, true, "------"),
        ] {
            let found = rights(&order(facts), role, named);
            assert_eq!(found, expected, "{facts:?} {role:?} named={named}");
        }
    }

    #[test]
    fn without_a_list_every_status_that_is_not_terminal_shows_the_driver() {
        let rules = Rules { location_visible: None, ..rules(false) };
        for (facts, refused) in
            [("", None), ("NEW", None), ("DELIVERED", Some(ErrorCode::OrderClosed))]
        {
            let found = ask(&rules, &order(facts), Role::Customer, true, Action::SeeLocation);
            assert_eq!(found, refused, "{facts}");
        }
    }

    #[test]
    fn a_back_end_reports_for_the_driver_that_the_order_has() {
        let driver = |words: &str| {
            let driver = driver_to_report(&rules(false), &order(words));
            driver.map(|driver| driver.to_string()).map_err(|failure| failure.code)
        };
        assert_eq!(driver("NEW driver:dan u:driver"), Ok("dan".to_owned()));
        assert_eq!(driver("NEW c:customer ann:driver"), Ok("ann".to_owned()));
        for none in ["", "NEW c:customer", "had-driver ann:driver", "deleted driver:dan"] {
            assert_eq!(driver(none), Err(ErrorCode::NotFound), "{none}");
        }
        assert_eq!(driver("DELIVERED driver:dan"), Err(ErrorCode::OrderClosed));
    }

    #[test]
    fn the_open_policy_lets_every_user_in_but_services_and_the_removed() {
        let none = order("");
        assert_eq!(ask(&rules(true), &none, Role::Customer, false, Action::Chat), None);
        let service = ask(&rules(true), &none, Role::Service, false, Action::Join);
        assert_eq!(service, Some(ErrorCode::Forbidden));
        let removed = ask(&rules(true), &order("-u"), Role::Customer, false, Action::Join);
        assert_eq!(removed, Some(ErrorCode::Forbidden));
    }

    #[test]
    fn a_ban_overrides_the_token_and_the_role() {
        let (user, rules) = (user("u"), rules(true));
        let subject = Subject { user: &user, role: Role::Support, named: true, banned: true };
        let (order, now) = (order("driver:u u:customer"), Timestamp::from_secs(0));
        let result = Rights { rules: &rules, order: &order, subject, now }.to(Action::Join);
        assert_eq!(result.map_err(|failure| failure.code), Err(ErrorCode::Forbidden));
    }

    #[test]
    fn chat_closes_some_time_after_the_end() {
        let (user, rules) = (user("u"), rules(false));
        let subject = Subject { user: &user, role: Role::Customer, named: true, banned: false };
        let ended = order("DELIVERED");
        let at = |now| {
            let rights = Rights { rules: &rules, order: &ended, subject, now };
            rights.to(Action::Chat).map_err(|failure| failure.code)
        };
        assert_eq!(at(Timestamp::from_secs(3600)), Ok(()));
        assert_eq!(at(Timestamp::from_secs(3601)), Err(ErrorCode::OrderClosed));
    }
}
