//! What a room hears of the rooms of its order on other nodes.

use actix::{Context, Handler, Message};

use super::OrderRoom;
use crate::actors::cluster::{BusStateChanged, NodeGone};
use crate::bus::Batch;

/// Events of other nodes about this room's order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct BusEvents(pub Batch);

impl Handler<BusEvents> for OrderRoom {
    type Result = ();

    fn handle(&mut self, _: BusEvents, _: &mut Context<Self>) {}
}

impl Handler<BusStateChanged> for OrderRoom {
    type Result = ();

    fn handle(&mut self, _: BusStateChanged, _: &mut Context<Self>) {}
}

impl Handler<NodeGone> for OrderRoom {
    type Result = ();

    fn handle(&mut self, _: NodeGone, _: &mut Context<Self>) {}
}
