//! Chat to store, from rooms and by HTTP: admitted, and given to the batcher of its order.

use std::sync::Arc;
use std::time::Instant;

use actix::Recipient;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::db_thread::ANSWER_TIMEOUT;
use super::pending_chat::{ChatPosted, ChatReply, ChatWritten, PendingChat, ReplyGuard};
use super::queue_limit::QueuePermit;
use super::{ChatWriteError, NewMessage, Store, StoreError, StoredChat};
use crate::db::messages;
use protocol::chat::ChatMessage;
use protocol::ids::{OrderId, UserId};

impl Store {
    /// Admits a message for the next batch of its order. `to` gets the answer, with this `token`;
    /// the message is stored even if that actor is gone by then.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when [`super::MAX_WAITING_MESSAGES`] or [`super::MAX_WAITING_BYTES`]
    /// already wait, or the store has stopped.
    pub fn write_chat(
        &self,
        message: NewMessage,
        token: u64,
        to: Recipient<ChatWritten>,
    ) -> Result<(), StoreError> {
        let permit = self.admit_chat(&message).ok_or(StoreError::Busy)?;
        self.queue_chat(message, ChatReply::Room { token, to }, permit);
        Ok(())
    }

    /// Has a message committed with the next batch of its order. It is admitted at once, even if
    /// the future is not awaited: a caller that goes away cancels nothing. The order's room gets
    /// the message before the caller gets the answer.
    ///
    /// # Errors
    /// If the message is refused, too much waits, or the database is unavailable.
    pub fn post_chat(
        &self,
        message: NewMessage,
        tell: Recipient<ChatPosted>,
    ) -> impl Future<Output = Result<StoredChat, ChatWriteError>> + use<> {
        let (done, stored) = oneshot::channel();
        let admitted = self.admit_chat(&message).map(|permit| {
            self.queue_chat(message, ChatReply::Caller { tell, done }, permit);
        });
        let health = Arc::clone(&self.health);
        async move {
            admitted.ok_or(ChatWriteError::Unavailable)?;
            let Ok(stored) = timeout(ANSWER_TIMEOUT, stored).await else {
                // If the message is stored after all, the members of the room get it then.
                health.report_timeout();
                return Err(ChatWriteError::Unavailable);
            };
            stored.unwrap_or(Err(ChatWriteError::Unavailable))
        }
    }

    /// Reads the message with a sender's own key, and where a hook has changed it, the hash of what
    /// was sent.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn find_sent(
        &self,
        order: OrderId,
        sender: UserId,
        key: String,
    ) -> Result<Option<(ChatMessage, Option<String>)>, StoreError> {
        self.wait_and_read(move |connection| messages::find_sent(connection, &order, &sender, &key))
            .await
    }

    /// A permit for a message; none if too much waits or the store has stopped.
    fn admit_chat(&self, message: &NewMessage) -> Option<QueuePermit> {
        let connected = self.batcher_of(&message.order_id).connected();
        connected.then(|| self.chat.try_admit(message.size())).flatten()
    }

    fn queue_chat(&self, message: NewMessage, reply: ChatReply, permit: QueuePermit) {
        let reply_guard = ReplyGuard::new(reply, permit, Instant::now());
        self.batcher_of(&message.order_id).do_send(PendingChat { message, reply_guard });
    }

    /// Reports that a caller has waited [`ANSWER_TIMEOUT`] for a message to be stored, and gives
    /// up.
    pub fn report_timeout(&self) {
        self.health.report_timeout();
    }

    /// Chat messages that wait or are being committed.
    pub fn queued(&self) -> usize {
        self.chat.count()
    }
}
