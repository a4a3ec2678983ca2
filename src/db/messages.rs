//! Stored chat: messages before they are numbered, and pages of numbered ones.

use std::io;

use diesel::prelude::*;
use diesel::result::Error;

use super::connection::DbConnection;
use super::schema::{chat_sent, messages, orders};
use protocol::chat::{ChatKind, ChatMessage, MAX_PAGE_BYTES};
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;

#[diesel::declare_sql_function]
extern "SQL" {
    /// The first that is not null.
    fn coalesce(
        first: diesel::sql_types::Nullable<diesel::sql_types::BigInt>,
        second: diesel::sql_types::BigInt,
    ) -> diesel::sql_types::BigInt;
}

/// A message without a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// `UUIDv7`, unique over all orders.
    pub id: String,
    /// Its order.
    pub order_id: OrderId,
    /// The author.
    pub sender_id: UserId,
    /// The sender's name now.
    pub sender_name: String,
    /// The sender's role now.
    pub sender_role: Role,
    /// The kind of content.
    pub kind: ChatKind,
    /// What was written.
    pub content: String,
    /// The sender's own key: a second message with the same key is a retry of the first.
    pub client_msg_id: Option<String>,
    /// When the hub admitted it.
    pub created_at: Timestamp,
    /// If a hook has changed the content, a keyed hash of what was sent.
    pub sent_hash: Option<String>,
    /// The revision of the order by which a room has judged the sender's right. If the order has a
    /// higher one, the message is not stored. `None` where no other node changes orders.
    pub judged_by: Option<i64>,
}

// === impl NewMessage ===

impl NewMessage {
    /// The message as it is stored with number `seq`.
    pub fn numbered(&self, seq: i64) -> ChatMessage {
        ChatMessage {
            id: self.id.clone(),
            order_id: self.order_id.clone(),
            seq,
            sender_id: self.sender_id.clone(),
            sender_name: self.sender_name.clone(),
            sender_role: self.sender_role,
            content: self.content.clone(),
            kind: self.kind,
            created_at: self.created_at,
            client_msg_id: self.client_msg_id.clone(),
        }
    }

    /// Bytes of text in the message.
    pub fn size(&self) -> usize {
        let key = self.client_msg_id.as_ref().map_or(0, String::len);
        self.id.len()
            + self.order_id.as_str().len()
            + self.sender_id.as_str().len()
            + self.sender_name.len()
            + self.content.len()
            + key
    }
}

/// Which messages of an order a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageRange {
    /// The newest messages.
    Newest,
    /// The newest messages with a lower number.
    Before(i64),
    /// The oldest messages with a higher number.
    After(i64),
    /// The oldest messages of a range.
    Between {
        /// Only higher numbers than this.
        after: i64,
        /// This number and lower ones.
        upto: i64,
    },
}

/// Messages of one order, ascending by number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The messages.
    pub messages: Vec<ChatMessage>,
    /// Whether the range holds more: older ones after [`PageRange::Newest`] and
    /// [`PageRange::Before`], newer ones after the others.
    pub has_more: bool,
}

#[derive(Debug, Queryable)]
pub(super) struct MessageRow {
    order_id: String,
    seq: i64,
    id: String,
    sender_id: String,
    sender_name: String,
    sender_role: String,
    kind: String,
    content: String,
    client_msg_id: Option<String>,
    created_at_ms: i64,
}

/// Reads a page of at most `limit` messages. It ends earlier at [`MAX_PAGE_BYTES`], but has at
/// least one message if there is one.
///
/// # Errors
/// If the query fails.
pub fn page(
    connection: &mut DbConnection,
    order: &OrderId,
    range: PageRange,
    limit: i64,
) -> QueryResult<Page> {
    let limit = limit.max(0);
    let (descending, rows) = match range {
        PageRange::Newest => (true, before(connection, order, i64::MAX, limit)?),
        PageRange::Before(seq) => (true, before(connection, order, seq, limit)?),
        PageRange::After(seq) => (false, between(connection, order, seq, i64::MAX, limit)?),
        PageRange::Between { after, upto } => {
            (false, between(connection, order, after, upto, limit)?)
        }
    };
    let mut page = cut(rows, usize::try_from(limit).unwrap_or(usize::MAX))?;
    if descending {
        page.messages.reverse();
    }
    Ok(page)
}

