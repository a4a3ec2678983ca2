//! Chat: stored first, then acknowledged and sent out, one message after the other.

use std::sync::Arc;
use std::time::Instant;

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use serde_json::value::RawValue;

use super::{ClientRequest, OrderRoom, PendingWrite};
use crate::actors::peer::Answer;
use crate::actors::shared::{chat_failure, unavailable};
use crate::actors::store::{
    ANSWER_TIMEOUT, ChatPosted, ChatWritten, NewMessage, Page, PageRange, StoreError,
};
use crate::room::policy::Action;
use crate::room::recent_messages::MessageJson;
use protocol::chat::ChatMessage;
use protocol::client::Reply;
use protocol::events::chat::{Chat, ChatPush, Stored};
use protocol::events::history::MAX_PAGE;
use protocol::ids::SessionId;
use protocol::server::ServerEvent;
use protocol::time::Timestamp;

/// Which node has taken a message or a position. That node writes what follows from it: the sender's
/// read mark, the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    ThisNode,
    AnotherNode,
}

impl OrderRoom {
    /// Handles a message: where there is a hook, the back end is asked first.
    fn post(&mut self, post: ClientRequest<Chat>, ctx: &mut Context<Self>) {
        let ClientRequest { session, data: chat, answer, .. } = post;
        #[cfg(debug_assertions)]
        assert!(self.shared.panic_on.as_ref() != Some(&chat.content), "asked to by a test");
        if self.shared.is_draining() {
            return answer.refuse(unavailable("the hub restarts"));
        }
        let identity = match self.authorize(session, Action::Chat) {
            Ok(identity) => Arc::clone(identity),
            Err(failure) => return answer.refuse(failure),
        };
        let message = NewMessage {
            id: uuid::Uuid::now_v7().to_string(),
            order_id: self.order.clone(),
            sender_id: identity.user.clone(),
            sender_name: identity.name.clone(),
            sender_role: identity.role,
            kind: chat.kind,
            content: chat.content,
            client_msg_id: chat.client_msg_id,
            created_at: Timestamp::now(),
            sent_hash: None,
            judged_by: self.relay.is_some().then_some(self.rev),
        };
        match self.shared.hooks.chat.clone() {
            Some(hook) => self.ask_about(&hook, session, (message, answer), ctx),
            None => drop(self.write(message, session, answer)),
        }
    }

    /// Hands a message to the store. Returns its token, unless it is refused.
    pub(super) fn write(
        &mut self,
        message: NewMessage,
        session: SessionId,
        answer: Answer,
    ) -> Option<u64> {
        let token = self.take_token();
        if self.has_older_writes() {
            let write = PendingWrite { since: Instant::now(), session, answer, judged_by: None };
            self.writes.insert(token, write);
            self.queue_behind(token, message);
            return Some(token);
        }
        let judged_by = message.judged_by;
        match self.shared.store.write_chat(message, token, self.writes_reply.clone()) {
            Ok(()) => {
                let write = PendingWrite { since: Instant::now(), session, answer, judged_by };
                self.writes.insert(token, write);
                Some(token)
            }
            Err(_) => {
                answer.refuse(unavailable("too many messages wait to be stored"));
                None
            }
        }
    }

    /// Judges a message by the state of the order now, and hands it to the store once more.
    pub(super) fn post_again(&mut self, token: u64, message: NewMessage) {
        // If the room has given up, the client knows that the message may not be stored.
        let rev = self.rev;
        let Some(write) = self.writes.get_mut(&token) else { return };
        write.judged_by = Some(rev);
        let session = write.session;
        let failure = match self.authorize(session, Action::Chat) {
            Ok(_) => {
                let message = NewMessage { judged_by: Some(self.rev), ..message };
                let written =
                    self.shared.store.write_chat(message, token, self.writes_reply.clone());
                let Err(_) = written else { return };
                unavailable("too many messages wait to be stored")
            }
            Err(failure) => failure,
        };
        if let Some(write) = self.writes.remove(&token) {
            write.answer.refuse(failure);
        }
    }

    /// Handles the store's answer: acknowledges the message, and sends out what is next.
    fn on_chat_written(&mut self, written: ChatWritten, now: Instant, ctx: &mut Context<Self>) {
        if let Some(message) = written.outdated {
            self.judge_again(written.token, message, ctx);
            return self.post_behind();
        }
        let answer = self.writes.remove(&written.token).map(|write| write.answer);
        match written.outcome {
            Ok(stored) => {
                self.exists = true;
                let message = &stored.message;
                if let Some(answer) = answer {
                    answer.ok(Reply::Chat(Stored {
                        id: &message.id,
                        seq: message.seq,
                        created_at: message.created_at,
                        duplicate: stored.duplicate,
                    }));
                }
                self.deliver(message, json(message), Origin::ThisNode, now);
            }
            Err(error) => {
                if let Some(answer) = answer {
                    answer.refuse(chat_failure(error));
                }
            }
        }
        self.post_behind();
    }

