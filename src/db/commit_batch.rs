//! The transaction that stores chat: it locks the orders of a batch, recognises retries, and
//! numbers the rest without gaps. A rollback frees the numbers again.

mod plan;
mod postgres;
mod sqlite;

use std::collections::{BTreeSet, HashMap};

use diesel::prelude::*;

use super::connection::DbConnection;
use super::error_class;
use super::messages::{MessageRow, NewMessage};
use super::webhooks::NewEvent;
use crate::webhooks::event::EventKind;
use crate::webhooks::outbox::Listeners;
use crate::webhooks::payload;
use plan::CommitPlan;
use protocol::chat::ChatMessage;
use protocol::time::Timestamp;

/// A committed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChat {
    /// As it is stored: for a retry the first one's row.
    pub message: ChatMessage,
    /// A retry: it was there before, or earlier in its batch.
    pub duplicate: bool,
}

/// Why a message of a committed batch is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatRefusal {
    /// The sender has used the same key for other content.
    Conflict,
    /// Its order was deleted.
    Gone,
    /// Its order has changed since the sender's right was judged.
    Outdated,
}

/// Stores a batch in one transaction; one outcome per message, in their order. New messages are told
/// to listeners of webhooks.
///
/// # Errors
/// If a query fails; nothing of the batch is stored then, unless the connection was lost during the
/// commit ([`error_class::commit_error`]).
pub fn commit(
    connection: &mut DbConnection,
    batch: &[NewMessage],
    listeners: Option<&Listeners>,
    now: Timestamp,
) -> QueryResult<Vec<Result<StoredChat, ChatRefusal>>> {
    let mut is_stored = false;
    let written = match connection {
        // A writer from the start: a transaction that begins as a reader can be refused when it
        // first writes.
        DbConnection::Sqlite(sqlite) => sqlite.immediate_transaction(|sqlite| {
            commit_locked(sqlite, batch, listeners, now).inspect(|_| is_stored = true)
        }),
        DbConnection::Postgres(postgres) => postgres.transaction(|postgres| {
            commit_locked(postgres, batch, listeners, now).inspect(|_| is_stored = true)
        }),
    };
    // An error after this point is the commit's.
    written.map_err(|error| if is_stored { error_class::commit_error(error) } else { error })
}

