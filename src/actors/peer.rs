//! A session as rooms see it: where its frames go, in which codec, and where notices about its
//! memberships go.

mod answer;
mod location_reply;
mod membership_guard;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::Message;

pub use self::answer::{Answer, LeaveReply};
pub use self::location_reply::{LocationReply, split_answer};
pub use self::membership_guard::MembershipGuard;
use super::reachable::Reachable;
use crate::metrics::Metrics;
use crate::permits::Permits;
use crate::session::resume::PushLog;
use protocol::client::Reply;
use protocol::codec::Codec;
use protocol::error::Failure;
use protocol::ids::{OrderId, SessionId};
use protocol::server::ServerEvent;
use transport::{Closed, Frame, Outbox};

/// What a session is told about its subscription to a room after it asked to enter. That it was let
/// in is a message of the room's own, which brings the room's address.
#[derive(Message)]
#[rtype(result = "()")]
pub struct MembershipNotice {
    /// The session on that connection.
    pub session: SessionId,
    /// The order.
    pub order: OrderId,
    /// The subscription that this is about. The session ignores notices of an old one.
    pub subscription: SubscriptionId,
    /// What happened.
    pub event: MembershipEvent,
}

/// What happened to a session's subscription to a room.
pub enum MembershipEvent {
    /// The session was not let in.
    Refused(Failure),
    /// The session has all that it missed in the room.
    CaughtUp,
    /// The session was removed; its client was told.
    Removed,
    /// A join was refused, so it does not count.
    JoinRefused,
    /// The room panicked, or could not keep the session.
    RoomLost,
}

/// The number of a subscription to a room. A session never uses a number twice, so a notice about
/// an old subscription is not taken for one about the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscriptionId(pub u64);

/// The part of a session that rooms hold.
pub struct Peer {
    /// The session's id.
    pub id: SessionId,
    /// Where its frames go.
    pub outbox: Outbox,
    /// How they are framed.
    pub codec: Codec,
    /// Its connection.
    pub connection: Arc<dyn Reachable<MembershipNotice>>,
    /// The counters of refusals and events.
    pub metrics: Arc<Metrics>,
    /// Permits for the snapshots and pages that may be on their way to it at once.
    pub reply_permits: Permits,
    /// Set when the session ends. The connection may continue with another session.
    pub ended: AtomicBool,
    /// The chat that was pushed to it. Present where its client can resume.
    pub push_log: Option<Box<Mutex<PushLog>>>,
    /// How many pushes the log keeps at most: as many as the outbox may hold.
    pub max_pushes: usize,
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

    /// Whether the session has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether nothing reaches the client any more: the session has ended or its outbox is closed.
    pub fn is_gone(&self) -> bool {
        self.has_ended() || self.outbox.is_closed()
    }

    /// The push log, locked.
    pub fn push_log(&self) -> Option<MutexGuard<'_, PushLog>> {
        let push_log = self.push_log.as_ref()?;
        // A panic under the lock may lose an entry; that message is then sent once more.
        Some(push_log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends the outcome of an event, where the client asked for it or it is a refusal. A session
    /// that has ended needs no answer.
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

    fn notify(&self, order: OrderId, subscription: SubscriptionId, event: MembershipEvent) {
        self.connection.tell(MembershipNotice { session: self.id, order, subscription, event });
    }
}
