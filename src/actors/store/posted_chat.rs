//! Chat that comes by HTTP: committed with the chat of sockets, then told to the order's room, and
//! only then answered.

use std::sync::Arc;

use actix::{Message, Recipient};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{ANSWER_TIMEOUT, ChatWriteError, ChatWritten, NewMessage, Store, StoredChat};
use crate::protocol::chat::ChatMessage;

/// A message was committed that came from outside of its room. Sent for a retry too: a connection
/// that was lost during a commit may have hidden that the first one was stored.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ChatPosted(pub ChatMessage);

/// How it reaches whoever handed a message in.
pub(super) enum ChatReply {
    /// The room of its order.
    Room {
        /// Which of the room's writes.
        token: u64,
        to: Recipient<ChatWritten>,
    },
    /// A caller, who hears it after whoever passes it on to the room.
    Caller {
        tell: Recipient<ChatPosted>,
        done: oneshot::Sender<Result<StoredChat, ChatWriteError>>,
    },
}

// === impl Store ===

impl Store {
    /// Has a message committed, with the next batch of its order's writer. It is admitted at once,
    /// awaited or not: a caller that goes away cancels nothing.
    ///
    /// # Errors
    /// Where it is refused, too much waits, or the database is unavailable.
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
                // Where it is stored after all, those in the room hear of it then.
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
                // Whoever no longer wants to know has dropped the other half.
                drop(done.send(outcome));
            }
        }
    }
}
