//! Messages about which the back end is asked first. Of each sender one at a time is asked about, so
//! their order is kept; those of others do not wait.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::OrderRoom;
use crate::actors::hooks::{ChatHook, Decision};
use crate::actors::peer::Answer;
use crate::actors::shared::{chat_failure, hook_failure, unavailable};
use crate::actors::store::{ChatWriteError, NewMessage};
use crate::auth::Identity;
use crate::room::policy::Action;
use protocol::client::Reply;
use protocol::error::Failure;
use protocol::events::chat::Stored;
use protocol::ids::UserId;

/// The most messages of one sender that wait.
const MAX_WAITING: usize = 16;

/// The messages of each sender that wait, the one that is asked about first.
pub(super) type AskedChat = HashMap<UserId, VecDeque<AskedMessage>>;

/// A message about which the back end is asked.
pub(super) struct AskedMessage {
    identity: Arc<Identity>,
    message: NewMessage,
    answer: Answer,
}

impl OrderRoom {
    /// Asks about a message, behind those of its sender that wait.
    pub(super) fn ask_about(
        &mut self,
        hook: &Arc<ChatHook>,
        identity: Arc<Identity>,
        (message, answer): (NewMessage, Answer),
        ctx: &mut Context<Self>,
    ) {
        let sender = message.sender_id.clone();
        let waiting = self.asked_chat.entry(sender.clone()).or_default();
        if waiting.len() >= MAX_WAITING {
            return answer.refuse(unavailable("too many messages wait for the back end"));
        }
        waiting.push_back(AskedMessage { identity, message, answer });
        if waiting.len() == 1 {
            self.ask_next(hook, sender, ctx);
        }
    }

    fn ask_next(&mut self, hook: &Arc<ChatHook>, sender: UserId, ctx: &mut Context<Self>) {
        let Some(next) = self.asked_chat.get(&sender).and_then(VecDeque::front) else {
            self.asked_chat.remove(&sender);
            return;
        };
        let (store, message) = (self.shared.store.clone(), next.message.clone());
        let asking = Arc::clone(hook);
        let decided = async move { asking.decide(&store, message).await };
        let hook = Arc::clone(hook);
        ctx.spawn(decided.into_actor(self).map(move |decision, room, ctx| {
            let asked = room.asked_chat.get_mut(&sender).and_then(VecDeque::pop_front);
            if let Some(asked) = asked {
                room.on_decided(asked, decision);
            }
            room.ask_next(&hook, sender, ctx);
            room.tick(Instant::now(), ctx);
        }));
    }

    fn on_decided(&mut self, asked: AskedMessage, decision: Decision) {
        let AskedMessage { identity, answer, .. } = asked;
        // Rights may have changed while the back end thought about it.
        if let Err(failure) = self.may_still_write(&identity) {
            return answer.refuse(failure);
        }
        match decision {
            Decision::Store(message) => self.write(*message, answer),
            Decision::Duplicate(stored) => answer.ok(Reply::Chat(Stored {
                id: &stored.id,
                seq: stored.seq,
                created_at: stored.created_at,
                duplicate: true,
            })),
            Decision::Conflict => answer.refuse(chat_failure(ChatWriteError::Conflict)),
            Decision::Rejected(reason) => answer.refuse(hook_failure(reason)),
            Decision::Unavailable => {
                answer.refuse(unavailable("the message cannot be checked now"));
            }
        }
    }

    fn may_still_write(&self, identity: &Identity) -> Result<(), Failure> {
        if self.shared.is_draining() {
            return Err(unavailable("the hub restarts"));
        }
        if self.shared.verifier.has_revoked(identity) {
            return Err(Failure::forbidden());
        }
        self.rights_of(identity).to(Action::Chat)
    }
}