/// The message with a sender's own key, and where a hook has changed it, the hash of what was sent.
///
/// # Errors
/// If a query fails.
pub fn find_sent(
    connection: &mut DbConnection,
    order: &OrderId,
    sender: &UserId,
    key: &str,
) -> QueryResult<Option<(ChatMessage, Option<String>)>> {
    let row: Option<MessageRow> = messages::table
        .filter(messages::order_id.eq(order.as_str()))
        .filter(messages::sender_id.eq(sender.as_str()))
        .filter(messages::client_msg_id.eq(key))
        .filter(messages::seq.gt(purged_to(order)))
        .first(connection)
        .optional()?;
    let Some(row) = row else { return Ok(None) };
    let hash = chat_sent::table
        .find((order.as_str(), row.seq))
        .select(chat_sent::hash)
        .first(connection)
        .optional()?;
    Ok(Some((row.try_into()?, hash)))
}

/// The hashes of what was sent, of messages that a hook has changed.
pub(super) fn hashes<'a>(
    rows: &'a [(i64, &NewMessage)],
) -> impl Iterator<Item = (&'a str, i64, &'a str)> {
    rows.iter().filter_map(|(seq, message)| {
        let hash = message.sent_hash.as_deref()?;
        Some((message.order_id.as_str(), *seq, hash))
    })
}

/// Writes the hashes of what was sent, of new messages that a hook has changed.
macro_rules! insert_hashes {
    ($connection:expr, $rows:expr) => {
        for (order, seq, hash) in $crate::db::messages::hashes($rows) {
            diesel::insert_into($crate::db::schema::chat_sent::table)
                .values((
                    $crate::db::schema::chat_sent::order_id.eq(order),
                    $crate::db::schema::chat_sent::seq.eq(seq),
                    $crate::db::schema::chat_sent::hash.eq(hash),
                ))
                .execute($connection)?;
        }
    };
}
pub(super) use insert_hashes;

/// The lowest number of a readable message, if there is one.
///
/// # Errors
/// If the query fails.
pub(super) fn first_seq(
    connection: &mut DbConnection,
    order: &OrderId,
) -> QueryResult<Option<i64>> {
    messages::table
        .filter(messages::order_id.eq(order.as_str()))
        .filter(messages::seq.gt(purged_to(order)))
        .select(diesel::dsl::min(messages::seq))
        .get_result(connection)
}

/// The number up to which messages may not be read: they belong to an order that was deleted, and
/// perhaps made again before all of them were removed. Every query contains this, so that none
/// reads across a deletion.
#[diesel::dsl::auto_type(no_type_alias)]
fn purged_to<'a>(order: &'a OrderId) -> _ {
    let id: &'a str = order.as_str();
    let purge_to = orders::table.find(id).select(orders::purge_to).single_value();
    coalesce(purge_to, 0_i64)
}

/// The newest messages below `seq`, descending. Reads one more than `limit`, to know whether there
/// are more.
fn before(
    connection: &mut DbConnection,
    order: &OrderId,
    seq: i64,
    limit: i64,
) -> QueryResult<Vec<MessageRow>> {
    messages::table
        .filter(messages::order_id.eq(order.as_str()))
        .filter(messages::seq.lt(seq))
        .filter(messages::seq.gt(purged_to(order)))
        .order(messages::seq.desc())
        .limit(limit.saturating_add(1))
        .load(connection)
}