/// What the transaction needs from a database.
trait ChatTables {
    /// Locks the rows of these orders (sorted, without duplicates) in this order, creates missing
    /// ones, and returns their state. Deleted orders are absent.
    fn lock_orders(&mut self, ids: &[&str], now: Timestamp) -> QueryResult<LockedOrders>;
    /// The stored messages with these keys.
    fn find_keys(&mut self, keys: &[MessageKey<'_>]) -> QueryResult<Vec<MessageRow>>;
    /// Takes the keys from messages, each given by its order and number.
    fn free_keys(&mut self, messages: &[(String, i64)]) -> QueryResult<()>;
    /// Inserts numbered messages.
    fn insert(&mut self, rows: &[(i64, &NewMessage)]) -> QueryResult<()>;
    /// Inserts the hashes of what was sent, of messages that a hook has changed.
    fn insert_hashes(&mut self, rows: &[(i64, &NewMessage)]) -> QueryResult<()>;
    /// Sets `last_seq` of the orders, given in the order in which they were locked.
    fn set_last_seqs(&mut self, orders: &[(&str, i64)], now: Timestamp) -> QueryResult<()>;
    /// Notes that these orders (sorted) are to be looked at for unread messages.
    fn note_unread(&mut self, orders: &[&str], due: Timestamp) -> QueryResult<()>;
    /// Writes what endpoints are told.
    fn tell(
        &mut self,
        events: &[NewEvent<'_>],
        listeners: &Listeners,
        now: Timestamp,
    ) -> QueryResult<()>;
}

/// The orders that are locked, by their ids.
type LockedOrders = HashMap<String, LockedOrder>;

#[derive(Debug, Clone, Copy, Default)]
struct LockedOrder {
    /// The highest number given to a message.
    last_seq: i64,
    /// The revision of its rights.
    rev: i64,
    /// Up to this number messages are of the order before it was deleted and made again.
    purge_to: Option<i64>,
}

/// A sender's own key of a message: order, sender, `client_msg_id`.
type MessageKey<'a> = (&'a str, &'a str, &'a str);

fn key_of(message: &NewMessage) -> Option<MessageKey<'_>> {
    let key = message.client_msg_id.as_deref()?;
    Some((message.order_id.as_str(), message.sender_id.as_str(), key))
}

fn commit_locked(
    tables: &mut impl ChatTables,
    batch: &[NewMessage],
    listeners: Option<&Listeners>,
    now: Timestamp,
) -> QueryResult<Vec<Result<StoredChat, ChatRefusal>>> {
    let mut ids: Vec<&str> = batch.iter().map(|message| message.order_id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let locked = tables.lock_orders(&ids, now)?;
    if batch.iter().all(|message| refusal(message, &locked).is_none()) {
        return number_and_insert(tables, batch, (&ids, &locked), listeners, now);
    }
    let accepted: Vec<NewMessage> =
        batch.iter().filter(|message| refusal(message, &locked).is_none()).cloned().collect();
    ids.retain(|id| locked.contains_key(*id));
    let written = number_and_insert(tables, &accepted, (&ids, &locked), listeners, now)?;
    let mut written = written.into_iter();
    let outcome = |message| match refusal(message, &locked) {
        Some(refusal) => Err(refusal),
        None => written.next().unwrap_or(Err(ChatRefusal::Gone)),
    };
    Ok(batch.iter().map(outcome).collect())
}

/// Why a message is not stored, by the state of its order. One that is stored in a deleted order
/// would outlive the order.
fn refusal(message: &NewMessage, locked: &LockedOrders) -> Option<ChatRefusal> {
    let Some(order) = locked.get(message.order_id.as_str()) else { return Some(ChatRefusal::Gone) };
    let is_outdated = message.judged_by.is_some_and(|rev| rev < order.rev);
    is_outdated.then_some(ChatRefusal::Outdated)
}

/// Stores messages of orders that are locked.
fn number_and_insert(
    tables: &mut impl ChatTables,
    batch: &[NewMessage],
    (ids, locked): (&[&str], &LockedOrders),
    listeners: Option<&Listeners>,
    now: Timestamp,
) -> QueryResult<Vec<Result<StoredChat, ChatRefusal>>> {
    let mut keys: Vec<MessageKey<'_>> = batch.iter().filter_map(key_of).collect();
    keys.sort_unstable();
    keys.dedup();
    let known = if keys.is_empty() { Vec::new() } else { tables.find_keys(&keys)? };
    let known = known.into_iter().map(ChatMessage::try_from).collect::<QueryResult<Vec<_>>>()?;
    // These wait for removal, but their keys are free again.
    let purged = |message: &ChatMessage| {
        let order = locked.get(message.order_id.as_str());
        order.is_some_and(|order| Some(message.seq) <= order.purge_to)
    };
    let (purged, known): (Vec<_>, Vec<_>) = known.into_iter().partition(purged);
    if !purged.is_empty() {
        let places = purged.into_iter().map(|message| (message.order_id.to_string(), message.seq));
        tables.free_keys(&places.collect::<Vec<_>>())?;
    }

    let plan = CommitPlan::new(batch, locked, known);
    let fresh = plan.fresh(batch);
    if !fresh.is_empty() {
        tables.insert(&fresh)?;
        tables.insert_hashes(&fresh)?;
        tables.set_last_seqs(&plan.new_last_seqs(ids), now)?;
        if let Some(listeners) = listeners
            && listeners.any().contains(EventKind::ChatMessage)
        {
            let events: Vec<_> = fresh.iter().map(|(seq, message)| told(*seq, message)).collect();
            tables.tell(&events, listeners, now)?;
        }
        if let Some(due) = listeners.and_then(|listeners| listeners.unread_due(now)) {
            let orders: BTreeSet<&str> =
                fresh.iter().map(|(_, message)| message.order_id.as_str()).collect();
            tables.note_unread(&orders.into_iter().collect::<Vec<_>>(), due)?;
        }
    }
    Ok(plan.into_outcomes(batch))
}

/// What endpoints are told of a new message.
fn told(seq: i64, message: &NewMessage) -> NewEvent<'_> {
    NewEvent {
        kind: EventKind::ChatMessage,
        order: message.order_id.as_str(),
        id: message.id.clone(),
        data: payload::chat_message(&message.numbered(seq)),
        at: message.created_at,
    }
}
