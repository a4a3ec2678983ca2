//! Brings the room up to what a client has seen on another node, before the client is shown anything:
//! it would get the same messages again.

use std::time::Instant;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::OrderRoom;
use super::chat::{Origin, json};
use super::members::HeldFrames;
use crate::actors::peer::Answer;
use crate::actors::store::PageRange;
use protocol::events::history::MAX_PAGE;
use protocol::events::join::Join;
use protocol::ids::SessionId;

/// What a member waits for, whose client has seen more than the room has sent out.
pub(super) enum Waiting {
    /// The snapshot of a join.
    Snapshot(Join, Answer),
    /// What it missed.
    CatchUp,
}

/// A read that is under way for it.
struct ReadAhead {
    session: SessionId,
    /// The number of the read: the session may have left and come back meanwhile.
    read: u64,
    /// The last message that the client has seen.
    seen: i64,
    waiting: Waiting,
}

impl OrderRoom {
    /// Whether a client has seen more, on another node, than this room has sent out.
    pub(super) fn is_behind(&self, seen: Option<i64>) -> bool {
        self.relay.is_some() && seen.is_some_and(|seq| seq > self.delivery.delivered())
    }

    /// Reads what a client has seen. Meanwhile everything else is held back for it.
    pub(super) fn read_ahead(
        &mut self,
        session: SessionId,
        seen: i64,
        waiting: Waiting,
        ctx: &mut Context<Self>,
    ) {
        let read = self.take_token();
        let Some(member) = self.members.get_mut(&session) else { return };
        member.held = Some(Box::new(HeldFrames::of_one_who_has(read, seen)));
        self.read_next_ahead(ReadAhead { session, read, seen, waiting }, ctx);
    }

    fn read_next_ahead(&mut self, ahead: ReadAhead, ctx: &mut Context<Self>) {
        let page = self.read_page(PageRange::After(self.delivery.delivered()), MAX_PAGE);
        ctx.spawn(page.into_actor(self).map(move |page, room, ctx| {
            let messages = page.map(|page| page.messages).unwrap_or_default();
            for message in &messages {
                room.deliver(message, json(message), Origin::AnotherNode, Instant::now());
            }
            // Without messages there are no more, or the database does not answer.
            if room.is_behind(Some(ahead.seen)) && !messages.is_empty() {
                room.read_next_ahead(ahead, ctx);
            } else {
                room.on_read_ahead(ahead, ctx);
            }
            room.tick(Instant::now(), ctx);
        }));
    }

    /// The room has all that the client has seen, as far as that exists.
    fn on_read_ahead(&mut self, ahead: ReadAhead, ctx: &mut Context<Self>) {
        let ReadAhead { session, read, waiting, .. } = ahead;
        let delivered = self.delivery.delivered();
        let Some(member) = self.members.get_mut(&session) else { return };
        // Otherwise the session has left meanwhile.
        let Some(mut held) = member.take_held(read) else { return };
        held.frames.retain(|(_, seq)| seq.is_none_or(|seq| seq > delivered));
        match waiting {
            Waiting::Snapshot(join, answer) => {
                let since_seq = join.since_seq.map(|seq| seq.min(delivered));
                self.send_snapshot(session, Join { since_seq, ..join }, answer, ctx);
            }
            Waiting::CatchUp => self.catch_up(session, ctx),
        }
        // What was held comes behind what is being read now.
        match self.members.get_mut(&session).and_then(|member| member.held.as_mut()) {
            Some(next) => next.append(*held),
            None => self.resume_delivery(session, *held, ctx),
        }
    }
}