    /// When the room gives up waiting for the store's oldest outstanding answer.
    pub(super) fn writes_due(&self) -> Option<Instant> {
        self.writes.first_key_value().map(|(_, write)| write.since + ANSWER_TIMEOUT)
    }

    /// Refuses messages for which the store's answer is overdue, as when the database hangs. If
    /// such a message is stored after all, it is sent out then, and a retry finds it.
    pub(super) fn give_up_writes(&mut self, now: Instant) {
        while self.writes_due().is_some_and(|due| due <= now)
            && let Some((_, write)) = self.writes.pop_first()
        {
            write.answer.refuse(unavailable("the database does not answer"));
            self.shared.store.report_timeout();
        }
        self.post_behind();
    }

    /// Sends a stored message out as soon as all messages before it are sent.
    pub(super) fn deliver(
        &mut self,
        message: &ChatMessage,
        json: MessageJson,
        by: Origin,
        now: Instant,
    ) {
        if message.seq > self.delivery.delivered() {
            self.on_message_from_sender(message, by, now);
        }
        for (seq, json) in self.delivery.accept(message.seq, json, now) {
            self.fan_out(seq, json);
        }
        self.release_receipts();
    }

    fn fan_out(&mut self, seq: i64, json: MessageJson) {
        let order = self.order.clone();
        let event = ServerEvent::Chat(ChatPush { order_id: &order, seq, json: &json });
        let gone = self.send_to_all(event).gone;
        self.handle.stats.chat(Timestamp::now());
        self.recent_messages.push(seq, json);
        self.handle.stats.set_progress(seq, self.rev);
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

    /// Reads a page of the order's chat from the database.
    pub(super) fn read_page(
        &self,
        range: PageRange,
        limit: i64,
    ) -> impl Future<Output = Result<Page, StoreError>> + use<> {
        let (store, order) = (self.shared.store.clone(), self.order.clone());
        async move { store.page(order, range, limit).await }
    }

    /// Reads messages from the database and delivers them.
    pub(super) fn read_missing(&mut self, range: PageRange, ctx: &mut Context<Self>) {
        let read = self.read_page(range, MAX_PAGE);
        ctx.spawn(read.into_actor(self).map(|page, room, ctx| {
            match page {
                Ok(page) => room.on_missing_read(&page, Instant::now()),
                // The gap stays, so the next tick tries again.
                Err(error) => {
                    log::warn!(order = room.order.as_str(); "cannot read missing messages: {error}");
                }
            }
            room.tick(Instant::now(), ctx);
        }));
    }

    fn on_missing_read(&mut self, page: &Page, now: Instant) {
        // The node that wrote a message that another node may have written moves its sender's mark.
        let by = if self.relay.is_some() { Origin::AnotherNode } else { Origin::ThisNode };
        for message in &page.messages {
            self.deliver(message, json(message), by, now);
        }
        if page.messages.is_empty() && self.relay.is_some() {
            self.delivery.forget_gap();
        }
    }
}

impl Handler<ClientRequest<Chat>> for OrderRoom {
    type Result = ();

    fn handle(&mut self, post: ClientRequest<Chat>, ctx: &mut Context<Self>) {
        self.post(post, ctx);
        if let Some(due) = self.writes_due() {
            self.wake_at(due, ctx);
        }
    }
}

impl Handler<ChatWritten> for OrderRoom {
    type Result = ();

    fn handle(&mut self, written: ChatWritten, ctx: &mut Context<Self>) {
        self.on_chat_written(written, Instant::now(), ctx);
        self.tick(Instant::now(), ctx);
    }
}

impl Handler<ChatPosted> for OrderRoom {
    type Result = ();

    fn handle(&mut self, ChatPosted(message): ChatPosted, ctx: &mut Context<Self>) {
        if let Some(loading) = &mut self.loading {
            loading.has_new_chat = true;
            return;
        }
        self.exists = true;
        self.deliver(&message, json(&message), Origin::ThisNode, Instant::now());
        self.tick(Instant::now(), ctx);
    }
}

/// A message as JSON, written once for all recipients.
pub(super) fn json(message: &ChatMessage) -> MessageJson {
    let raw = serde_json::value::to_raw_value(message).unwrap_or_else(|error| {
        // Only a bug in one of our `Serialize` impls leads here.
        log::error!("cannot encode a message: {error}");
        RawValue::NULL.to_owned()
    });
    MessageJson::from(raw)
}
