//! Chat: stored first, then acknowledged and sent out, one message after the other.

use std::sync::Arc;
use std::time::Instant;

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use serde_json::value::RawValue;

use super::{GetHistory, OrderRoom, PostChat};
use crate::actors::peer::Answer;
use crate::actors::shared::{chat_failure, unavailable};
use crate::actors::store::{
    ANSWER_TIMEOUT, ChatPosted, ChatWrite, ChatWritten, NewMessage, PageRange,
};
use crate::auth::Identity;
use crate::room::policy::{Action, authorize};
use crate::room::recent_messages::MessageJson;
use protocol::chat::ChatMessage;
use protocol::client::{Chat, History};
use protocol::error::Failure;
use protocol::server::{Reply, ServerEvent};
use protocol::time::Timestamp;

impl OrderRoom {
    /// Hands a message to the store.
    pub(super) fn post(&mut self, post: PostChat) {
        #[cfg(debug_assertions)]
        assert!(self.shared.panic_on.as_ref() != Some(&post.chat.content), "asked to by a test");
        let Some((_, identity)) = self.peer_and_identity(post.session) else {
            return post.answer.refuse(unavailable("the session is not in the room any more"));
        };
        let identity = Arc::clone(identity);
        let now = Timestamp::now();
        match self.authorize_post(&identity, now) {
            Ok(()) => self.write(post.chat, &identity, post.answer, now),
            Err(failure) => post.answer.refuse(failure),
        }
    }

    fn authorize_post(&self, identity: &Identity, now: Timestamp) -> Result<(), Failure> {
        if self.shared.is_draining() {
            return Err(unavailable("the hub restarts"));
        }
        let subject = self.shared.subject(identity, &self.order);
        authorize(&self.shared.rules, &self.facts, subject, Action::Chat, now)
    }

    fn write(&mut self, chat: Chat, identity: &Identity, answer: Answer, now: Timestamp) {
        let token = self.take_token();
        let message = NewMessage {
            id: uuid::Uuid::now_v7().to_string(),
            order_id: self.order.clone(),
            sender_id: identity.user.clone(),
            sender_name: identity.name.clone(),
            sender_role: identity.role,
            kind: chat.kind,
            content: chat.content,
            client_msg_id: chat.client_msg_id,
            created_at: now,
        };
        let write = ChatWrite { message, token, reply: self.writes_reply.clone() };
        match self.shared.store.write_chat(write) {
            Ok(()) => {
                self.writes.insert(token, (Instant::now(), answer));
            }
            Err(_) => answer.refuse(unavailable("too many messages wait to be stored")),
        }
    }

    /// Handles the store's answer: acknowledges the message, and sends out what is next.
    pub(super) fn on_chat_written(&mut self, written: ChatWritten, now: Instant) {
        let answer = self.writes.remove(&written.token).map(|(_, answer)| answer);
        match written.outcome {
            Ok(stored) => {
                self.exists = true;
                let message = &stored.message;
                if let Some(answer) = answer {
                    answer.ok(Reply::Stored {
                        id: &message.id,
                        seq: message.seq,
                        created_at: message.created_at,
                        duplicate: stored.duplicate,
                    });
                }
                self.deliver(&stored.message, now);
            }
            Err(error) => {
                if let Some(answer) = answer {
                    answer.refuse(chat_failure(error));
                }
            }
        }
    }

    /// When the room gives up waiting for the store's oldest outstanding answer.
    pub(super) fn writes_due(&self) -> Option<Instant> {
        self.writes.first_key_value().map(|(_, (since, _))| *since + ANSWER_TIMEOUT)
    }

    /// Refuses messages for which the store's answer is overdue, as when the database hangs. If
    /// such a message is stored after all, it is sent out then, and a retry finds it.
    pub(super) fn give_up_writes(&mut self, now: Instant) {
        while self.writes_due().is_some_and(|due| due <= now)
            && let Some((_, (_, answer))) = self.writes.pop_first()
        {
            answer.refuse(unavailable("the database does not answer"));
            self.shared.store.report_timeout();
        }
    }

