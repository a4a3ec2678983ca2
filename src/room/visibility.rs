//! Which positions of an order's driver a user may see. All decisions are made here: snapshots,
//! live positions, `GET /orders/{id}` and the trail call this module.

use super::order::OrderFacts;
use super::policy::{Action, Rights, Rules, has_ended, may_drive};
use protocol::error::Failure;
use protocol::location::Position;
use protocol::time::Timestamp;

/// Which positions a user may see: those recorded from a time on, or none. The time of recording
/// counts, not that of arrival: a phone may deliver late what it recorded while the driver was
/// hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visibility {
    /// That time; the latest possible time where none is visible. It is one number, because each
    /// position is compared with that of each member.
    since_ms: i64,
}

// === impl Visibility ===

impl Visibility {
    /// No position is visible.
    pub const NONE: Self = Self { since_ms: i64::MAX };
    /// Every position is visible.
    pub const ALL: Self = Self { since_ms: i64::MIN };

    /// Positions recorded from this time on are visible.
    pub fn since(time: Timestamp) -> Self {
        Self { since_ms: time.as_millis() }
    }

    /// What is visible to a back end that may read orders.
    pub fn of_back_end(rules: &Rules, order: &OrderFacts) -> Self {
        if has_ended(rules, order) { Self::NONE } else { Self::of_trail(order) }
    }

    /// The whole trail of an order. Positions from before the order was created again are not part
    /// of it.
    pub fn of_trail(order: &OrderFacts) -> Self {
        order.remade_at.map_or(Self::ALL, Self::since)
    }

    /// Whether a position recorded at this time is visible.
    pub fn shows(self, recorded_ms: i64) -> bool {
        recorded_ms >= self.since_ms
    }

    /// Whether this position is visible.
    pub fn shows_position(self, position: &Position) -> bool {
        self.shows(position.taken_at().as_millis())
    }

    /// Whether it shows less than the other.
    pub fn is_less_than(self, other: Self) -> bool {
        self.since_ms > other.since_ms
    }

    /// The time from which on positions are visible.
    pub fn begins(self) -> Timestamp {
        Timestamp::from_millis(self.since_ms)
    }

    /// The positions that both show.
    fn and(self, other: Self) -> Self {
        Self { since_ms: self.since_ms.max(other.since_ms) }
    }
}

