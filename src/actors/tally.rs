//! One answer for one location that goes to several rooms.

use std::sync::{Arc, Mutex, PoisonError};

use super::peer::{Answer, Peer};
use crate::ids::OrderId;
use crate::protocol::client::ClientEventName;
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::server::{RejectedOrder, Reply};

/// How a location's verdict in one room reaches the client.
pub enum Verdict {
    /// The client asked for none, and hears of a refusal only, from a room that knows it. A position
    /// on its way is copied more than once, so what the others need is not part of it.
    Unasked,
    /// The only room: the answer itself.
    Alone(Box<Answer>),
    /// One of several.
    Share(Box<Share>),
}

/// One room's part in a [`Tally`]; dropped without a word it counts as `unavailable`.
pub struct Share {
    tally: Arc<Tally>,
    order: OrderId,
    given: bool,
}

/// Counts what the rooms say; the last one sends the answer.
pub struct Tally {
    sum: Mutex<Sum>,
}

struct Sum {
    answer: Option<Answer>,
    open: usize,
    accepted: usize,
    rejected: Vec<RejectedOrder>,
}

// === impl Tally ===

impl Tally {
    /// A verdict for each of the orders, all of which make one answer.
    pub fn split(answer: Answer, orders: &[OrderId]) -> Vec<Verdict> {
        let sum = Sum { answer: Some(answer), open: orders.len(), accepted: 0, rejected: vec![] };
        let tally = Arc::new(Self { sum: Mutex::new(sum) });
        let share = |order: &OrderId| Share {
            tally: Arc::clone(&tally),
            order: order.clone(),
            given: false,
        };
        orders.iter().map(|order| Verdict::Share(Box::new(share(order)))).collect()
    }

    fn add(&self, order: &OrderId, verdict: Result<bool, ErrorCode>) {
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        match verdict {
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

// === impl Verdict ===

impl Verdict {
    /// The room looked at it: accepted, or dropped as too old.
    pub fn taken(self, accepted: bool) {
        match self {
            Self::Unasked => {}
            Self::Alone(answer) => {
                answer.ok(Reply::Accepted { accepted: usize::from(accepted), rejected: &[] });
            }
            Self::Share(share) => share.give(Ok(accepted)),
        }
    }

    /// The room refused it; `peer` is who sent it, where the room knows.
    pub fn refuse(self, failure: Failure, peer: Option<&Peer>) {
        match self {
            Self::Unasked => {
                if let Some(peer) = peer {
                    peer.outcome(Some(ClientEventName::Location.as_str()), None, &Err(failure));
                }
            }
            Self::Alone(answer) => answer.refuse(failure),
            Self::Share(share) => share.give(Err(failure.code)),
        }
    }
}

// === impl Share ===

impl Share {
    fn give(mut self, verdict: Result<bool, ErrorCode>) {
        self.given = true;
        self.tally.add(&self.order, verdict);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if !self.given {
            self.tally.add(&self.order, Err(ErrorCode::Unavailable));
        }
    }
}
