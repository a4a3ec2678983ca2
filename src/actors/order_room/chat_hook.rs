//! Messages about which the back end is asked first. Of each sender one at a time is on its way, until
//! it is stored, so their order is kept and a retry finds its original. Those of others do not wait.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::OrderRoom;
use crate::actors::hooks::{ChatHook, Decision};
use crate::actors::peer::Answer;
use crate::actors::shared::{chat_failure, hook_failure, unavailable};
use crate::actors::store::{ChatWriteError, NewMessage};
use crate::room::policy::Action;
use protocol::client::Reply;
use protocol::error::Failure;
use protocol::events::chat::Stored;
use protocol::ids::{SessionId, UserId};

/// The most messages of one sender that wait.
const MAX_WAITING: usize = 16;

/// The senders of whom a message is on its way, with those that wait behind it.
#[derive(Default)]
pub(super) struct AskedChat {
    senders: HashMap<UserId, VecDeque<AskedMessage>>,
    /// Senders whose message is being stored, by its token.
    writes: HashMap<u64, UserId>,
}

/// A message about which the back end is asked.
pub(super) struct AskedMessage {
    session: SessionId,
    message: NewMessage,
    answer: Answer,
}

// === impl AskedChat ===

impl AskedChat {
    /// Whether nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.senders.is_empty()
    }
}

impl OrderRoom {
    /// Asks about a message, behind those of its sender that wait.
    pub(super) fn ask_about(
        &mut self,
        hook: &Arc<ChatHook>,
        session: SessionId,
        (message, answer): (NewMessage, Answer),
        ctx: &mut Context<Self>,
    ) {
        let sender = message.sender_id.clone();
        let asked = AskedMessage { session, message, answer };
        let Some(waiting) = self.asked_chat.senders.get_mut(&sender) else {
            self.asked_chat.senders.insert(sender, VecDeque::new());
            return self.ask(hook, asked, ctx);
        };
        if waiting.len() >= MAX_WAITING {
            let failure = unavailable("too many messages wait for the back end");
            return asked.answer.refuse(failure);
        }
        waiting.push_back(asked);
    }

    fn ask(&mut self, hook: &Arc<ChatHook>, asked: AskedMessage, ctx: &mut Context<Self>) {
        let (store, message) = (self.shared.store.clone(), asked.message.clone());
        let hook = Arc::clone(hook);
        let decided = async move { hook.decide(&store, message).await };
        ctx.spawn(decided.into_actor(self).map(move |decision, room, ctx| {
            room.on_decided(asked, decision, ctx);
            room.tick(Instant::now(), ctx);
        }));
    }

    /// Asks about the next message of a sender who may still write it.
    fn ask_next(&mut self, sender: &UserId, ctx: &mut Context<Self>) {
        let hook = self.shared.hooks.chat.clone();
        while let Some(asked) =
            self.asked_chat.senders.get_mut(sender).and_then(VecDeque::pop_front)
        {
            match (self.may_write(asked.session), &hook) {
                (Ok(()), Some(hook)) => return self.ask(hook, asked, ctx),
                (Err(failure), _) => asked.answer.refuse(failure),
                (Ok(()), None) => drop(asked),
            }
        }
        self.asked_chat.senders.remove(sender);
    }

    fn on_decided(&mut self, asked: AskedMessage, decision: Decision, ctx: &mut Context<Self>) {
        let AskedMessage { session, message, answer } = asked;
        let sender = message.sender_id;
        // Rights may have changed while the back end thought about it.
        match (self.may_write(session), decision) {
            (Err(failure), _) => answer.refuse(failure),
            (Ok(()), Decision::Store(message)) => {
                let judged_by = self.relay.is_some().then_some(self.rev);
                let message = NewMessage { judged_by, ..*message };
                if let Some(token) = self.write(message, session, answer) {
                    self.asked_chat.writes.insert(token, sender);
                    return;
                }
            }
            (Ok(()), Decision::Duplicate(stored)) => answer.ok(Reply::Chat(Stored {
                id: &stored.id,
                seq: stored.seq,
                created_at: stored.created_at,
                duplicate: true,
            })),
            (Ok(()), Decision::Conflict) => answer.refuse(chat_failure(ChatWriteError::Conflict)),
            (Ok(()), Decision::Rejected(reason)) => answer.refuse(hook_failure(reason)),
            (Ok(()), Decision::Unavailable) => {
                answer.refuse(unavailable("the message cannot be checked now"));
            }
        }
        self.ask_next(&sender, ctx);
    }

    /// Goes on with the senders whose last message is stored, or given up.
    pub(super) fn go_on_asking(&mut self, ctx: &mut Context<Self>) {
        if self.asked_chat.writes.is_empty() {
            return;
        }
        let Self { asked_chat, writes, .. } = self;
        let is_answered = |token: &u64, _: &mut UserId| !writes.contains_key(token);
        let done: Vec<UserId> =
            asked_chat.writes.extract_if(is_answered).map(|(_, sender)| sender).collect();
        for sender in done {
            self.ask_next(&sender, ctx);
        }
    }

    /// Whether a session in the room may write, with the token that it has now.
    fn may_write(&self, session: SessionId) -> Result<(), Failure> {
        if self.shared.is_draining() {
            return Err(unavailable("the hub restarts"));
        }
        let identity = self.authorize(session, Action::Chat)?;
        if self.shared.verifier.has_revoked(identity) {
            return Err(Failure::forbidden());
        }
        Ok(())
    }
}
