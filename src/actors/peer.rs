//! A session as rooms see it: where its frames go, in which framing, and who hears of changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use actix::{Message, Recipient};

use super::order_room::RoomHandle;
use crate::ids::{OrderId, SessionId};
use crate::metrics::Metrics;
use crate::protocol::client::ClientEventName;
use crate::protocol::codec::Codec;
use crate::protocol::error::Failure;
use crate::protocol::server::{Reply, ServerEvent};
use crate::transport::{Closed, Frame, Outbox};

use super::shared::unavailable;

/// What a room tells a session about its place there.
#[derive(Message)]
#[rtype(result = "()")]
pub enum RoomNotice {
    /// The session is in: from now on it talks to the room directly.
    Entered {
        /// Which order.
        order: OrderId,
        /// Its room.
        room: RoomHandle,
        /// Whether this counts as a join.
        joined: bool,
        /// That of the place: by it the session knows which of its wishes came true.
        progress: Arc<AtomicI64>,
    },
    /// The session was not let in.
    Refused {
        /// Which order.
        order: OrderId,
        /// Why.
        failure: Failure,
    },
    /// The session was in, and is no longer.
    Removed {
        /// Which order.
        order: OrderId,
    },
    /// The room is gone without a word: it panicked.
    Lost {
        /// Which order.
        order: OrderId,
    },
}

/// The part of a session that rooms hold.
pub struct Peer {
    /// Which session.
    pub id: SessionId,
    /// Where its frames go.
    pub outbox: Outbox,
    /// How they are framed.
    pub codec: Codec,
    /// Who hears of its place in rooms.
    pub notices: Recipient<RoomNotice>,
    /// Where refusals and events are counted.
    pub metrics: Arc<Metrics>,
}

/// A session's place in a room, or its wish for one. Dropped without a word, it tells the
/// session that the room is lost: so nobody waits for a room that panicked.
pub struct Place {
    /// Whose place it is.
    pub peer: Arc<Peer>,
    /// In which room.
    pub order: OrderId,
    /// The last chat message that went into the session's outbox; the next room goes on there.
    pub progress: Arc<AtomicI64>,
    settled: bool,
}

/// An event that waits for its outcome. Dropped without one, it answers `unavailable`: so no
/// client waits for ever.
pub struct Answer {
    peer: Arc<Peer>,
    event: ClientEventName,
    ack: Option<u64>,
    given: bool,
}

// === impl Peer ===

impl Peer {
    /// Sends an event to this session alone.
    ///
    /// # Errors
    /// [`Closed`] where the session has ended.
    pub fn tell(&self, event: &ServerEvent<'_>) -> Result<(), Closed> {
        self.metrics.events_out.inc(event.index());
        self.outbox.push(Frame::text(|buffer| self.codec.event(event, buffer)))
    }

    /// Sends the outcome of an event, where the client is to hear of it. A session that has ended
    /// needs no answer.
    pub fn outcome(
        &self,
        event: Option<&str>,
        ack: Option<u64>,
        result: &Result<Reply<'_>, Failure>,
    ) {
        if let Err(failure) = result {
            self.metrics.rejected.inc(failure.code as usize);
        } else if ack.is_none() {
            return;
        }
        let frame = Frame::text(|buffer| {
            self.codec.outcome(event, ack, result, buffer);
        });
        self.outbox.push(frame).ok();
    }
}

// === impl Place ===

impl Place {
    /// A wish for a place.
    pub fn new(peer: Arc<Peer>, order: OrderId, progress: Arc<AtomicI64>) -> Self {
        Self { peer, order, progress, settled: false }
    }

    /// The last chat message that went into the outbox.
    pub fn progress(&self) -> i64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Tells the session how it went; where that is an end, the place is given up.
    pub fn tell(&mut self, notice: RoomNotice) {
        self.settled |= !matches!(notice, RoomNotice::Entered { .. });
        self.peer.notices.do_send(notice);
    }

    /// Gives the place up without a word: the session knows.
    pub fn give_up(mut self) {
        self.settled = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.settled {
            self.peer.notices.do_send(RoomNotice::Lost { order: self.order.clone() });
        }
    }
}

// === impl Answer ===

impl Answer {
    /// For an event of this session.
    pub fn new(peer: Arc<Peer>, event: ClientEventName, ack: Option<u64>) -> Self {
        Self { peer, event, ack, given: false }
    }

    /// Whether the client asked for a reply.
    pub fn is_wanted(&self) -> bool {
        self.ack.is_some()
    }

    /// It worked.
    pub fn ok(self, reply: Reply<'_>) {
        self.give(&Ok(reply));
    }

    /// It was refused.
    pub fn refuse(self, failure: Failure) {
        self.give(&Err(failure));
    }

    fn give(mut self, result: &Result<Reply<'_>, Failure>) {
        self.given = true;
        self.peer.outcome(Some(self.event.as_str()), self.ack, result);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.given {
            let result = Err(unavailable("the room was interrupted"));
            self.peer.outcome(Some(self.event.as_str()), self.ack, &result);
        }
    }
}
