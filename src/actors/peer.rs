//! A session as rooms see it: where its frames go, in which codec, and where notices about it go.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use actix::Message;

use super::alarms::AlarmFired;
use super::order_room::RoomHandle;
use super::reachable::Reachable;
use super::resumes::TakeOver;
use crate::metrics::Metrics;
use crate::permits::{Permit, Permits};
use crate::session::resume::{PushLog, Unconfirmed};
use crate::transport::{Closed, Frame, Outbox};
use protocol::client::ClientEventName;
use protocol::codec::Codec;
use protocol::error::Failure;
use protocol::ids::{OrderId, SessionId};
use protocol::server::{Left, LeftReason, Reply, ServerEvent};

use super::shared::unavailable;
use super::supervisor::{Disconnect, UserOrderChanged};

/// What a room tells a session about its membership.
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
    /// The session was let in: from now on it sends to the room directly.
    Entered(Arc<RoomHandle>),
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

/// The address of a connection, with the messages that others may send it.
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
    /// The session's id.
    pub id: SessionId,
    /// Where its frames go.
    pub outbox: Outbox,
    /// How they are framed.
    pub codec: Codec,
    /// The connection, which gets notices about memberships, the user's orders and disconnects.
    pub connection: Arc<dyn ConnectionAddress>,
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

/// A session's membership of a room, requested or granted. If it is dropped unsettled, it tells the
/// session that the room is lost, so a session does not wait for a room that panicked.
pub struct MembershipGuard {
    /// The session.
    pub peer: Arc<Peer>,
    /// The room's order.
    pub order: OrderId,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The `seq` of the last chat message in the session's outbox. The next room of the order
    /// continues there.
    pub sent_seq: Arc<AtomicI64>,
    /// Held while the session catches up in this room: it limits how many rooms do so at once.
    /// Boxed, since few guards have one.
    catch_up_permit: Option<Box<Permit>>,
    settled: bool,
}

/// The pending reply to a client's event. If it is dropped unsent, it answers `unavailable`, so no
/// client waits for ever.
pub struct Answer {
    peer: Arc<Peer>,
    event: ClientEventName,
    ack: Option<u64>,
    /// Set for a join that the session has counted for this subscription.
    join: Option<(OrderId, SubscriptionId)>,
    /// The permit of a large answer that is under way.
    permit: Option<Permit>,
    sent: bool,
}

/// The reply to a client that leaves. It is sent when this is dropped, by the room or because the
/// room panicked: the client is out in any case.
pub struct LeaveReply {
    order: OrderId,
    /// Taken when it is sent.
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

    /// Whether the session has ended or its outbox is closed.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire) || self.outbox.is_closed()
    }

    /// The push log, locked.
    pub fn push_log(&self) -> Option<MutexGuard<'_, PushLog>> {
        let push_log = self.push_log.as_ref()?;
        // A panic under the lock may lose an entry; that message is then sent once more.
        Some(push_log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends the session a membership notice.
    fn notify(&self, order: OrderId, subscription: SubscriptionId, event: MembershipEvent) {
        self.connection.tell(MembershipNotice { session: self.id, order, subscription, event });
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
}

// === impl MembershipGuard ===

impl MembershipGuard {
    /// A guard for a session that asks to enter.
    pub fn new(
        peer: Arc<Peer>,
        order: OrderId,
        subscription: SubscriptionId,
        sent_seq: Arc<AtomicI64>,
    ) -> Self {
        Self { peer, order, subscription, sent_seq, catch_up_permit: None, settled: false }
    }

    /// Attaches the permit of a session that catches up in few rooms at once.
    #[must_use]
    pub fn with_catch_up_permit(mut self, catch_up_permit: Option<Permit>) -> Self {
        self.catch_up_permit = catch_up_permit.map(Box::new);
        self
    }

    /// The session has caught up here: its permit goes to the next room.
    pub fn finish_catch_up(&mut self) {
        if self.catch_up_permit.take().is_some() {
            self.peer.notify(self.order.clone(), self.subscription, MembershipEvent::CaughtUp);
        }
    }

    /// The `seq` of the last chat message in the outbox.
    pub fn sent_seq(&self) -> i64 {
        self.sent_seq.load(Ordering::Relaxed)
    }

    /// Sends a chat message and logs the push.
    ///
    /// Both happen under one lock where the client can resume: rooms on several threads push to one
    /// client, and the last message that it saw must imply all messages before.
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

    /// Notes what is about to be sent, before it goes into the outbox. If the connection is lost,
    /// what the client did not get is sent again.
    pub fn begin_send(&self, unconfirmed: Unconfirmed) {
        if let Some(mut push_log) = self.peer.push_log() {
            push_log.begin_send(self.subscription.0, unconfirmed);
        }
    }

    /// Notes that what was begun is in the outbox.
    pub fn mark_sent(&self) {
        if let Some(mut push_log) = self.peer.push_log() {
            push_log.mark_sent(self.subscription.0, Instant::now());
        }
    }

    /// What was begun and is not in the outbox.
    pub fn unsent(&self) -> Unconfirmed {
        self.peer
            .push_log()
            .map(|push_log| push_log.unsent(self.subscription.0))
            .unwrap_or_default()
    }

    /// Sends the session an event. Every event but `Entered` settles the guard.
    pub fn notify(&mut self, event: MembershipEvent) {
        if !matches!(event, MembershipEvent::Entered(_)) {
            self.settled = true;
            self.catch_up_permit = None;
        }
        let (order, subscription) = (self.order.clone(), self.subscription);
        self.peer.notify(order, subscription, event);
    }

    /// Gives the membership up without a notice: the session knows.
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
    /// An answer to an event of this session.
    pub fn new(peer: Arc<Peer>, event: ClientEventName, ack: Option<u64>) -> Self {
        Self { peer, event, ack, join: None, permit: None, sent: false }
    }

    /// Attaches the permit of a large answer, held until the answer is in the outbox.
    #[must_use]
    pub fn with_permit(mut self, permit: Permit) -> Self {
        self.permit = Some(permit);
        self
    }

    /// Marks a join that its session has counted: a refusal takes the count back.
    #[must_use]
    pub fn for_counted_join(mut self, order: OrderId, subscription: SubscriptionId) -> Self {
        self.join = Some((order, subscription));
        self
    }

    /// Whether the client asked for a reply.
    pub fn is_wanted(&self) -> bool {
        self.ack.is_some()
    }

    /// Reports success.
    pub fn ok(self, reply: Reply<'_>) {
        self.send(&Ok(reply));
    }

    /// Reports a refusal.
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
    /// A reply to a leave that ends the last join.
    pub fn new(order: OrderId, answer: Answer) -> Self {
        Self { order, answer: Some(answer) }
    }
}

impl Drop for LeaveReply {
    fn drop(&mut self) {
        let Some(answer) = self.answer.take() else { return };
        if !answer.is_wanted() {
            let left = Left { order_id: &self.order, reason: LeftReason::Requested };
            // A session that has ended needs no event.
            answer.peer.tell(&ServerEvent::Left(left)).ok();
        }
        answer.ok(Reply::Left { remaining: 0 });
    }
}
