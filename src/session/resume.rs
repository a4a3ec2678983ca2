//! What is kept of a Socket.IO session that can be taken up again: its rooms, and by its last chat
//! pushes what its client has seen of each.

mod push_log;
#[cfg(test)]
mod tests;
mod unconfirmed;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::ids::{OrderId, Pid, SessionId, UserId};
use crate::protocol::socketio::Namespace;
pub use push_log::{MAX_PUSHES, PushLog};
pub use unconfirmed::{KnownOrder, SnapshotRequest, Unconfirmed};

/// How many rooms of a session are kept; only staff have more, and join the others again.
pub const MAX_ROOMS: usize = 1000;
/// How many orders are kept that a session was put out of.
pub const MAX_REMOVED: usize = 50;
/// The longest JSON of a record, in bytes: [`MAX_ROOMS`] rooms with all that is owed in them, and
/// [`MAX_PUSHES`] pushes of rooms that were left, with the longest ids and numbers. Most are well below 1 KiB.
pub const MAX_JSON_BYTES: usize = 2 * 1024 * 1024;

/// Everything that a session needs to go on under its old name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionRecord {
    /// Under what the client asks for it.
    pub pid: Pid,
    /// Whose it is: nobody else gets it.
    pub user: UserId,
    /// The session's id, which the client keeps.
    pub session: SessionId,
    /// Which of a connection's sessions it was.
    pub namespace: Namespace,
    /// The highest number of a subscription that it used; its next subscription has a higher one.
    #[serde(rename = "lastLink")]
    pub last_subscription: u64,
    /// At most [`MAX_ROOMS`].
    rooms: Vec<SavedRoom>,
    /// Orders that it was put out of, of which its client may not have heard; at most
    /// [`MAX_REMOVED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    removed: Vec<OrderId>,
    /// What the client was told last of the orders of its rooms, each with the room's subscription; unless the
    /// pushes know better. Where that is not known it is absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[serde(rename = "told")]
    known_orders: Vec<(u64, KnownOrder)>,
    /// What went out to the client last.
    pub pushes: PushLog,
}

/// A room of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(OrderId, u32, u64, i64)", into = "(OrderId, u32, u64, i64)")]
pub struct SavedRoom {
    /// The room's order.
    pub order: OrderId,
    /// Joins that were not undone.
    pub joins: u32,
    /// The number of the session's subscription to it.
    pub subscription: u64,
    /// The last chat message that went into the outbox, or was covered by the snapshot; -1 where
    /// the room was never shown.
    pub sent_seq: i64,
}

/// What a client has of each room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumePoint {
    /// For each room of the record, in the same order, the last chat message that the client has;
    /// -1 where the room was never shown.
    pub marks: Vec<(OrderId, i64)>,
    /// For each room what the client is owed beside chat.
    pub unconfirmed: Vec<Unconfirmed>,
    /// Whether the marks are sure. If not, messages before them may be missing.
    pub found: bool,
}

// === impl SessionRecord ===

impl SessionRecord {
    /// Of a session with these rooms; those beyond [`MAX_ROOMS`] are cut off.
    pub fn new(
        pid: Pid,
        user: UserId,
        session: SessionId,
        namespace: Namespace,
        last_subscription: u64,
        rooms: impl IntoIterator<Item = SavedRoom>,
        mut pushes: PushLog,
    ) -> Self {
        let mut rooms: Vec<_> = rooms.into_iter().take(MAX_ROOMS).collect();
        // It is kept for minutes and does not grow any more.
        rooms.shrink_to_fit();
        pushes.shrink();
        Self {
            pid,
            user,
            session,
            namespace,
            last_subscription,
            rooms,
            removed: Vec::new(),
            known_orders: Vec::new(),
            pushes,
        }
    }

    /// The same of a session that was told this of its orders, by the subscriptions to their rooms.
    #[must_use]
    pub fn with_known_orders(mut self, known: impl IntoIterator<Item = (u64, KnownOrder)>) -> Self {
        self.known_orders = known.into_iter().take(MAX_ROOMS).collect();
        self
    }

    /// The same of a session that was put out of these orders a moment ago.
    #[must_use]
    pub fn with_removed(mut self, removed: impl IntoIterator<Item = OrderId>) -> Self {
        self.removed = removed.into_iter().take(MAX_REMOVED).collect();
        self
    }

