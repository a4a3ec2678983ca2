//! Which events a committed change of an order causes, for a client that knew an earlier state.

use serde_json::value::RawValue;

use super::order::OrderFacts;
use crate::session::resume::KnownOrder;
use protocol::events::assignment::Assignment;
use protocol::events::order_status::StatusChange;
use protocol::ids::OrderId;
use protocol::server::ServerEvent;
use protocol::time::Timestamp;

/// The events of a change, relative to what the recipient knew before.
#[derive(Clone, Copy)]
pub struct OrderDiff<'a> {
    order: &'a OrderId,
    before: &'a OrderFacts,
    now: &'a OrderFacts,
    at: Timestamp,
    data: Option<&'a RawValue>,
}

impl<'a> OrderDiff<'a> {
    /// What changed at `at`, for a recipient that knew the order as `before`.
    pub fn new(
        order: &'a OrderId,
        before: &'a OrderFacts,
        now: &'a OrderFacts,
        at: Timestamp,
    ) -> Self {
        Self { order, before, now, at, data: None }
    }

    /// Adds a back end's data about a new status.
    #[must_use]
    pub fn with_data(self, data: Option<&'a RawValue>) -> Self {
        Self { data, ..self }
    }

    /// The event that the driver was unassigned. It is sent before the driver loses the right to be
    /// in the room.
    pub fn unassigned(self) -> Option<ServerEvent<'a>> {
        let driver_id = self.before.driver_id.as_ref()?;
        let is_new = self.now.driver_id.as_ref() != Some(driver_id);
        is_new.then_some(ServerEvent::Unassigned(Assignment {
            order_id: self.order,
            driver_id,
            driver_name: self.before.driver_name.as_deref(),
            at: self.at,
        }))
    }

    /// The event that a driver was assigned.
    pub fn assigned(self) -> Option<ServerEvent<'a>> {
        let driver_id = self.now.driver_id.as_ref()?;
        let is_new = self.before.driver_id.as_ref() != Some(driver_id);
        is_new.then_some(ServerEvent::Assigned(Assignment {
            order_id: self.order,
            driver_id,
            driver_name: self.now.driver_name.as_deref(),
            at: self.at,
        }))
    }

    /// The event that the status changed.
    pub fn status(self) -> Option<ServerEvent<'a>> {
        let status = self.now.status.as_deref()?;
        let previous_status = self.before.status.as_deref();
        (previous_status != Some(status)).then_some(ServerEvent::Status(StatusChange {
            order_id: self.order,
            status,
            previous_status,
            at: self.at,
            data: self.data,
        }))
    }
}

/// What a client knows of an order with these facts.
pub fn known_order(facts: &OrderFacts) -> KnownOrder {
    let status = facts.status.as_deref().map(Box::from);
    KnownOrder { status, driver: facts.driver_id.clone() }
}

/// Facts that hold only what is in `known`.
pub fn as_facts(known: KnownOrder) -> OrderFacts {
    let (status, driver_id) = (known.status.map(String::from), known.driver);
    OrderFacts { status, driver_id, ..OrderFacts::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(status: &str, driver: Option<&str>) -> OrderFacts {
        let driver_id = driver.map(|driver| driver.parse().expect("id"));
        OrderFacts { status: Some(status.to_owned()), driver_id, ..OrderFacts::default() }
    }

    /// Whether there are the events that the driver was unassigned, that one was assigned, and that
    /// the status changed.
    fn events(before: &OrderFacts, now: &OrderFacts) -> [bool; 3] {
        let order: OrderId = "o1".parse().expect("id");
        let diff = OrderDiff::new(&order, before, now, Timestamp::from_secs(1));
        [diff.unassigned(), diff.assigned(), diff.status()].map(|event| event.is_some())
    }

    #[test]
    fn only_what_changed_is_an_event() {
        let with = |driver| facts("NEW", driver);
        assert_eq!(events(&with(Some("dan")), &with(Some("dan"))), [false; 3]);
        assert_eq!(events(&with(None), &with(Some("dan"))), [false, true, false]);
        assert_eq!(events(&with(Some("dan")), &with(Some("eve"))), [true, true, false]);
        assert_eq!(events(&with(Some("dan")), &with(None)), [true, false, false]);
        assert_eq!(events(&with(None), &facts("DONE", None)), [false, false, true]);
        assert_eq!(events(&with(None), &OrderFacts::default()), [false; 3]);
    }

    #[test]
    fn a_known_order_leads_to_the_same_events() {
        let (before, now) = (facts("NEW", Some("dan")), facts("DONE", Some("eve")));
        assert_eq!(events(&as_facts(known_order(&before)), &now), events(&before, &now));
    }
}
