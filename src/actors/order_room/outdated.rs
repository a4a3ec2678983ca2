//! Messages of senders whose rights another node has changed: the store gives them back, and they are
//! judged anew by the newest state of the order.

use std::collections::VecDeque;

use actix::Context;

use super::OrderRoom;
use crate::actors::shared::unavailable;
use crate::actors::store::NewMessage;

/// Messages that wait to be judged, with their tokens.
#[derive(Default)]
pub(super) struct Outdated {
    /// Given back by the store; the room does not know a newer state yet.
    given_back: Vec<(u64, Box<NewMessage>)>,
    /// Messages that came while older ones, judged by an older state, were with the store. If the
    /// store gives one of those back, these must not be stored before it.
    behind: VecDeque<(u64, NewMessage)>,
}

impl OrderRoom {
    /// Whether a message is with the store that was judged by an older state than the room knows.
    pub(super) fn has_older_writes(&self) -> bool {
        let is_older = |judged_by: i64| judged_by < self.rev;
        self.relay.is_some() && self.writes.values().any(|w| w.judged_by.is_some_and(is_older))
    }

    /// Keeps a message until those before it are stored or refused.
    pub(super) fn queue_behind(&mut self, token: u64, message: NewMessage) {
        if let Some(relay) = &mut self.relay {
            relay.outdated.behind.push_back((token, message));
        }
    }

    /// Posts what has waited, once no older message is with the store.
    pub(super) fn post_behind(&mut self) {
        while !self.has_older_writes()
            && let Some(relay) = &mut self.relay
            && let Some((token, message)) = relay.outdated.behind.pop_front()
        {
            self.post_again(token, message);
        }
    }

    /// The store gave a message back, because the order has changed since its sender's right was
    /// judged. It is judged anew by the newest state.
    pub(super) fn judge_again(
        &mut self,
        token: u64,
        message: Box<NewMessage>,
        ctx: &mut Context<Self>,
    ) {
        if message.judged_by < Some(self.rev) {
            return self.post_again(token, *message);
        }
        if let Some(relay) = &mut self.relay {
            relay.outdated.given_back.push((token, message));
        }
        self.reread_order(ctx);
    }

    /// Judges and posts the messages that the store gave back, once the room has a newer state.
    pub(super) fn post_outdated(&mut self) {
        let rev = self.rev;
        let Some(relay) = &mut self.relay else { return };
        let is_due = |(_, message): &mut (u64, Box<NewMessage>)| message.judged_by < Some(rev);
        let due: Vec<_> = relay.outdated.given_back.extract_if(.., is_due).collect();
        for (token, message) in due {
            self.post_again(token, *message);
        }
    }

    /// The newest state could not be read, or is not newer.
    pub(super) fn give_up_outdated(&mut self) {
        let Some(relay) = &mut self.relay else { return };
        for (token, _) in std::mem::take(&mut relay.outdated.given_back) {
            if let Some(write) = self.writes.remove(&token) {
                write.answer.refuse(unavailable("the order has just changed"));
            }
        }
        self.post_behind();
    }
}
