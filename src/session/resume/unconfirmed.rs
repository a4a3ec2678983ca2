//! What a client may not have received of its rooms beside chat: a snapshot or changes of the
//! order, sent after the last thing that is known to have arrived.
//!
//! The client confirms an arrival with the offset of a later chat message, or with the pong to a
//! later ping.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::MAX_ROOMS;
use protocol::ids::UserId;

/// What a client may not have received in a room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unconfirmed {
    /// The snapshot that it asked for, which includes all the rest.
    pub snapshot: Option<SnapshotRequest>,
    /// What it knew of the order before; it is told the changes since.
    pub order: Option<KnownOrder>,
}

/// Which chat a client asked for in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRequest {
    /// The last message that it had.
    pub since: Option<i64>,
    /// How many messages at most.
    pub limit: i64,
}

/// What a client was last told of an order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownOrder {
    /// Its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<str>>,
    /// Its driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<UserId>,
}

/// The unconfirmed items of a session, in at most [`MAX_ROOMS`] rooms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct UnconfirmedList(Vec<UnconfirmedItem>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct UnconfirmedItem {
    /// The subscription that it belongs to.
    #[serde(rename = "link")]
    subscription: u64,
    what: ItemKind,
    /// How many pushes were in the log before it. `None` while it is not in the outbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    behind: Option<usize>,
    /// When it went into the outbox, or a moment later. Not needed after the end of the connection.
    #[serde(skip)]
    at: Option<Instant>,
}

/// Separate items, since one may have arrived and the other not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum ItemKind {
    #[serde(rename = "Shown")]
    Snapshot(SnapshotRequest),
    #[serde(rename = "Told")]
    Order(KnownOrder),
}

// === impl SnapshotRequest ===

impl SnapshotRequest {
    /// A request that covers both.
    fn or(self, other: Self) -> Self {
        let since = self.since.zip(other.since).map(|(one, other)| one.min(other));
        Self { since, limit: self.limit.max(other.limit) }
    }
}

// === impl ItemKind ===

impl ItemKind {
    fn is_like(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Snapshot(_), Self::Snapshot(_)) | (Self::Order(_), Self::Order(_))
        )
    }

    /// Adds another item of the same kind. Of an order the first one stays: the client certainly
    /// knows only what it was told before the first unconfirmed change.
    fn extend(&mut self, more: &Self) {
        if let (Self::Snapshot(request), Self::Snapshot(more)) = (self, more) {
            *request = request.or(*more);
        }
    }
}

// === impl UnconfirmedList ===

impl UnconfirmedList {
    /// Adds what is about to be sent for this subscription.
    pub(super) fn begin_send(&mut self, subscription: u64, unconfirmed: Unconfirmed) {
        let what = unconfirmed
            .snapshot
            .map(ItemKind::Snapshot)
            .into_iter()
            .chain(unconfirmed.order.map(ItemKind::Order));
        for what in what {
            self.add(subscription, what);
        }
    }

    fn add(&mut self, subscription: u64, what: ItemKind) {
        let known = self
            .0
            .iter_mut()
            .rev()
            .find(|item| item.subscription == subscription && item.what.is_like(&what));
        if let Some(known) = known {
            known.what.extend(&what);
            (known.behind, known.at) = (None, None);
        } else if self.0.len() < 2 * MAX_ROOMS {
            self.0.push(UnconfirmedItem { subscription, what, behind: None, at: None });
        }
    }

    /// Notes that what was begun for this subscription is in the outbox now, after `behind` pushes
    /// of the log.
    pub(super) fn mark_sent(&mut self, subscription: u64, behind: usize, now: Instant) {
        let unsent = |item: &&mut UnconfirmedItem| {
            item.subscription == subscription && item.behind.is_none()
        };
        for item in self.0.iter_mut().filter(unsent) {
            (item.behind, item.at) = (Some(behind), Some(now));
        }
    }

    /// What was begun for this subscription and is not in the outbox.
    pub(super) fn unsent(&self, subscription: u64) -> Unconfirmed {
        self.sum(|item| item.subscription == subscription && item.behind.is_none())
    }

    /// What a client may not have received of this subscription that has seen `seen` pushes of the
    /// log. Where that is not known, all that no pong has confirmed.
    pub(super) fn of(&self, subscription: u64, seen: Option<usize>) -> Unconfirmed {
        let arrived = |item: &UnconfirmedItem| {
            item.behind.zip(seen).is_some_and(|(behind, seen)| seen > behind)
        };
        self.sum(|item| item.subscription == subscription && !arrived(item))
    }

    fn sum(&self, counts: impl Fn(&UnconfirmedItem) -> bool) -> Unconfirmed {
        let mut unconfirmed = Unconfirmed::default();
        for item in self.0.iter().filter(|item| counts(item)) {
            match &item.what {
                ItemKind::Snapshot(request) => unconfirmed.snapshot = Some(*request),
                ItemKind::Order(known) => unconfirmed.order = Some(known.clone()),
            }
        }
        unconfirmed
    }

    /// Forgets what the client has confirmed: all that was sent until then.
    pub(super) fn confirm_until(&mut self, until: Instant) {
        self.0.retain(|item| item.at.is_none_or(|at| at > until));
    }

    /// Drops the items of an ended subscription.
    pub(super) fn end_subscription(&mut self, subscription: u64) {
        self.0.retain(|item| item.subscription != subscription);
    }

    /// Notes that the first push was dropped from the log.
    pub(super) fn shift(&mut self) {
        for behind in self.0.iter_mut().filter_map(|item| item.behind.as_mut()) {
            *behind = behind.saturating_sub(1);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    /// Its heap memory in bytes, estimated.
    pub(super) fn heap_bytes(&self) -> usize {
        let heap = |item: &UnconfirmedItem| match &item.what {
            ItemKind::Snapshot(_) => 0,
            ItemKind::Order(known) => known.heap_bytes(),
        };
        self.0.capacity() * size_of::<UnconfirmedItem>() + self.0.iter().map(heap).sum::<usize>()
    }
}

// === impl KnownOrder ===

impl KnownOrder {
    /// Its heap memory in bytes, estimated.
    pub(super) fn heap_bytes(&self) -> usize {
        let driver = self.driver.as_ref().map_or(0, |driver| driver.as_str().len() + 16);
        self.status.as_ref().map_or(0, |status| status.len()) + driver
    }
}
