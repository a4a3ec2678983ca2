//! A chat message that waits for its commit, and its answer.

use std::time::{Duration, Instant};

use actix::{Message, Recipient};
use tokio::sync::oneshot;

use super::error::ChatWriteError;
use super::queue_limit::QueuePermit;
use crate::db::commit_batch::StoredChat;
use crate::db::messages::NewMessage;
use protocol::chat::ChatMessage;

/// The answer to a message of a room. Sent exactly once for each admitted message, and for the
/// messages of one order in the order of their numbers.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ChatWritten {
    /// The token that the room gave the message.
    pub token: u64,
    /// Committed, or not.
    pub outcome: Result<StoredChat, ChatWriteError>,
    /// The message, where the room is to judge it anew.
    pub outdated: Option<Box<NewMessage>>,
}

/// A message from outside the room was committed. Also sent for a retry: a connection that was lost
/// during a commit may have hidden that the first one was stored.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ChatPosted(pub ChatMessage);

/// Where the answer to a message goes.
pub(super) enum ChatReply {
    /// To the room of its order.
    Room {
        /// Identifies the message in the room.
        token: u64,
        to: Recipient<ChatWritten>,
    },
    /// To a caller, after the room was informed.
    Caller {
        tell: Recipient<ChatPosted>,
        done: oneshot::Sender<Result<StoredChat, ChatWriteError>>,
    },
}

/// A message that waits for the next batch, with the guard of its reply.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct PendingChat {
    pub(super) message: NewMessage,
    pub(super) reply_guard: ReplyGuard,
}

/// Answers a message exactly once. If it is dropped without an answer, it answers `Unavailable`:
/// neither a panic nor a closed queue leaves a caller without one.
pub(super) struct ReplyGuard {
    /// Taken when the answer is sent.
    reply: Option<ChatReply>,
    admitted: Instant,
    /// Released after the answer, so a drained store has sent every answer.
    _permit: QueuePermit,
}

// === impl ChatReply ===

impl ChatReply {
    fn send(self, outcome: Result<StoredChat, ChatWriteError>) {
        match self {
            Self::Room { token, to } => to.do_send(ChatWritten { token, outcome, outdated: None }),
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

// === impl ReplyGuard ===

impl ReplyGuard {
    pub(super) fn new(reply: ChatReply, permit: QueuePermit, admitted: Instant) -> Self {
        Self { reply: Some(reply), admitted, _permit: permit }
    }

    /// How long ago the message was admitted.
    pub(super) fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.admitted)
    }

    pub(super) fn answer(mut self, outcome: Result<StoredChat, ChatWriteError>) {
        if let Some(reply) = self.reply.take() {
            reply.send(outcome);
        }
    }

    /// Gives a message back that was judged by an outdated state of its order.
    pub(super) fn give_back(mut self, message: NewMessage) {
        match self.reply.take() {
            Some(ChatReply::Room { token, to }) => to.do_send(ChatWritten {
                token,
                outcome: Err(ChatWriteError::Outdated),
                outdated: Some(Box::new(message)),
            }),
            Some(caller) => caller.send(Err(ChatWriteError::Outdated)),
            None => {}
        }
    }
}

impl Drop for ReplyGuard {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            reply.send(Err(ChatWriteError::Unavailable));
        }
    }
}