/// The oldest messages above `after` up to `upto`, ascending; one more than `limit`.
fn between(
    connection: &mut DbConnection,
    order: &OrderId,
    after: i64,
    upto: i64,
    limit: i64,
) -> QueryResult<Vec<MessageRow>> {
    messages::table
        .filter(messages::order_id.eq(order.as_str()))
        .filter(messages::seq.gt(after))
        .filter(messages::seq.gt(purged_to(order)))
        .filter(messages::seq.le(upto))
        .order(messages::seq.asc())
        .limit(limit.saturating_add(1))
        .load(connection)
}

fn cut(rows: Vec<MessageRow>, limit: usize) -> QueryResult<Page> {
    let mut page = Page::default();
    let mut bytes = 0;
    for row in rows {
        let message = ChatMessage::try_from(row)?;
        bytes += encoded_size(&message);
        let full = bytes > MAX_PAGE_BYTES && !page.messages.is_empty();
        if full || page.messages.len() >= limit {
            page.has_more = true;
            break;
        }
        page.messages.push(message);
    }
    Ok(page)
}

fn encoded_size(message: &ChatMessage) -> usize {
    struct Counter(usize);
    impl io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    match serde_json::to_writer(&mut counter, message) {
        Ok(()) => counter.0,
        // Strings and numbers always encode; otherwise a page of one message is safe.
        Err(_) => MAX_PAGE_BYTES,
    }
}

// === impl MessageRow ===

impl TryFrom<MessageRow> for ChatMessage {
    type Error = Error;

    fn try_from(row: MessageRow) -> Result<Self, Error> {
        Ok(Self {
            id: row.id,
            order_id: OrderId::new(&row.order_id).map_err(unreadable)?,
            seq: row.seq,
            sender_id: UserId::new(&row.sender_id).map_err(unreadable)?,
            sender_name: row.sender_name,
            sender_role: Role::from_name(&row.sender_role).unwrap_or_default(),
            content: row.content,
            kind: kind_from_name(&row.kind),
            created_at: Timestamp::from_millis(row.created_at_ms),
            client_msg_id: row.client_msg_id,
        })
    }
}

/// An unknown word, which a newer hub may have written, reads as text.
fn kind_from_name(name: &str) -> ChatKind {
    [ChatKind::Image, ChatKind::System]
        .into_iter()
        .find(|kind| kind.as_str() == name)
        .unwrap_or_default()
}

/// The error for a row that no version of the hub writes.
pub(super) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::DeserializationError(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seq: i64, content: usize) -> MessageRow {
        MessageRow {
            order_id: "o".into(),
            seq,
            id: format!("m{seq}"),
            sender_id: "u".into(),
            sender_name: "U".into(),
            sender_role: "driver".into(),
            kind: "IMAGE".into(),
            content: "x".repeat(content),
            client_msg_id: None,
            created_at_ms: 0,
        }
    }

    #[test]
    fn a_page_ends_at_its_limit() {
        let page = cut((1..=3).map(|seq| row(seq, 1)).collect(), 2).expect("a page");
        assert_eq!((page.messages.len(), page.has_more), (2, true));
        let page = cut((1..=2).map(|seq| row(seq, 1)).collect(), 2).expect("a page");
        assert_eq!((page.messages.len(), page.has_more), (2, false));
        assert_eq!(page.messages[0].kind, ChatKind::Image);
    }

    #[test]
    fn a_page_ends_at_48_kib_but_has_a_message() {
        let page = cut((1..=9).map(|seq| row(seq, 16_000)).collect(), 50).expect("a page");
        assert_eq!((page.messages.len(), page.has_more), (3, true));
        let page = cut(vec![row(1, 100_000), row(2, 1)], 50).expect("a page");
        assert_eq!((page.messages.len(), page.has_more), (1, true));
    }

    #[test]
    fn a_row_with_an_impossible_id_is_an_error_not_a_panic() {
        let broken = MessageRow { order_id: "a b".into(), ..row(1, 1) };
        assert!(cut(vec![broken], 1).is_err());
    }
}