impl Rights<'_> {
    /// Which positions of the order's driver the user may see.
    ///
    /// # Errors
    /// As [`Rights::to`], where the user may see none.
    pub fn visible_positions(self) -> Result<Visibility, Failure> {
        self.to(Action::SeeLocation)?;
        let Self { rules, order, subject, .. } = self;
        let sees_all =
            rules.location_visible.is_none() || subject.role.is_staff() || self.supports();
        let all = Visibility::of_trail(order);
        if sees_all || may_drive(order, subject) {
            return Ok(all);
        }
        // Where no change of the order has made it visible, the settings did, at the latest when
        // the hub started.
        let shown_since = order.shown_since.unwrap_or(rules.in_force_since);
        Ok(all.and(Visibility::since(shown_since)))
    }

    /// Which part of the order's trail the user may see: the same positions, and for staff also
    /// after the order's end.
    ///
    /// # Errors
    /// As [`Rights::to`], where the user may see none.
    pub fn visible_trail(self) -> Result<Visibility, Failure> {
        if self.subject.role.is_staff() {
            self.to(Action::Read)?;
            return Ok(Visibility::of_trail(self.order));
        }
        self.visible_positions()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::room::order::Participant;
    use crate::room::policy::Subject;
    use protocol::error::ErrorCode;
    use protocol::ids::UserId;
    use protocol::role::Role;

    fn user(id: &str) -> UserId {
        id.parse().expect("an id")
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn rules() -> Rules {
        let word = |word: &str| BTreeSet::from([word.to_owned()]);
        Rules {
            terminal_statuses: word("DELIVERED"),
            location_visible: Some(word("PICKED_UP")),
            in_force_since: at(40),
            ..Rules::default()
        }
    }

    fn order(status: &str, driver: &str) -> OrderFacts {
        OrderFacts {
            status: Some(status.to_owned()),
            driver_id: Some(user(driver)),
            dispatched: true,
            ..OrderFacts::default()
        }
    }

    fn shown(order: OrderFacts) -> OrderFacts {
        OrderFacts { shown_since: Some(at(7)), ..order }
    }

    fn remade(order: OrderFacts) -> OrderFacts {
        OrderFacts { remade_at: Some(at(20)), ..order }
    }

    fn supported(mut order: OrderFacts) -> OrderFacts {
        let (user_id, role) = (user("u"), Role::Support);
        order.participants.put(Participant { user_id, role, name: None });
        order
    }

    /// Since when a user sees positions, and since when the trail, in seconds; or why not.
    fn since(rules: &Rules, order: &OrderFacts, role: Role) -> [Result<i64, ErrorCode>; 2] {
        let user = user("u");
        let subject = Subject { user: &user, role, named: true, banned: false };
        let seconds = |found: Result<Visibility, Failure>| {
            let since_ms = found.map_err(|failure| failure.code)?.since_ms;
            Ok(if since_ms == i64::MIN { 0 } else { since_ms.div_euclid(1000) })
        };
        let rights = Rights { rules, order, subject, now: at(60) };
        [rights.visible_positions(), rights.visible_trail()].map(seconds)
    }

    #[test]
    fn a_customer_sees_positions_since_the_driver_is_shown_and_others_see_all() {
        use Role::{Admin, Customer, Driver, Support};
        let (hidden, closed) = (Err(ErrorCode::Forbidden), Err(ErrorCode::OrderClosed));
        for (facts, role, expected) in [
            (shown(order("PICKED_UP", "else")), Customer, [Ok(7), Ok(7)]),
            (order("PICKED_UP", "else"), Customer, [Ok(40), Ok(40)]),
            (order("NEW", "else"), Customer, [hidden, hidden]),
            (shown(order("PICKED_UP", "else")), Driver, [Ok(7), Ok(7)]),
            (shown(order("PICKED_UP", "u")), Driver, [Ok(0), Ok(0)]),
            (supported(shown(order("PICKED_UP", "else"))), Customer, [Ok(0), Ok(0)]),
            (shown(order("PICKED_UP", "else")), Support, [Ok(0), Ok(0)]),
            (order("DELIVERED", "else"), Admin, [closed, Ok(0)]),
            (order("DELIVERED", "u"), Driver, [closed, closed]),
        ] {
            assert_eq!(since(&rules(), &facts, role), expected, "{facts:?} {role:?}");
        }
        let deleted = OrderFacts { deleted: true, ..order("NEW", "else") };
        assert_eq!(since(&rules(), &deleted, Role::Admin), [hidden, hidden]);
    }

    #[test]
    fn without_a_list_a_customer_sees_all() {
        let rules = Rules { location_visible: None, ..rules() };
        assert_eq!(since(&rules, &shown(order("NEW", "else")), Role::Customer), [Ok(0), Ok(0)]);
    }

    #[test]
    fn positions_from_before_the_order_was_created_again_are_hidden() {
        let again = remade(shown(order("PICKED_UP", "u")));
        for role in [Role::Driver, Role::Admin, Role::Customer] {
            assert_eq!(since(&rules(), &again, role), [Ok(20), Ok(20)], "{role:?}");
        }
        let back_end = Visibility::of_back_end(&rules(), &again);
        assert!(!back_end.shows(19_999) && back_end.shows(20_000));
        let ended = Visibility::of_back_end(&rules(), &order("DELIVERED", "u"));
        assert_eq!((ended, ended.shows(i64::MAX - 1)), (Visibility::NONE, false));
    }
}
