//! What comes over the bus for rooms: each room gets its own events.

use actix::{Context, Handler};

use super::Supervisor;
use crate::actors::cluster::{BusBatch, BusStateChanged, NodeGone};
use crate::actors::order_room::BusEvents;
use crate::bus::{Batch, Topic};
use protocol::ids::OrderId;

impl Supervisor {
    /// Sends events of one order to its room, if there is one.
    fn forward_events(&self, order: &OrderId, events: Batch) {
        if let Some(entry) = self.rooms.get(order) {
            entry.handle.addr.do_send(BusEvents(events));
        }
    }
}

impl Handler<BusBatch> for Supervisor {
    type Result = ();

    /// Events that follow each other and are of one order are one message to its room.
    fn handle(&mut self, BusBatch(batch): BusBatch, _: &mut Context<Self>) {
        for (topic, events) in batch.by(|event| event.topic.clone()) {
            if let Topic::Order(order) = topic {
                self.forward_events(&order, events);
            }
        }
    }
}

impl Handler<BusStateChanged> for Supervisor {
    type Result = ();

    fn handle(&mut self, changed: BusStateChanged, _: &mut Context<Self>) {
        for entry in self.rooms.values() {
            entry.handle.addr.do_send(changed);
        }
    }
}

impl Handler<NodeGone> for Supervisor {
    type Result = ();

    fn handle(&mut self, gone: NodeGone, _: &mut Context<Self>) {
        for entry in self.rooms.values() {
            entry.handle.addr.do_send(gone.clone());
        }
    }
}
