//! Which messages of a batch are new, and which numbers they get. It does no I/O: the rows were
//! read before.

use std::collections::HashMap;

use super::{ChatRefusal, LockedOrders, MessageKey, StoredChat, key_of};
use crate::db::messages::NewMessage;
use protocol::chat::ChatMessage;

/// The planned outcome of each message of a batch, in the order of the batch.
pub(super) struct CommitPlan<'a> {
    planned: Vec<PlannedOutcome>,
    /// The highest number of each order once the new messages are in; only orders that get some.
    last_seqs: HashMap<&'a str, i64>,
}

enum PlannedOutcome {
    /// New, with this number.
    Fresh(i64),
    /// A retry of a stored message.
    RetryOfStored(ChatMessage),
    /// A retry of the message at this index of the batch, which has this number.
    RetryInBatch(usize, i64),
    /// Another message has the key.
    Conflict,
}

/// Where the first message with a key is.
enum KeyOwner {
    Stored(ChatMessage),
    InBatch(usize, i64),
}

// === impl CommitPlan ===

impl<'a> CommitPlan<'a> {
    /// Plans `batch` on top of what is stored: the orders as they are locked, and the messages that
    /// have a key of the batch.
    pub(super) fn new(
        batch: &'a [NewMessage],
        locked: &LockedOrders,
        known: Vec<ChatMessage>,
    ) -> Self {
        let mut firsts: HashMap<MessageKey<'_>, KeyOwner> = HashMap::with_capacity(batch.len());
        let mut stored: HashMap<(String, String, String), ChatMessage> = known
            .into_iter()
            .filter_map(|message| {
                let key = message.client_msg_id.clone()?;
                let order = message.order_id.to_string();
                Some(((order, message.sender_id.to_string(), key), message))
            })
            .collect();
        let mut plan = Self { planned: Vec::with_capacity(batch.len()), last_seqs: HashMap::new() };
        for (place, message) in batch.iter().enumerate() {
            let key = key_of(message);
            if let Some(key) = key.filter(|_| !stored.is_empty()) {
                let owned = (key.0.to_owned(), key.1.to_owned(), key.2.to_owned());
                if let Some(found) = stored.remove(&owned) {
                    firsts.insert(key, KeyOwner::Stored(found));
                }
            }
            let planned_outcome = if let Some(first) = key.and_then(|key| firsts.get(&key)) {
                first.outcome_of_retry(message, batch)
            } else {
                let seq = plan.next_seq(message.order_id.as_str(), locked);
                if let Some(key) = key {
                    firsts.insert(key, KeyOwner::InBatch(place, seq));
                }
                PlannedOutcome::Fresh(seq)
            };
            plan.planned.push(planned_outcome);
        }
        plan
    }

    fn next_seq(&mut self, order: &'a str, locked: &LockedOrders) -> i64 {
        let seq = self
            .last_seqs
            .entry(order)
            .or_insert_with(|| locked.get(order).map_or(0, |order| order.last_seq));
        *seq += 1;
        *seq
    }

    /// The messages to insert, with their numbers.
    pub(super) fn fresh(&self, batch: &'a [NewMessage]) -> Vec<(i64, &'a NewMessage)> {
        let numbered = |(planned_outcome, message)| match planned_outcome {
            &PlannedOutcome::Fresh(seq) => Some((seq, message)),
            _ => None,
        };
        self.planned.iter().zip(batch).filter_map(numbered).collect()
    }

