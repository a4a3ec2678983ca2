//! The orders that refused a session a moment ago, so that a repeated join costs nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use protocol::error::{ErrorCode, Failure};
use protocol::ids::OrderId;

/// How long a refusal is remembered.
const REFUSAL_MEMORY: Duration = Duration::from_secs(60);
/// How many refusals are remembered.
const MAX_REFUSALS: usize = 256;

/// Recent refusals of a session, by order.
#[derive(Debug, Default)]
pub struct Refusals {
    orders: HashMap<OrderId, (Instant, Failure)>,
}

impl Refusals {
    /// Remembers a refusal, if it is not a temporary one.
    pub fn remember(&mut self, order: OrderId, failure: &Failure, now: Instant) {
        if !matches!(failure.code, ErrorCode::Forbidden | ErrorCode::NotFound) {
            return;
        }
        if self.orders.len() >= MAX_REFUSALS {
            self.orders.retain(|_, (at, _)| now < *at + REFUSAL_MEMORY);
        }
        if self.orders.len() >= MAX_REFUSALS {
            self.orders.clear();
        }
        self.orders.insert(order, (now, failure.clone()));
    }

    /// The recent refusal of an order.
    pub fn find(&self, order: &OrderId, now: Instant) -> Option<&Failure> {
        let (at, failure) = self.orders.get(order)?;
        (now < *at + REFUSAL_MEMORY).then_some(failure)
    }

    /// Forgets a refusal, because the answer may have changed.
    pub fn forget(&mut self, order: &OrderId) {
        self.orders.remove(order);
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.orders.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_for_a_minute_and_an_outage_is_not() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let order: OrderId = "o1".parse().expect("id");
        refusals.remember(order.clone(), &Failure::unavailable("down", REFUSAL_MEMORY), now);
        assert!(refusals.find(&order, now).is_none());
        refusals.remember(order.clone(), &Failure::forbidden(), now);
        assert!(refusals.find(&order, now + Duration::from_secs(59)).is_some());
        assert!(refusals.find(&order, now + REFUSAL_MEMORY).is_none());
    }

    #[test]
    fn the_number_of_remembered_refusals_is_bounded() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        for number in 0..10_000 {
            let order: OrderId = format!("o{number}").parse().expect("id");
            refusals.remember(order, &Failure::forbidden(), now);
        }
        assert!(refusals.orders.len() <= MAX_REFUSALS);
    }
}