    /// Sends a stored message out as soon as all messages before it are sent.
    pub(super) fn deliver(&mut self, message: &ChatMessage, now: Instant) {
        if message.seq > self.delivery.delivered() {
            self.on_message_from_sender(message, now);
        }
        for (seq, json) in self.delivery.accept(message.seq, json(message), now) {
            self.fan_out(seq, json);
        }
    }

    fn fan_out(&mut self, seq: i64, json: MessageJson) {
        let order = self.order.clone();
        let event = ServerEvent::Chat { order_id: &order, seq, json: &json };
        let gone = self.send_to_all(event);
        self.handle.stats.chat(Timestamp::now());
        self.recent_messages.push(seq, json);
        if gone {
            self.remove_closed_members();
        }
    }

    /// Reads the messages that are missing between what was sent and what waits.
    pub(super) fn fill_gap(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if let Some((after, upto)) = self.delivery.gap(now) {
            self.read_missing(PageRange::Between { after, upto }, ctx);
        }
    }

    /// Reads messages from the database and delivers them.
    pub(super) fn read_missing(&mut self, range: PageRange, ctx: &mut Context<Self>) {
        let (store, order) = (self.shared.store.clone(), self.order.clone());
        let read = async move { store.page(order, range, protocol::client::MAX_PAGE).await };
        ctx.spawn(read.into_actor(self).map(|page, room, ctx| {
            match page {
                Ok(page) => {
                    page.messages.iter().for_each(|message| room.deliver(message, Instant::now()));
                }
                // The gap stays, so the next tick tries again.
                Err(error) => {
                    log::warn!(order = room.order.as_str(); "cannot fill a hole: {error}");
                }
            }
            room.tick(Instant::now(), ctx);
        }));
    }

    /// Answers with a page of chat.
    pub(super) fn get_history(&mut self, read: GetHistory, ctx: &mut Context<Self>) {
        let Some((_, identity)) = self.peer_and_identity(read.session) else {
            return read.answer.refuse(unavailable("the session is not in the room any more"));
        };
        let subject = self.shared.subject(identity, &self.order);
        let now = Timestamp::now();
        if let Err(failure) = authorize(&self.shared.rules, &self.facts, subject, Action::Read, now)
        {
            return read.answer.refuse(failure);
        }
        let (store, order) = (self.shared.store.clone(), self.order.clone());
        let (range, limit) = page_range(&read.history, self.delivery.delivered());
        let page = async move { store.page(order, range, limit).await };
        let answer = read.answer;
        ctx.spawn(page.into_actor(self).map(move |page, _, _| match page {
            Ok(page) => {
                let messages: Vec<_> = page.messages.iter().map(json).collect();
                let messages = messages.iter().map(AsRef::as_ref).collect();
                answer.ok(Reply::Page { messages, has_more: page.has_more });
            }
            Err(_) => answer.refuse(unavailable("the database does not answer")),
        }));
    }
}

impl Handler<ChatPosted> for OrderRoom {
    type Result = ();

    fn handle(&mut self, ChatPosted(message): ChatPosted, ctx: &mut Context<Self>) {
        // The order that is being read may be older than this message.
        self.chat_while_loading |= self.loading.is_some();
        if self.loading.is_none() {
            self.exists = true;
            self.deliver(&message, Instant::now());
            self.tick(Instant::now(), ctx);
        }
    }
}

/// The range of a page. It ends at the last message that was sent: later ones in the database are
/// still to come as live events.
fn page_range(history: &History, delivered: i64) -> (PageRange, i64) {
    match (history.before_seq, history.after_seq) {
        (_, Some(after)) => {
            (PageRange::Between { after: after.min(delivered), upto: delivered }, history.limit)
        }
        (Some(before), None) => (PageRange::Before(before.min(delivered + 1)), history.limit),
        (None, None) => (PageRange::Before(delivered + 1), history.limit),
    }
}

/// A message as JSON, written once for all recipients.
pub(super) fn json(message: &ChatMessage) -> MessageJson {
    let raw = serde_json::value::to_raw_value(message).unwrap_or_else(|error| {
        // Only a bug in one of our `Serialize` impls leads here.
        log::error!("cannot write a message: {error}");
        RawValue::NULL.to_owned()
    });
    MessageJson::from(raw)
}
