//! The replies to a position, which may go to several rooms and has one answer.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Answer, Peer};
use protocol::client::{ClientEventName, Reply};
use protocol::error::{ErrorCode, Failure};
use protocol::events::location::{Accepted, RejectedOrder};
use protocol::ids::OrderId;

/// How the outcome of a location in one room reaches the client. A location on its way is copied
/// more than once, so the other variants are boxed.
pub enum LocationReply {
    /// The client asked for no reply, and is only told of a refusal.
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
    /// Taken when the room's outcome is known.
    order: Option<OrderId>,
}

/// Collects the rooms' outcomes. It is dropped with the last part, and then sends the answer.
struct AckAggregator {
    /// Taken when it is sent.
    answer: Option<Answer>,
    outcomes: Mutex<Outcomes>,
}

#[derive(Default)]
struct Outcomes {
    accepted: usize,
    rejected: Vec<RejectedOrder>,
}

/// One reply for each of the orders; together they make one answer.
pub fn split_answer(answer: Answer, orders: &[OrderId]) -> impl Iterator<Item = LocationReply> {
    let aggregator = Arc::new(AckAggregator { answer: Some(answer), outcomes: Mutex::default() });
    orders.iter().map(move |order| {
        let (aggregator, order) = (Arc::clone(&aggregator), Some(order.clone()));
        LocationReply::Part(Box::new(AckPart { aggregator, order }))
    })
}

// === impl LocationReply ===

impl LocationReply {
    /// The room handled it: accepted, or dropped as too old.
    pub fn complete(self, accepted: bool) {
        match self {
            Self::NotRequested => {}
            Self::Single(answer) => {
                answer.ok(Reply::Location(Accepted {
                    accepted: usize::from(accepted),
                    rejected: &[],
                }));
            }
            Self::Part(mut part) => part.complete(Ok(accepted)),
        }
    }

    /// It was refused. `peer` is the session that sent it, where that is known.
    pub fn refuse(self, failure: Failure, peer: Option<&Peer>) {
        match self {
            Self::NotRequested => {
                if let Some(peer) = peer {
                    peer.outcome(Some(ClientEventName::Location.as_str()), None, &Err(failure));
                }
            }
            Self::Single(answer) => answer.refuse(failure),
            Self::Part(mut part) => part.complete(Err(failure.code)),
        }
    }
}

// === impl AckPart ===

impl AckPart {
    fn complete(&mut self, outcome: Result<bool, ErrorCode>) {
        let Some(order_id) = self.order.take() else { return };
        let outcomes = self.aggregator.outcomes.lock();
        let mut outcomes = outcomes.unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(accepted) => outcomes.accepted += usize::from(accepted),
            Err(code) => outcomes.rejected.push(RejectedOrder { order_id, code }),
        }
    }
}

impl Drop for AckPart {
    fn drop(&mut self) {
        self.complete(Err(ErrorCode::Unavailable));
    }
}

impl Drop for AckAggregator {
    fn drop(&mut self) {
        let outcomes = self.outcomes.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = self.answer.take() {
            answer.ok(Reply::Location(Accepted {
                accepted: outcomes.accepted,
                rejected: &outcomes.rejected,
            }));
        }
    }
}
