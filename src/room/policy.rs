//! Rights: who may do what in the room of an order. The one place that decides.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::ids::UserId;
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::role::Role;
use crate::time::Timestamp;

/// The rules that an operator has set.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Every logged-in user may join any order, as the `NestJS` gateway allowed.
    pub open: bool,
    /// Statuses in which an order has ended.
    pub terminal: BTreeSet<String>,
    /// How long after its end an order's chat stays open.
    pub chat_open: Duration,
}

/// What is known of an order, as far as rights depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderFacts {
    /// Its state, none where no back end has set one.
    pub status: Option<String>,
    /// The assigned driver.
    pub driver_id: Option<UserId>,
    /// When it reached a terminal status.
    pub ended_at: Option<Timestamp>,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The user.
    pub user: &'a UserId,
    /// The role in the token.
    pub role: Role,
    /// Whether the token's `orders` names this order.
    pub named: bool,
    /// Whether an admin or a back end removed the user from it.
    pub banned: bool,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// To be in the room, and to read its chat.
    Join,
    /// To say something.
    Chat,
    /// To tell where the driver is.
    Locate,
}

/// Judges.
///
/// # Errors
/// `forbidden` without the right, `order_closed` where the order's end has taken it.
pub fn judge(
    rules: &Rules,
    order: &OrderFacts,
    asker: Asker<'_>,
    action: Action,
    now: Timestamp,
) -> Result<(), Failure> {
    if !may_join(rules, order, asker) {
        return Err(Failure::forbidden());
    }
    match action {
        Action::Chat if chat_has_closed(rules, order, now) => Err(closed()),
        Action::Locate if !may_drive(order, asker) => {
            Err(Failure::new(ErrorCode::Forbidden, "only the order's driver sends positions"))
        }
        Action::Locate if has_ended(rules, order) => Err(closed()),
        Action::Join | Action::Chat | Action::Locate => Ok(()),
    }
}

/// Whether an order's status is terminal.
pub fn has_ended(rules: &Rules, order: &OrderFacts) -> bool {
    order.status.as_ref().is_some_and(|status| rules.terminal.contains(status))
}

fn may_join(rules: &Rules, order: &OrderFacts, asker: Asker<'_>) -> bool {
    if asker.banned {
        return false;
    }
    let drives = order.driver_id.as_ref() == Some(asker.user);
    asker.role.is_staff() || asker.named || drives || (rules.open && asker.role != Role::Service)
}

fn may_drive(order: &OrderFacts, asker: Asker<'_>) -> bool {
    match &order.driver_id {
        Some(driver) => driver == asker.user,
        None => asker.role == Role::Driver,
    }
}

fn chat_has_closed(rules: &Rules, order: &OrderFacts, now: Timestamp) -> bool {
    let closes_at = |ended: Timestamp| ended.plus(rules.chat_open);
    has_ended(rules, order) && order.ended_at.is_some_and(|ended| now > closes_at(ended))
}

fn closed() -> Failure {
    Failure::new(ErrorCode::OrderClosed, "the order has ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn rules(open: bool) -> Rules {
        Rules { open, terminal: BTreeSet::from(["DELIVERED".to_owned()]), chat_open: HOUR }
    }

    fn order(status: Option<&str>, driver: Option<&str>) -> OrderFacts {
        OrderFacts {
            status: status.map(ToOwned::to_owned),
            driver_id: driver.map(|id| id.parse().expect("id")),
            ended_at: status.map(|_| Timestamp::from_secs(0)),
        }
    }

    fn ask(
        rules: &Rules,
        order: &OrderFacts,
        role: Role,
        named: bool,
        action: Action,
    ) -> Option<ErrorCode> {
        let user: UserId = "u1".parse().expect("id");
        let asker = Asker { user: &user, role, named, banned: false };
        judge(rules, order, asker, action, Timestamp::from_secs(60)).err().map(|f| f.code)
    }

    #[test]
    fn who_may_do_what() {
        use Action::{Chat, Join, Locate};
        use ErrorCode::{Forbidden, OrderClosed};
        use Role::{Admin, Customer, Driver, Service, Support};
        let (none, mine, theirs) =
            (order(None, None), order(None, Some("u1")), order(None, Some("u2")));
        let ended = order(Some("DELIVERED"), Some("u1"));
        for (order, role, named, action, refused) in [
            (&none, Customer, true, Join, None),
            (&none, Customer, false, Join, Some(Forbidden)),
            (&none, Driver, false, Join, Some(Forbidden)),
            (&none, Support, false, Join, None),
            (&none, Admin, false, Chat, None),
            (&none, Service, false, Join, Some(Forbidden)),
            (&none, Service, true, Join, None),
            (&none, Customer, true, Locate, Some(Forbidden)),
            (&none, Support, true, Locate, Some(Forbidden)),
            (&none, Driver, true, Locate, None),
            (&mine, Driver, false, Locate, None),
            (&mine, Customer, false, Locate, None),
            (&theirs, Driver, true, Join, None),
            (&theirs, Driver, true, Locate, Some(Forbidden)),
            (&ended, Driver, true, Locate, Some(OrderClosed)),
            (&ended, Driver, true, Join, None),
            (&ended, Customer, true, Chat, None),
            (&theirs, Customer, false, Chat, Some(Forbidden)),
            (&ended, Customer, false, Chat, None),
        ] {
            let found = ask(&rules(false), order, role, named, action);
            assert_eq!(found, refused, "{order:?} {role:?} named={named} {action:?}");
        }
    }

    #[test]
    fn the_open_policy_lets_every_user_in_but_services() {
        let none = order(None, None);
        assert_eq!(ask(&rules(true), &none, Role::Customer, false, Action::Chat), None);
        let service = ask(&rules(true), &none, Role::Service, false, Action::Join);
        assert_eq!(service, Some(ErrorCode::Forbidden));
    }

    #[test]
    fn a_ban_overrides_the_token_and_the_role() {
        let user: UserId = "u1".parse().expect("id");
        let asker = Asker { user: &user, role: Role::Support, named: true, banned: true };
        let verdict = judge(
            &rules(true),
            &order(None, Some("u1")),
            asker,
            Action::Join,
            Timestamp::from_secs(0),
        );
        assert_eq!(verdict.map_err(|failure| failure.code), Err(ErrorCode::Forbidden));
    }

    #[test]
    fn chat_closes_some_time_after_the_end() {
        let (user, rules): (UserId, _) = ("u1".parse().expect("id"), rules(false));
        let asker = Asker { user: &user, role: Role::Customer, named: true, banned: false };
        let ended = order(Some("DELIVERED"), None);
        let at = |now| judge(&rules, &ended, asker, Action::Chat, now).map_err(|f| f.code);
        assert_eq!(at(Timestamp::from_secs(3600)), Ok(()));
        assert_eq!(at(Timestamp::from_secs(3601)), Err(ErrorCode::OrderClosed));
    }
}
