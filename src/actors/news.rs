//! What a committed change of an order is to those who hear of it.

use super::store::Change;
use crate::protocol::server::{Assignment, ServerEvent, StatusChange};
use crate::room::order::OrderFacts;

/// The events of a change, seen from what a hearer knew before.
#[derive(Clone, Copy)]
pub struct News<'a> {
    change: &'a Change,
    before: &'a OrderFacts,
}

impl<'a> News<'a> {
    /// For somebody who knew the order as it was before this change.
    pub fn of(change: &'a Change) -> Self {
        Self { change, before: &change.changed.before }
    }

    /// For a room, which may not have heard of some changes before this one.
    pub fn since(change: &'a Change, before: &'a OrderFacts) -> Self {
        Self { change, before }
    }

    /// Somebody is the driver no more. Told before the right goes that it gave.
    pub fn unassigned(self) -> Option<ServerEvent<'a>> {
        let driver_id = self.before.driver_id.as_ref()?;
        let is_new = self.now().driver_id.as_ref() != Some(driver_id);
        is_new.then(|| {
            ServerEvent::Unassigned(Assignment {
                order_id: &self.change.changed.order.id,
                driver_id,
                driver_name: self.before.driver_name.as_deref(),
                at: self.change.note.at.unwrap_or(self.change.at),
            })
        })
    }

    /// Somebody is the driver.
    pub fn assigned(self) -> Option<ServerEvent<'a>> {
        let driver_id = self.now().driver_id.as_ref()?;
        let is_new = self.before.driver_id.as_ref() != Some(driver_id);
        is_new.then(|| {
            ServerEvent::Assigned(Assignment {
                order_id: &self.change.changed.order.id,
                driver_id,
                driver_name: self.now().driver_name.as_deref(),
                at: self.change.note.at.unwrap_or(self.change.at),
            })
        })
    }

    /// There is another status.
    pub fn status(self) -> Option<ServerEvent<'a>> {
        let status = self.now().status.as_deref()?;
        let previous_status = self.before.status.as_deref();
        (previous_status != Some(status)).then(|| {
            ServerEvent::Status(StatusChange {
                order_id: &self.change.changed.order.id,
                status,
                previous_status,
                at: self.change.note.at.unwrap_or(self.change.at),
                data: self.change.note.data.as_deref(),
            })
        })
    }

    fn now(self) -> &'a OrderFacts {
        &self.change.changed.order.facts
    }
}
