//! What a client may not have got of its rooms beside chat: a snapshot, or news of the order, that
//! went out behind the last thing of which it is known that it arrived.
//!
//! Known it is by what the client itself says: the offset of a chat message that went out later,
//! or a pong to a ping that did.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::MAX_ROOMS;
use crate::ids::UserId;

/// What a client is owed in a room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unconfirmed {
    /// To be shown the room as it asked for it. That has all the rest in it.
    pub snapshot: Option<SnapshotRequest>,
    /// To hear how the order is now, if it is otherwise than this.
    pub order: Option<KnownOrder>,
}

/// What a client asked to be shown of a room's chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRequest {
    /// The last message that it had.
    pub since: Option<i64>,
    /// How many at most.
    pub limit: i64,
}

/// What a client was told of an order last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownOrder {
    /// Its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<str>>,
    /// Its driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<UserId>,
}

/// What each room of a session owes its client; in at most [`MAX_ROOMS`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct UnconfirmedList(Vec<UnconfirmedItem>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct UnconfirmedItem {
    /// By which subscription.
    #[serde(rename = "link")]
    subscription: u64,
    what: ItemKind,
    /// Where it is among the pushes; none while it is not in the outbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    behind: Option<usize>,
    /// When it went into the outbox, or a moment later. Of no use behind the end of the connection.
    #[serde(skip)]
    at: Option<Instant>,
}

/// One of the two, since one may have arrived and the other not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum ItemKind {
    #[serde(rename = "Shown")]
    Snapshot(SnapshotRequest),
    #[serde(rename = "Told")]
    Order(KnownOrder),
}

// === impl SnapshotRequest ===

impl SnapshotRequest {
    /// What serves both.
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

    /// The same with what is owed beside it. What a client surely knows of an order is what it was
    /// told before the first news that it may not know of.
    fn extend(&mut self, more: &Self) {
        if let (Self::Snapshot(request), Self::Snapshot(more)) = (self, more) {
            *request = request.or(*more);
        }
    }
}

// === impl UnconfirmedList ===

impl UnconfirmedList {
    /// More is owed by this subscription, and is about to go out.
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
            .find(|owed| owed.subscription == subscription && owed.what.is_like(&what));
        if let Some(known) = known {
            known.what.extend(&what);
            (known.behind, known.at) = (None, None);
        } else if self.0.len() < 2 * MAX_ROOMS {
            self.0.push(UnconfirmedItem { subscription, what, behind: None, at: None });
        }
    }

    /// What is owed by this subscription is in the outbox now, behind so many pushes of the log.
    pub(super) fn mark_sent(&mut self, subscription: u64, behind: usize, now: Instant) {
        let unsent = |owed: &&mut UnconfirmedItem| {
            owed.subscription == subscription && owed.behind.is_none()
        };
        for owed in self.0.iter_mut().filter(unsent) {
            (owed.behind, owed.at) = (Some(behind), Some(now));
        }
    }

    /// What is owed by this subscription and is not in the outbox.
    pub(super) fn unsent(&self, subscription: u64) -> Unconfirmed {
        self.sum(|owed| owed.subscription == subscription && owed.behind.is_none())
    }

    /// What a client may not have got by this subscription that has seen so many pushes of the log; where
    /// that is not known, all that no pong has confirmed.
    pub(super) fn of(&self, subscription: u64, seen: Option<usize>) -> Unconfirmed {
        let arrived = |owed: &UnconfirmedItem| {
            owed.behind.zip(seen).is_some_and(|(behind, seen)| seen > behind)
        };
        self.sum(|owed| owed.subscription == subscription && !arrived(owed))
    }

    fn sum(&self, counts: impl Fn(&UnconfirmedItem) -> bool) -> Unconfirmed {
        let mut unconfirmed = Unconfirmed::default();
        for owed in self.0.iter().filter(|owed| counts(owed)) {
            match &owed.what {
                ItemKind::Snapshot(request) => unconfirmed.snapshot = Some(*request),
                ItemKind::Order(known) => unconfirmed.order = Some(known.clone()),
            }
        }
        unconfirmed
    }

    /// The client has got all that went out until then.
    pub(super) fn confirm_until(&mut self, until: Instant) {
        self.0.retain(|owed| owed.at.is_none_or(|at| at > until));
    }

    /// The subscription is over.
    pub(super) fn end_subscription(&mut self, subscription: u64) {
        self.0.retain(|owed| owed.subscription != subscription);
    }

    /// The first push of the log is no longer in it.
    pub(super) fn shift(&mut self) {
        for behind in self.0.iter_mut().filter_map(|owed| owed.behind.as_mut()) {
            *behind = behind.saturating_sub(1);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    /// About the memory that it holds beside itself, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let heap = |owed: &UnconfirmedItem| match &owed.what {
            ItemKind::Snapshot(_) => 0,
            ItemKind::Order(known) => known.heap_bytes(),
        };
        self.0.capacity() * size_of::<UnconfirmedItem>() + self.0.iter().map(heap).sum::<usize>()
    }
}

// === impl KnownOrder ===

impl KnownOrder {
    /// About the memory that it holds beside itself, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let driver = self.driver.as_ref().map_or(0, |driver| driver.as_str().len() + 16);
        self.status.as_ref().map_or(0, |status| status.len()) + driver
    }
}