    /// The new `last_seq` of those of `ids` that get messages, in the order of `ids`.
    pub(super) fn new_last_seqs(&self, ids: &[&'a str]) -> Vec<(&'a str, i64)> {
        ids.iter().filter_map(|id| Some((*id, *self.last_seqs.get(id)?))).collect()
    }

    /// The outcomes, once everything is written.
    pub(super) fn into_outcomes(
        self,
        batch: &[NewMessage],
    ) -> Vec<Result<StoredChat, ChatRefusal>> {
        let outcome =
            |(planned_outcome, message): (PlannedOutcome, &NewMessage)| match planned_outcome {
                PlannedOutcome::Fresh(seq) => {
                    Ok(StoredChat { message: message.numbered(seq), duplicate: false })
                }
                PlannedOutcome::RetryOfStored(message) => {
                    Ok(StoredChat { message, duplicate: true })
                }
                PlannedOutcome::RetryInBatch(place, seq) => {
                    Ok(StoredChat { message: batch[place].numbered(seq), duplicate: true })
                }
                PlannedOutcome::Conflict => Err(ChatRefusal::Conflict),
            };
        self.planned.into_iter().zip(batch).map(outcome).collect()
    }
}

// === impl KeyOwner ===

impl KeyOwner {
    /// The outcome of a later message with the same key.
    fn outcome_of_retry(&self, later: &NewMessage, batch: &[NewMessage]) -> PlannedOutcome {
        match self {
            Self::Stored(first) if first.content == later.content && first.kind == later.kind => {
                PlannedOutcome::RetryOfStored(first.clone())
            }
            &Self::InBatch(place, seq)
                if batch[place].content == later.content && batch[place].kind == later.kind =>
            {
                PlannedOutcome::RetryInBatch(place, seq)
            }
            _ => PlannedOutcome::Conflict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::LockedOrder;
    use super::*;
    use protocol::chat::ChatKind;
    use protocol::ids::{OrderId, UserId};
    use protocol::role::Role;
    use protocol::time::Timestamp;

    fn message(order: &str, key: Option<&str>, content: &str) -> NewMessage {
        NewMessage {
            id: format!("{order}-{key:?}-{content}"),
            order_id: OrderId::new(order).expect("an id"),
            sender_id: UserId::new("u").expect("an id"),
            sender_name: "U".into(),
            sender_role: Role::Customer,
            kind: ChatKind::Text,
            content: content.into(),
            client_msg_id: key.map(str::to_owned),
            created_at: Timestamp::from_millis(0),
            sent_hash: None,
            judged_by: None,
        }
    }

    /// The order `a`, with this `last_seq`.
    fn locked(last_seq: i64) -> LockedOrders {
        HashMap::from([("a".to_owned(), LockedOrder { last_seq, ..LockedOrder::default() })])
    }

    fn short(outcomes: &[Result<StoredChat, ChatRefusal>]) -> Vec<Option<(i64, bool)>> {
        let stored = outcomes.iter().map(|outcome| outcome.as_ref().ok());
        stored.map(|stored| stored.map(|chat| (chat.message.seq, chat.duplicate))).collect()
    }

    #[test]
    fn only_new_messages_are_numbered_and_each_order_for_itself() {
        let batch = [
            message("a", Some("1"), "x"),
            message("b", None, "x"),
            message("a", Some("1"), "x"),
            message("a", Some("1"), "y"),
            message("a", None, "x"),
        ];
        let plan = CommitPlan::new(&batch, &locked(7), Vec::new());
        assert_eq!(plan.new_last_seqs(&["a", "b"]), [("a", 9), ("b", 1)]);
        assert_eq!(plan.fresh(&batch).len(), 3);
        let outcomes = plan.into_outcomes(&batch);
        let expected =
            [Some((8, false)), Some((1, false)), Some((8, true)), None, Some((9, false))];
        assert_eq!(short(&outcomes), expected);
    }

    #[test]
    fn a_retry_of_a_stored_message_gets_its_row_as_often_as_it_comes() {
        let first = message("a", Some("1"), "x").numbered(3);
        let batch = [
            message("a", Some("1"), "x"),
            message("a", Some("1"), "z"),
            message("a", Some("1"), "x"),
        ];
        let plan = CommitPlan::new(&batch, &locked(3), vec![first]);
        assert!(plan.fresh(&batch).is_empty());
        assert_eq!(short(&plan.into_outcomes(&batch)), [Some((3, true)), None, Some((3, true))]);
    }
}
