//! The sessions in a room: members, who are shown it, and senders, who are not.

use std::collections::VecDeque;
use std::sync::Arc;

use super::lanes::DriverLane;
use crate::actors::broadcast::PushOutcome;
use crate::actors::peer::{Answer, MembershipGuard};
use crate::actors::shared::unavailable;
use crate::auth::Identity;
use crate::room::visibility::Visibility;
use protocol::codec::Codec;
use protocol::error::Failure;
use protocol::events::join::Join;
use protocol::ids::UserId;
use protocol::server::ServerEvent;
use transport::{Frame, LatestKey, Outbox};

/// How many frames may wait for a member whose snapshot is being read.
const MAX_HELD: usize = 256;
/// How many more joins of the same session may wait for the snapshot.
const MAX_JOINS: usize = 16;

/// The driver for whom the positions of a session count, or why they do not count.
pub(super) type LocationRight = Result<UserId, Box<Failure>>;

/// A session that may send to the room. One that is no member is a sender.
pub(super) struct RoomSession {
    pub(super) guard: MembershipGuard,
    pub(super) identity: Arc<Identity>,
    /// The driver for whom its positions count. Computed once, and again when rights change.
    pub(super) location_right: LocationRight,
    /// Which token of the session it is; 0: the one with which it entered.
    pub(super) renewal: u64,
}

/// A session that is shown the room. Fan-out visits all members for every event, so the fields that
/// it needs are inline, and rare ones are boxed.
pub(super) struct Member {
    /// The peer's.
    pub(super) outbox: Outbox,
    /// The peer's.
    pub(super) codec: Codec,
    pub(super) session: RoomSession,
    /// Which positions it may see. Computed at the same times as its right to send them.
    pub(super) visibility: Visibility,
    /// Frames that are held back while the snapshot is read; they follow the snapshot.
    pub(super) held: Option<Box<HeldFrames>>,
    /// Whether it got a snapshot.
    pub(super) has_snapshot: bool,
}

/// What is held back while a snapshot is read.
pub(super) struct HeldFrames {
    /// The number of the read: the session may have left and joined again before an older read has
    /// ended.
    read: u64,
    /// The last message that the client has: it gets none up to it.
    seen: i64,
    /// Frames, with the seq of those that are chat.
    pub(super) frames: VecDeque<(Frame, Option<i64>)>,
    /// Joins of the same session that wait for this snapshot.
    pub(super) joins: VecDeque<(Join, Answer)>,
}

// === impl RoomSession ===

impl RoomSession {
    /// Takes the identity of a newer token.
    pub(super) fn renew(&mut self, right: LocationRight, identity: Arc<Identity>, renewal: u64) {
        (self.location_right, self.identity, self.renewal) = (right, identity, renewal);
    }
}

// === impl Member ===

impl Member {
    pub(super) fn new(session: RoomSession, visibility: Visibility) -> Self {
        let (outbox, codec) = (session.guard.peer.outbox.clone(), session.guard.peer.codec);
        Self { outbox, codec, session, visibility, held: None, has_snapshot: false }
    }

    /// Queues a frame, with its `seq` where it is chat.
    pub(super) fn push(&mut self, frame: Frame, seq: Option<i64>) -> PushOutcome {
        if let Some(held) = &mut self.held {
            if seq.is_some_and(|seq| seq <= held.seen) {
                return PushOutcome::Held;
            }
            held.frames.push_back((frame, seq));
            return if held.is_too_full() { PushOutcome::Gone } else { PushOutcome::Held };
        }
        match seq {
            Some(seq) => self.session.guard.push_chat(&self.outbox, frame, seq).into(),
            None => self.outbox.push(frame).into(),
        }
    }

    /// Sends an event to this member alone. A session that ended is noticed at the next fan-out.
    pub(super) fn tell(&mut self, event: &ServerEvent<'_>) {
        self.session.guard.peer.metrics.events_out.inc(event.index());
        let frame = Frame::text(|buffer| self.codec.event(event, buffer));
        self.push(frame, event.chat_seq());
    }

    /// Queues a frame in place of a waiting one with the same key.
    pub(super) fn push_latest(&self, key: LatestKey, frame: Frame) -> PushOutcome {
        self.outbox.push_latest(key, frame).into()
    }

    /// Sets which positions the member may see. Where it sees fewer than before, a waiting position
    /// is discarded.
    pub(super) fn set_visibility<'a>(
        &mut self,
        visibility: Visibility,
        lanes: impl Iterator<Item = &'a DriverLane>,
    ) {
        let before = std::mem::replace(&mut self.visibility, visibility);
        if visibility.is_less_than(before) {
            lanes.for_each(|lane| self.outbox.discard_latest(lane.key));
        }
    }

    /// Whether a snapshot is being read for it.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether its outbox is closed, or too many frames wait for its snapshot.
    pub(super) fn is_gone(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.is_too_full()) || self.outbox.is_closed()
    }

    /// Takes what was held back for this read, unless the session has left and come back since.
    pub(super) fn take_held(&mut self, read: u64) -> Option<Box<HeldFrames>> {
        self.held.take_if(|held| held.read == read)
    }
}

// === impl HeldFrames ===

impl HeldFrames {
    pub(super) fn new(read: u64) -> Self {
        Self::of_one_who_has(read, 0)
    }

    /// The same for a client that has seen messages on another node.
    pub(super) fn of_one_who_has(read: u64, seen: i64) -> Self {
        Self { read, seen, frames: VecDeque::new(), joins: VecDeque::new() }
    }

    /// Adds what was held back for an earlier read.
    pub(super) fn append(&mut self, mut earlier: Self) {
        // Nothing has come since.
        self.frames.append(&mut earlier.frames);
        self.joins.append(&mut earlier.joins);
    }

    /// Whether the frames wait for this read.
    pub(super) fn is_for(&self, read: u64) -> bool {
        self.read == read
    }

    /// Queues one more join behind the read.
    pub(super) fn queue(&mut self, join: Join, answer: Answer) {
        if self.joins.len() < MAX_JOINS {
            self.joins.push_back((join, answer));
        } else {
            answer.refuse(unavailable("too many joins at once"));
        }
    }

    fn is_too_full(&self) -> bool {
        self.frames.len() > MAX_HELD
    }
}
