//! Which events a committed change of an order causes, for a client that knew an earlier state.

use serde_json::value::RawValue;

use super::store::CommittedChange;
use crate::room::order::OrderFacts;
use crate::session::resume::KnownOrder;
use protocol::ids::OrderId;
use protocol::server::{Assignment, ServerEvent, StatusChange};
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
    /// For a recipient that knew the order as it was just before this change.
    pub fn of(change: &'a CommittedChange) -> Self {
        Self::since(change, &change.changed.before)
    }

    /// For a room, which may have missed changes before this one.
    pub fn since(change: &'a CommittedChange, before: &'a OrderFacts) -> Self {
        let order = &change.changed.order;
        let at = change.note.at.unwrap_or(change.at);
        Self { order: &order.id, before, now: &order.facts, at, data: change.note.data.as_deref() }
    }

    /// For a recipient that was away, and is told at `at`.
    pub fn between(
        order: &'a OrderId,
        before: &'a OrderFacts,
        now: &'a OrderFacts,
        at: Timestamp,
    ) -> Self {
        Self { order, before, now, at, data: None }
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
