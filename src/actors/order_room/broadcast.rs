//! Fan-out: one encoding per codec in use, one push per member.

use std::time::Instant;

use actix::{Context, Handler, Message};

use super::membership::PushOutcome;
use super::{OrderRoom, RoomPermit};
use crate::actors::broadcast::Broadcast;
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

/// The outcome of a broadcast.
struct BroadcastOutcome {
    /// Members that got it, or get it after the snapshot that is being read for them.
    members: usize,
    /// Whether a member's outbox was closed or too full.
    gone: bool,
}

impl OrderRoom {
    /// Sends an event to every member, reliably and in order. Returns whether a member is gone.
    pub(super) fn send_to_all(&mut self, event: ServerEvent<'_>) -> bool {
        self.deliver_to_all(event).gone
    }

    fn deliver_to_all(&mut self, event: ServerEvent<'_>) -> BroadcastOutcome {
        let seq = event.chat_seq();
        self.shared.metrics.events_out.inc(event.index());
        let mut broadcast = Broadcast::new(event);
        let (mut delivered, mut held, mut gone) = (0, 0, false);
        for member in self.members.values_mut() {
            let frame = broadcast.frame(member.codec);
            match member.push(frame, seq) {
                PushOutcome::Sent => delivered += 1,
                PushOutcome::Held => held += 1,
                PushOutcome::Gone => gone = true,
            }
        }
        self.shared.metrics.deliveries.inc_by(delivered as u64);
        BroadcastOutcome { members: delivered + held, gone }
    }
}

impl Handler<Announce> for OrderRoom {
    type Result = usize;

    fn handle(&mut self, announce: Announce, ctx: &mut Context<Self>) -> usize {
        let reached = self.deliver_to_all(announce.event.event());
        if reached.gone {
            self.remove_closed_members();
            self.tick(Instant::now(), ctx);
        }
        reached.members
    }
}
