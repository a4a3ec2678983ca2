//! Fan-out: one encoding per codec in use, one push per member.

use std::time::Instant;

use actix::{Context, Handler, Message};

use super::membership::PushOutcome;
use super::{OrderRoom, RoomPermit};
use crate::actors::broadcast::Broadcast;
use crate::protocol::back_end::BackEndEvent;
use crate::protocol::server::ServerEvent;

/// A back end has something to say to the members; answers to how many it went.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct Announce {
    /// What.
    pub event: BackEndEvent,
    /// Its place in the queue.
    pub permit: RoomPermit,
}

/// What became of an event for everybody.
struct BroadcastOutcome {
    /// Members that have it, or get it behind the snapshot that is read for them.
    members: usize,
    /// Whether a member turned out to be gone.
    gone: bool,
}

impl OrderRoom {
    /// Sends an event to every member, reliably and in order. True where a member turned out to be
    /// gone.
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
