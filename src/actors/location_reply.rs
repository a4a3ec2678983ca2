//! One answer for one location that goes to several rooms.

use std::sync::{Arc, Mutex, PoisonError};

use super::peer::{Answer, Peer};
use protocol::client::ClientEventName;
use protocol::error::{ErrorCode, Failure};
use protocol::ids::OrderId;
use protocol::server::{RejectedOrder, Reply};

/// How the outcome of a location in one room reaches the client. A location on its way is copied
/// more than once, so the other variants are boxed.
pub enum LocationReply {
    /// The client asked for no reply, and is only told of a refusal by a room that knows the
    /// session.
    NotRequested,
    /// The location went to one room, which sends the answer itself.
    Single(Box<Answer>),
    /// The location went to several rooms; this is one room's part of the answer.
    Part(Box<AckPart>),
}

/// One room's part in an [`AckAggregator`]. If it is dropped unanswered, it counts as
/// `unavailable`.
pub struct AckPart {
    aggregator: Arc<AckAggregator>,
    order: OrderId,
    sent: bool,
}

/// Collects the rooms' outcomes; the last one sends the answer.
pub struct AckAggregator {
    sum: Mutex<AckTotals>,
}

struct AckTotals {
    answer: Option<Answer>,
    open: usize,
    accepted: usize,
    rejected: Vec<RejectedOrder>,
}

// === impl AckAggregator ===

impl AckAggregator {
    /// One reply for each of the orders; together they make one answer.
    pub fn split(answer: Answer, orders: &[OrderId]) -> Vec<LocationReply> {
        let sum =
            AckTotals { answer: Some(answer), open: orders.len(), accepted: 0, rejected: vec![] };
        let aggregator = Arc::new(Self { sum: Mutex::new(sum) });
        let part = |order: &OrderId| AckPart {
            aggregator: Arc::clone(&aggregator),
            order: order.clone(),
            sent: false,
        };
        orders.iter().map(|order| LocationReply::Part(Box::new(part(order)))).collect()
    }

    fn add(&self, order: &OrderId, reply: Result<bool, ErrorCode>) {
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        match reply {
            Ok(accepted) => sum.accepted += usize::from(accepted),
            Err(code) => sum.rejected.push(RejectedOrder { order_id: order.clone(), code }),
        }
        sum.open -= 1;
        if sum.open > 0 {
            return;
        }
        if let Some(answer) = sum.answer.take() {
            answer.ok(Reply::Accepted { accepted: sum.accepted, rejected: &sum.rejected });
        }
    }
}

// === impl LocationReply ===

impl LocationReply {
    /// The room handled it: accepted, or dropped as too old.
    pub fn complete(self, accepted: bool) {
        match self {
            Self::NotRequested => {}
            Self::Single(answer) => {
                answer.ok(Reply::Accepted { accepted: usize::from(accepted), rejected: &[] });
            }
            Self::Part(part) => part.complete(Ok(accepted)),
        }
    }

    /// The room refused it. `peer` is the session that sent it, where the room knows it.
    pub fn refuse(self, failure: Failure, peer: Option<&Peer>) {
        match self {
            Self::NotRequested => {
                if let Some(peer) = peer {
                    peer.outcome(Some(ClientEventName::Location.as_str()), None, &Err(failure));
                }
            }
            Self::Single(answer) => answer.refuse(failure),
            Self::Part(part) => part.complete(Err(failure.code)),
        }
    }
}

// === impl AckPart ===

impl AckPart {
    fn complete(mut self, reply: Result<bool, ErrorCode>) {
        self.sent = true;
        self.aggregator.add(&self.order, reply);
    }
}

impl Drop for AckPart {
    fn drop(&mut self) {
        if !self.sent {
            self.aggregator.add(&self.order, Err(ErrorCode::Unavailable));
        }
    }
}
