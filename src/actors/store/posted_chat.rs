//! Chat that comes by HTTP: committed with the chat of sockets, then sent to the order's room, and
//! answered last.

use std::sync::Arc;

use actix::{Message, Recipient};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{ANSWER_TIMEOUT, ChatWriteError, ChatWritten, NewMessage, Store, StoredChat};
use protocol::chat::ChatMessage;

/// A message from outside the room was committed. Also sent for a retry: a connection that was lost
/// during a commit may have hidden that the first one was stored.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ChatPosted(pub ChatMessage);

/// Where the answer to a message goes.
pub(super) enum ChatReply {
    /// To the room of its order.
    Room {
        /// Identifies the write in the room.
        token: u64,
        to: Recipient<ChatWritten>,
    },
    /// To a caller, after the room was informed.
    Caller {
        tell: Recipient<ChatPosted>,
        done: oneshot::Sender<Result<StoredChat, ChatWriteError>>,
    },
}

// === impl Store ===

impl Store {
    /// Has a message committed with the next batch of its order's writer. It is admitted at once,
    /// even if the future is not awaited: a caller that goes away cancels nothing.
    ///
    /// # Errors
    /// If the message is refused, too much waits, or the database is unavailable.
    pub fn post_chat(
        &self,
        message: NewMessage,
        tell: Recipient<ChatPosted>,
    ) -> impl Future<Output = Result<StoredChat, ChatWriteError>> + use<> {
        let (done, stored) = oneshot::channel();
        let permit = self.admit(&message);
        let admitted = permit.map(|permit| {
            self.queue(message, ChatReply::Caller { tell, done }, permit);
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
}

// === impl ChatReply ===

impl ChatReply {
    pub(super) fn send(self, outcome: Result<StoredChat, ChatWriteError>) {
        match self {
            Self::Room { token, to } => to.do_send(ChatWritten { token, outcome }),
            Self::Caller { tell, done } => {
                if let Ok(stored) = &outcome {
                    tell.do_send(ChatPosted(stored.message.clone()));
                }
                // A caller that no longer waits has dropped the receiver.
                drop(done.send(outcome));
            }
        }
    }
}
