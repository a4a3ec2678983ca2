//! The record of a Socket.IO session that can be resumed: its rooms, and its last chat pushes,
//! which tell what its client has of each room.

mod push_log;
#[cfg(test)]
mod tests;
mod unconfirmed;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use protocol::ids::{OrderId, Pid, SessionId, UserId};
use protocol::socketio::Namespace;
pub use push_log::{MAX_PUSHES, PushLog};
pub use unconfirmed::{KnownOrder, SnapshotRequest, Unconfirmed};

/// How many rooms of a session are kept. Only staff have more, and join the others again.
pub const MAX_ROOMS: usize = 1000;
/// How many orders are kept that a session was removed from.
pub const MAX_REMOVED: usize = 50;
/// The longest JSON of a record, in bytes: [`MAX_ROOMS`] rooms with all their unconfirmed events,
/// and [`MAX_PUSHES`] pushes of rooms that were left, with the longest ids and numbers. Most
/// records are well below 1 KiB.
pub const MAX_JSON_BYTES: usize = 2 * 1024 * 1024;

/// Everything that is needed to resume a session. Some names in its JSON differ from those here:
/// records in the database outlive an upgrade, so their names stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionRecord {
    /// The id with which the client asks for it.
    pub pid: Pid,
    /// Its user, who alone may resume it.
    pub user: UserId,
    /// The session's id, which the client keeps.
    pub session: SessionId,
    /// The namespace of the session.
    pub namespace: Namespace,
    /// The highest subscription number that it used. Its next subscription gets a higher one.
    #[serde(rename = "lastLink")]
    pub last_subscription: u64,
    /// The rooms that it joined, at most [`MAX_ROOMS`].
    rooms: Vec<SavedRoom>,
    /// Orders that it was removed from, and of which its client may not know; at most
    /// [`MAX_REMOVED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    removed: Vec<OrderId>,
    /// What the client was last told of its rooms' orders, by subscription. An unconfirmed entry in
    /// the push log overrides this. A room of which it is not known is absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[serde(rename = "told")]
    known_orders: Vec<(u64, KnownOrder)>,
    /// The last pushes to the client.
    pub pushes: PushLog,
}

/// A joined room of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(OrderId, u32, u64, i64)", into = "(OrderId, u32, u64, i64)")]
pub struct SavedRoom {
    /// The room's order.
    pub order: OrderId,
    /// Joins that were not undone.
    pub joins: u32,
    /// The number of the session's subscription to it.
    pub subscription: u64,
    /// The `seq` of the last chat message that went into the outbox, or that the snapshot covered;
    /// -1 without a snapshot.
    pub sent_seq: i64,
}

/// What a client has of each room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumePoint {
    /// For each room of the record, in the same order, the last chat message that the client has;
    /// -1 without a snapshot.
    pub marks: Vec<(OrderId, i64)>,
    /// For each room, what the client may not have received beside chat.
    pub unconfirmed: Vec<Unconfirmed>,
    /// Whether the marks are certain. If not, messages before them may be missing.
    pub found: bool,
}

// === impl SessionRecord ===

impl SessionRecord {
    /// A record with these rooms; those beyond [`MAX_ROOMS`] are dropped.
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
        // The record is kept for minutes and does not grow any more.
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

    /// Adds what the client was last told of its orders, by subscription.
    #[must_use]
    pub fn with_known_orders(mut self, known: impl IntoIterator<Item = (u64, KnownOrder)>) -> Self {
        self.known_orders = known.into_iter().take(MAX_ROOMS).collect();
        self
    }

    /// Adds the orders that the session was just removed from.
    #[must_use]
    pub fn with_removed(mut self, removed: impl IntoIterator<Item = OrderId>) -> Self {
        self.removed = removed.into_iter().take(MAX_REMOVED).collect();
        self
    }

    /// The orders that it was removed from, unless it has joined them again.
    pub fn removed(&self) -> impl Iterator<Item = &OrderId> {
        let back = |order: &OrderId| self.rooms.iter().any(|room| room.order == *order);
        self.removed.iter().filter(move |order| !back(order))
    }

    /// The rooms.
    pub fn rooms(&self) -> &[SavedRoom] {
        &self.rooms
    }

    /// What a client has of each room, if `offset` is the last one that it saw, or if it saw no
    /// push.
    ///
    /// The client has seen every push up to that one and none after it, in every room: one
    /// connection carried them in this order.
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

    /// The result for an offset that is not in the push log: only its own room continues there.
    fn point_without_offset(&self, offset: Option<(&OrderId, i64)>) -> ResumePoint {
        let mark = |room: &SavedRoom| match offset {
            Some((order, seq)) if *order == room.order && seq >= 0 => seq.min(room.sent_seq),
            _ => room.sent_seq,
        };
        ResumePoint { marks: self.marks(mark), unconfirmed: self.unconfirmed(None), found: false }
    }

    /// For each room, what a client may not have received that has seen `seen` pushes, if that is
    /// known.
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

    /// The record as text for the database, at most [`MAX_JSON_BYTES`].
    ///
    /// # Errors
    /// Where it cannot be serialized, which would be a bug.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// Reads a record from its text.
    ///
    /// # Errors
    /// Where the text is not a record, or one of another version.
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
