//! Sends events to all members, those of back ends among them.

use std::time::Instant;

use actix::{Context, Handler, Message};

use super::{OrderRoom, RoomPermit};
use crate::actors::broadcast::{BroadcastOutcome, broadcast};
use protocol::back_end::BackEndEvent;
use protocol::server::ServerEvent;

/// Sends an event of a back end to the members. The answer is how many got it.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct Announce {
    /// The event.
    pub event: BackEndEvent,
    /// The permit of the room's queue.
    pub permit: RoomPermit,
}

impl OrderRoom {
    /// Sends an event to every member, reliably and in order.
    pub(super) fn send_to_all(&mut self, event: ServerEvent<'_>) -> BroadcastOutcome {
        let seq = event.chat_seq();
        let members = self.members.values_mut();
        broadcast(event, &self.shared.metrics, members, |member, event| {
            member.push(event.frame(member.codec), seq)
        })
    }
}

impl Handler<Announce> for OrderRoom {
    type Result = usize;

    fn handle(&mut self, announce: Announce, ctx: &mut Context<Self>) -> usize {
        let outcome = self.send_to_all(announce.event.event());
        if outcome.gone {
            self.remove_closed_members();
            self.tick(Instant::now(), ctx);
        }
        outcome.sent + outcome.held
    }
}
