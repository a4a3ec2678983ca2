//! The replies to a client's events. Each is sent once, also where the room that owes it panics.

use std::sync::Arc;

use super::{MembershipEvent, Peer, SubscriptionId};
use crate::actors::shared::unavailable;
use crate::permits::Permit;
use protocol::client::{ClientEventName, Reply};
use protocol::error::Failure;
use protocol::events::leave::{Left, LeftReason, Remaining};
use protocol::ids::OrderId;
use protocol::server::ServerEvent;

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

// === impl Answer ===

impl Answer {
    /// An answer to an event of this session.
    pub fn new(peer: Arc<Peer>, event: ClientEventName, ack: Option<u64>) -> Self {
        Self { peer, event, ack, join: None, permit: None, sent: false }
    }

    /// Attaches the permit of a large answer, held until the answer is in the outbox.
    pub fn hold(&mut self, permit: Permit) {
        self.permit = Some(permit);
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
    pub fn ok(mut self, reply: Reply<'_>) {
        self.send(&Ok(reply));
    }

    /// Reports a refusal.
    pub fn refuse(mut self, failure: Failure) {
        self.send(&Err(failure));
    }

    fn send(&mut self, result: &Result<Reply<'_>, Failure>) {
        self.sent = true;
        self.peer.outcome(Some(self.event.as_str()), self.ack, result);
        if let (Some((order, subscription)), Err(_)) = (self.join.take(), result) {
            self.peer.notify(order, subscription, MembershipEvent::JoinRefused);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.sent {
            self.send(&Err(unavailable("the room was interrupted")));
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
        answer.ok(Reply::Leave(Remaining { remaining: 0 }));
    }
}
