//! A session's membership of a room, and what is noted about it while frames are sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use super::{MembershipEvent, Peer, SubscriptionId};
use crate::permits::Permit;
use crate::session::resume::Unconfirmed;
use protocol::ids::OrderId;
use transport::{Closed, Frame, Outbox};

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

impl MembershipGuard {
    /// A guard for a session that asks to enter; with a permit, where the session catches up in few
    /// rooms at once.
    pub fn new(
        peer: Arc<Peer>,
        order: OrderId,
        subscription: SubscriptionId,
        sent_seq: Arc<AtomicI64>,
        catch_up_permit: Option<Permit>,
    ) -> Self {
        let catch_up_permit = catch_up_permit.map(Box::new);
        Self { peer, order, subscription, sent_seq, catch_up_permit, settled: false }
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

    /// Ends the membership, and tells the session why.
    pub fn end(mut self, event: MembershipEvent) {
        self.settle(event);
    }

    /// Gives the membership up without a notice: the session knows.
    pub fn release(mut self) {
        self.settled = true;
        self.finish_catch_up();
    }

    fn settle(&mut self, event: MembershipEvent) {
        self.settled = true;
        self.catch_up_permit = None;
        self.peer.notify(self.order.clone(), self.subscription, event);
    }
}

impl Drop for MembershipGuard {
    fn drop(&mut self) {
        if !self.settled {
            self.settle(MembershipEvent::RoomLost);
        }
    }
}
