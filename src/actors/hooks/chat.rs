//! The question whether a message is stored, and how a retry is known before it is asked.

use super::{Asker, NoAnswer};
use crate::actors::store::{NewMessage, Store, StoreError};
use crate::metrics::HookResult;
use crate::webhooks::questions::{ChatAnswer, ChatQuestion};
use protocol::chat::ChatMessage;

/// What becomes of a message.
#[derive(Debug)]
pub enum Decision {
    /// It is stored, as it is here.
    Store(Box<NewMessage>),
    /// It was stored before.
    Duplicate(Box<ChatMessage>),
    /// The sender has used its key for other content.
    Conflict,
    /// The back end rejects it, and says why.
    Rejected(Option<String>),
    /// It is not known what becomes of it.
    Unavailable,
}

/// Asks the back end about messages.
pub struct ChatHook {
    asker: Asker,
    /// The secrets, newest first.
    keys: Vec<Vec<u8>>,
    /// Whether a message is stored about which the back end does not answer.
    fails_open: bool,
}

// === impl ChatHook ===

impl ChatHook {
    pub(super) fn new(asker: Asker, keys: Vec<Vec<u8>>, fails_open: bool) -> Self {
        Self { asker, keys, fails_open }
    }

    /// Decides on a message: looks whether it is a retry, and asks if it is not.
    pub async fn decide(&self, store: &Store, message: NewMessage) -> Decision {
        match self.find_retry(store, &message).await {
            Ok(None) => {}
            Ok(Some(decision)) => return decision,
            Err(_) => return Decision::Unavailable,
        }
        let question = question_of(&message);
        let answer =
            self.asker.ask(&message.sender_id, question.body(), |body| question.answer(body)).await;
        match answer {
            Ok(ChatAnswer::AsWritten) => {
                self.asker.count(HookResult::Yes);
                Decision::Store(Box::new(message))
            }
            Ok(ChatAnswer::With(content)) => {
                self.asker.count(HookResult::Changed);
                let sent_hash = self.keys.first().map(|key| question.hash(key));
                Decision::Store(Box::new(NewMessage { content, sent_hash, ..message }))
            }
            Ok(ChatAnswer::Rejected(reason)) => {
                self.asker.count(HookResult::No);
                Decision::Rejected(reason)
            }
            Err(NoAnswer::Failed) if self.fails_open => Decision::Store(Box::new(message)),
            Err(_) => Decision::Unavailable,
        }
    }

    async fn find_retry(
        &self,
        store: &Store,
        message: &NewMessage,
    ) -> Result<Option<Decision>, StoreError> {
        let Some(key) = message.client_msg_id.clone() else { return Ok(None) };
        let (order, sender) = (message.order_id.clone(), message.sender_id.clone());
        let Some((stored, sent_hash)) = store.find_sent(order, sender, key).await? else {
            return Ok(None);
        };
        let question = question_of(message);
        let is_same = match &sent_hash {
            Some(hash) => self.keys.iter().any(|key| question.hash(key) == *hash),
            None => stored.content == message.content,
        };
        let is_retry = is_same && stored.kind == message.kind;
        let retry = || Decision::Duplicate(Box::new(stored));
        Ok(Some(if is_retry { retry() } else { Decision::Conflict }))
    }
}

fn question_of(message: &NewMessage) -> ChatQuestion<'_> {
    ChatQuestion {
        order_id: &message.order_id,
        sender_id: &message.sender_id,
        role: message.sender_role,
        content: &message.content,
        kind: message.kind,
    }
}
