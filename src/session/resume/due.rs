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
pub struct Due {
    /// To be shown the room as it asked for it. That has all the rest in it.
    pub shown: Option<Shown>,
    /// To hear how the order is now, if it is otherwise than this.
    pub told: Option<Told>,
}

/// What a client asked to be shown of a room's chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The last message that it had.
    pub since: Option<i64>,
    /// How many at most.
    pub limit: i64,
}

/// What a client was told of an order last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
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
pub(super) struct Dues(Vec<Owed>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owed {
    /// By which tie.
    link: u64,
    what: What,
    /// Where it is among the pushes; none while it is not in the outbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    behind: Option<usize>,
    /// When it went into the outbox, or a moment later. Of no use behind the end of the connection.
    #[serde(skip)]
    at: Option<Instant>,
}

/// One of the two, since one may have arrived and the other not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum What {
    Shown(Shown),
    Told(Told),
}

// === impl Shown ===

impl Shown {
    /// What serves both.
    fn or(self, other: Self) -> Self {
        let since = self.since.zip(other.since).map(|(one, other)| one.min(other));
        Self { since, limit: self.limit.max(other.limit) }
    }
}

// === impl What ===

impl What {
    fn is_like(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Shown(_), Self::Shown(_)) | (Self::Told(_), Self::Told(_)))
    }

    /// The same with what is owed beside it. What a client surely knows of an order is what it was
    /// told before the first news that it may not know of.
    fn extend(&mut self, more: &Self) {
        if let (Self::Shown(shown), Self::Shown(more)) = (self, more) {
            *shown = shown.or(*more);
        }
    }
}

// === impl Dues ===

impl Dues {
    /// More is owed by this tie, and is about to go out.
    pub(super) fn owe(&mut self, link: u64, due: Due) {
        let what = due.shown.map(What::Shown).into_iter().chain(due.told.map(What::Told));
        for what in what {
            self.owe_one(link, what);
        }
    }

    fn owe_one(&mut self, link: u64, what: What) {
        let known =
            self.0.iter_mut().rev().find(|owed| owed.link == link && owed.what.is_like(&what));
        if let Some(known) = known {
            known.what.extend(&what);
            (known.behind, known.at) = (None, None);
        } else if self.0.len() < 2 * MAX_ROOMS {
            self.0.push(Owed { link, what, behind: None, at: None });
        }
    }

    /// What is owed by this tie is in the outbox now, behind so many pushes of the log.
    pub(super) fn paid(&mut self, link: u64, behind: usize, now: Instant) {
        let unpaid = |owed: &&mut Owed| owed.link == link && owed.behind.is_none();
        for owed in self.0.iter_mut().filter(unpaid) {
            (owed.behind, owed.at) = (Some(behind), Some(now));
        }
    }

    /// What is owed by this tie and is not in the outbox.
    pub(super) fn unpaid(&self, link: u64) -> Due {
        self.sum(|owed| owed.link == link && owed.behind.is_none())
    }

    /// What a client may not have got by this tie that has seen so many pushes of the log; where
    /// that is not known, all that no pong has confirmed.
    pub(super) fn of(&self, link: u64, seen: Option<usize>) -> Due {
        let arrived =
            |owed: &Owed| owed.behind.zip(seen).is_some_and(|(behind, seen)| seen > behind);
        self.sum(|owed| owed.link == link && !arrived(owed))
    }

    fn sum(&self, counts: impl Fn(&Owed) -> bool) -> Due {
        let mut due = Due::default();
        for owed in self.0.iter().filter(|owed| counts(owed)) {
            match &owed.what {
                What::Shown(shown) => due.shown = Some(*shown),
                What::Told(told) => due.told = Some(told.clone()),
            }
        }
        due
    }

    /// The client has got all that went out until then.
    pub(super) fn heard(&mut self, until: Instant) {
        self.0.retain(|owed| owed.at.is_none_or(|at| at > until));
    }

    /// The tie is over.
    pub(super) fn leave(&mut self, link: u64) {
        self.0.retain(|owed| owed.link != link);
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
        let heap = |owed: &Owed| match &owed.what {
            What::Shown(_) => 0,
            What::Told(told) => told.heap_bytes(),
        };
        self.0.capacity() * size_of::<Owed>() + self.0.iter().map(heap).sum::<usize>()
    }
}

// === impl Told ===

impl Told {
    /// About the memory that it holds beside itself, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let driver = self.driver.as_ref().map_or(0, |driver| driver.as_str().len() + 16);
        self.status.as_ref().map_or(0, |status| status.len()) + driver
    }
}
