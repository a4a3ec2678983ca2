//! A session as rooms see it: where its frames go, in which framing, and who hears of changes.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use actix::Message;

use super::alarms::AlarmFired;
use super::order_room::RoomHandle;
use super::reachable::Reachable;
use super::resumes::TakeOver;
use crate::ids::{OrderId, SessionId};
use crate::metrics::Metrics;
use crate::permits::{Permit, Permits};
use crate::protocol::client::ClientEventName;
use crate::protocol::codec::Codec;
use crate::protocol::error::Failure;
use crate::protocol::server::{Left, LeftReason, Reply, ServerEvent};
use crate::session::resume::{PushLog, Unconfirmed};
use crate::transport::{Closed, Frame, Outbox};

use super::shared::unavailable;
use super::supervisor::{Disconnect, UserOrderChanged};

/// What a room tells a session about its place there.
#[derive(Message)]
#[rtype(result = "()")]
pub struct MembershipNotice {
    /// For which session of the connection.
    pub session: SessionId,
    /// Which order.
    pub order: OrderId,
    /// Which of the subscriptions that the session has had to it; news of an old one are no news.
    pub subscription: SubscriptionId,
    /// What there is to say.
    pub event: MembershipEvent,
}

/// What became of a session's subscription to a room.
pub enum MembershipEvent {
    /// The session is in: from now on it talks to the room directly.
    Entered(Arc<RoomHandle>),
    /// The session was not let in.
    Refused(Failure),
    /// The session has all that it had missed in the room.
    CaughtUp,
    /// The session was in, and is no longer; its client was told.
    Removed,
    /// A join was answered with a refusal, so it does not count.
    JoinRefused,
    /// The room is gone without a word: it panicked, or could not keep the session.
    RoomLost,
}

/// A subscription of a session to a room; never used twice in a session, so that what is said of one that
/// is over cannot be taken for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscriptionId(pub u64);

/// What others may tell a session.
pub trait ConnectionAddress:
    Reachable<MembershipNotice>
    + Reachable<UserOrderChanged>
    + Reachable<Disconnect>
    + Reachable<TakeOver>
    + Reachable<AlarmFired>
{
}

impl<T> ConnectionAddress for T where
    T: Reachable<MembershipNotice>
        + Reachable<UserOrderChanged>
        + Reachable<Disconnect>
        + Reachable<TakeOver>
        + Reachable<AlarmFired>
{
}

/// The part of a session that rooms hold.
pub struct Peer {
    /// Which session.
    pub id: SessionId,
    /// Where its frames go.
    pub outbox: Outbox,
    /// How they are framed.
    pub codec: Codec,
    /// Who hears of its place in rooms, of orders that concern its user, and of its end.
    pub connection: Arc<dyn ConnectionAddress>,
    /// Where refusals and events are counted.
    pub metrics: Arc<Metrics>,
    /// Snapshots and pages that may be on their way to it at once.
    pub reply_permits: Permits,
    /// Set when the session ends; its connection may go on with another one.
    pub ended: AtomicBool,
    /// The chat that was pushed to it, where its client can come back for what it has missed.
    pub push_log: Option<Box<Mutex<PushLog>>>,
    /// How many of them are kept, at most: as many as its outbox may hold.
    pub max_pushes: usize,
}

/// A session's membership of a room, asked for or granted. Dropped without a word, it tells the
/// session that the room is lost: so nobody waits for a room that panicked.
pub struct MembershipGuard {
    /// Whose place it is.
    pub peer: Arc<Peer>,
    /// In which room.
    pub order: OrderId,
    /// By which subscription.
    pub subscription: SubscriptionId,
    /// The last chat message that went into the session's outbox; the next room goes on there.
    pub sent_seq: Arc<AtomicI64>,
    /// Its turn among the rooms that bring the session up to date, until this one has. Boxed: hardly
    /// any place has one.
    catch_up_permit: Option<Box<Permit>>,
    settled: bool,
}

/// An event that waits for its outcome. Dropped without one, it answers `unavailable`: so no
/// client waits for ever.
pub struct Answer {
    peer: Arc<Peer>,
    event: ClientEventName,
    ack: Option<u64>,
    /// The subscription for which it is a join that the session has counted.
    join: Option<(OrderId, SubscriptionId)>,
    /// Its place among the large answers that are under way.
    permit: Option<Permit>,
    sent: bool,
}

/// What a client hears when it has left, by the room or, where that panics first, when this is
/// dropped: one who wants to leave is out in any case.
pub struct LeaveReply {
    order: OrderId,
    /// Taken when it is said.
    answer: Option<Answer>,
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