    /// The orders that it was put out of, and that its client may believe to be in.
    pub fn removed(&self) -> impl Iterator<Item = &OrderId> {
        let back = |order: &OrderId| self.rooms.iter().any(|room| room.order == *order);
        self.removed.iter().filter(move |order| !back(order))
    }

    /// The rooms.
    pub fn rooms(&self) -> &[SavedRoom] {
        &self.rooms
    }

    /// What a client has of each room that saw `offset` last, or no push at all.
    ///
    /// Everything that was pushed up to that one was seen and nothing behind it, in every room:
    /// one connection carried them in this order.
    pub fn resume_point(&self, offset: Option<(&OrderId, i64)>) -> ResumePoint {
        let Some(seen) = self.pushes.seen(offset, &self.rooms) else {
            return self.point_without_offset(offset);
        };
        let pushed = self.pushes.marks(seen);
        let mark =
            |room: &SavedRoom| pushed.get(&room.subscription).copied().unwrap_or(room.sent_seq);
        ResumePoint {
            marks: self.marks(mark),
            unconfirmed: self.unconfirmed(Some(seen)),
            found: true,
        }
    }

    /// What can be said where the offset is no place in the log: its own room goes on there.
    fn point_without_offset(&self, offset: Option<(&OrderId, i64)>) -> ResumePoint {
        let mark = |room: &SavedRoom| match offset {
            Some((order, seq)) if *order == room.order && seq >= 0 => seq.min(room.sent_seq),
            _ => room.sent_seq,
        };
        ResumePoint { marks: self.marks(mark), unconfirmed: self.unconfirmed(None), found: false }
    }

    /// For each room what a client is owed that has seen so many pushes, if that is known.
    fn unconfirmed(&self, seen: Option<usize>) -> Vec<Unconfirmed> {
        let mut known: HashMap<u64, &KnownOrder> =
            self.known_orders.iter().map(|(subscription, known)| (*subscription, known)).collect();
        let unconfirmed = |room: &SavedRoom| {
            let known = known.remove(&room.subscription).cloned();
            let unconfirmed = self.pushes.unconfirmed(room.subscription, seen);
            Unconfirmed { order: unconfirmed.order.or(known), ..unconfirmed }
        };
        self.rooms.iter().map(unconfirmed).collect()
    }

    fn marks(&self, mark: impl Fn(&SavedRoom) -> i64) -> Vec<(OrderId, i64)> {
        self.rooms.iter().map(|room| (room.order.clone(), mark(room))).collect()
    }

    /// About the memory that it takes, in bytes.
    pub fn size(&self) -> usize {
        // An id has two counters beside its text.
        let id = |text: &str| text.len() + 16;
        let orders = self.rooms.iter().map(|room| &room.order).chain(&self.removed);
        let ids: usize = orders.map(|order| size_of::<OrderId>() + id(order.as_str())).sum();
        let rooms = self.rooms.capacity() * size_of::<SavedRoom>();
        let known = self.known_orders.iter().map(|(_, known)| known.heap_bytes()).sum::<usize>()
            + self.known_orders.capacity() * size_of::<(u64, KnownOrder)>();
        let pushes = self.pushes.heap_bytes();
        size_of::<Self>() + id(self.user.as_str()) + ids + rooms + known + pushes
    }

    /// As text for the database, at most [`MAX_JSON_BYTES`].
    ///
    /// # Errors
    /// Where it cannot be written, which would be a bug.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// From its text.
    ///
    /// # Errors
    /// Where it is none, or one of a version that writes them otherwise.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        let mut record: Self = serde_json::from_str(text)?;
        record.rooms.truncate(MAX_ROOMS);
        Ok(record)
    }
}

// === impl SavedRoom ===

impl From<(OrderId, u32, u64, i64)> for SavedRoom {
    fn from((order, joins, subscription, sent_seq): (OrderId, u32, u64, i64)) -> Self {
        Self { order, joins, subscription, sent_seq }
    }
}

impl From<SavedRoom> for (OrderId, u32, u64, i64) {
    fn from(room: SavedRoom) -> Self {
        (room.order, room.joins, room.subscription, room.sent_seq)
    }
}