    /// Whether nothing more is for it.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire) || self.outbox.is_closed()
    }

    /// The chat that was pushed to it, locked.
    pub fn push_log(&self) -> Option<MutexGuard<'_, PushLog>> {
        let push_log = self.push_log.as_ref()?;
        // A panic under the lock may cost a note; what is missing is then sent once more.
        Some(push_log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the session about its place in a room.
    fn notify(&self, order: OrderId, subscription: SubscriptionId, event: MembershipEvent) {
        self.connection.tell(MembershipNotice { session: self.id, order, subscription, event });
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

// === impl MembershipGuard ===

impl MembershipGuard {
    /// For a session that asks to be let in.
    pub fn new(
        peer: Arc<Peer>,
        order: OrderId,
        subscription: SubscriptionId,
        sent_seq: Arc<AtomicI64>,
    ) -> Self {
        Self { peer, order, subscription, sent_seq, catch_up_permit: None, settled: false }
    }

    /// The same of a session that takes its rooms in turns.
    #[must_use]
    pub fn with_catch_up_permit(mut self, catch_up_permit: Option<Permit>) -> Self {
        self.catch_up_permit = catch_up_permit.map(Box::new);
        self
    }

    /// The session has all that it had missed here: it is the next room's turn.
    pub fn finish_catch_up(&mut self) {
        if self.catch_up_permit.take().is_some() {
            self.peer.notify(self.order.clone(), self.subscription, MembershipEvent::CaughtUp);
        }
    }

    /// The last chat message that went into the outbox.
    pub fn sent_seq(&self) -> i64 {
        self.sent_seq.load(Ordering::Relaxed)
    }

    /// Sends a chat message and notes that it was sent.
    ///
    /// Both under one lock, where the client can come back: rooms of several threads push to one
    /// client, and by the last message that it saw everything before must be known to be seen.
    ///
    /// # Errors
    /// [`Closed`] where the session has ended.
    pub fn push_chat(&self, outbox: &Outbox, frame: Frame, seq: i64) -> Result<(), Closed> {
        let push_log = self.peer.push_log();
        outbox.push(frame)?;
        self.sent_seq.store(seq, Ordering::Relaxed);
        if let Some(mut push_log) = push_log {
            push_log.push(self.subscription.0, seq, self.peer.max_pushes);
        }
        Ok(())
    }

    /// The client is owed this, from before it goes into the outbox: should the connection be lost,
    /// what it did not get is sent again.
    pub fn begin_send(&self, unconfirmed: Unconfirmed) {
        if let Some(mut push_log) = self.peer.push_log() {
            push_log.begin_send(self.subscription.0, unconfirmed);
        }
    }

    /// What was owed is in the outbox.
    pub fn mark_sent(&self) {
        if let Some(mut push_log) = self.peer.push_log() {
            push_log.mark_sent(self.subscription.0, Instant::now());
        }
    }

    /// What is owed and is not in the outbox.
    pub fn unsent(&self) -> Unconfirmed {
        self.peer
            .push_log()
            .map(|push_log| push_log.unsent(self.subscription.0))
            .unwrap_or_default()
    }

    /// Tells the session how it went; where that is an end, the place is given up.
    pub fn notify(&mut self, event: MembershipEvent) {
        if !matches!(event, MembershipEvent::Entered(_)) {
            self.settled = true;
            self.catch_up_permit = None;
        }
        let (order, subscription) = (self.order.clone(), self.subscription);
        self.peer.notify(order, subscription, event);
    }

    /// Gives the place up without a word: the session knows.
    pub fn release(mut self) {
        self.settled = true;
        self.finish_catch_up();
    }
}

impl Drop for MembershipGuard {
    fn drop(&mut self) {
        if !self.settled {
            self.notify(MembershipEvent::RoomLost);
        }
    }
}

// === impl Answer ===

impl Answer {
    /// For an event of this session.
    pub fn new(peer: Arc<Peer>, event: ClientEventName, ack: Option<u64>) -> Self {
        Self { peer, event, ack, join: None, permit: None, sent: false }
    }

    /// The same for a large answer, which has a place until it is in the outbox.
    #[must_use]
    pub fn with_permit(mut self, permit: Permit) -> Self {
        self.permit = Some(permit);
        self
    }

    /// The same for a join that its session has counted: a refusal takes it back.
    #[must_use]
    pub fn for_counted_join(mut self, order: OrderId, subscription: SubscriptionId) -> Self {
        self.join = Some((order, subscription));
        self
    }

    /// Whether the client asked for a reply.
    pub fn is_wanted(&self) -> bool {
        self.ack.is_some()
    }

    /// It worked.
    pub fn ok(self, reply: Reply<'_>) {
        self.send(&Ok(reply));
    }

    /// It was refused.
    pub fn refuse(self, failure: Failure) {
        self.send(&Err(failure));
    }

    fn send(mut self, result: &Result<Reply<'_>, Failure>) {
        self.sent = true;
        self.tell(result);
    }

    fn tell(&mut self, result: &Result<Reply<'_>, Failure>) {
        self.peer.outcome(Some(self.event.as_str()), self.ack, result);
        if let (Some((order, subscription)), Err(_)) = (self.join.take(), result) {
            self.peer.notify(order, subscription, MembershipEvent::JoinRefused);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.sent {
            self.tell(&Err(unavailable("the room was interrupted")));
        }
    }
}

// === impl LeaveReply ===

impl LeaveReply {
    /// For a leave that ends the last join.
    pub fn new(order: OrderId, answer: Answer) -> Self {
        Self { order, answer: Some(answer) }
    }
}

impl Drop for LeaveReply {
    fn drop(&mut self) {
        let Some(answer) = self.answer.take() else { return };
        if !answer.is_wanted() {
            let left = Left { order_id: &self.order, reason: LeftReason::Requested };
            // A session that has ended needs no farewell.
            answer.peer.tell(&ServerEvent::Left(left)).ok();
        }
        answer.ok(Reply::Left { remaining: 0 });
    }
}
