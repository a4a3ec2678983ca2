//! How much the demo may do: its calls ask nobody for a token, and make orders.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::rate_limit::quota::{Meter, Quota};
use protocol::error::{ErrorCode, Failure};
use protocol::ids::OrderId;

/// Calls a second, of all pages together, and at once.
const PER_SECOND: u32 = 5;
const BURST: u32 = 30;
/// Orders in the life of a hub.
const MAX_ORDERS: usize = 100;

/// What the demo has done since the hub was started.
#[derive(Debug)]
pub struct DemoLimits {
    since: Instant,
    calls: Meter,
    orders: Mutex<BTreeSet<OrderId>>,
}

impl DemoLimits {
    /// Nothing is used yet.
    pub fn new(now: Instant) -> Self {
        Self { since: now, calls: Meter::default(), orders: Mutex::default() }
    }

    /// Takes one call from the rate.
    ///
    /// # Errors
    /// `rate_limited`, with the time until the next one.
    pub(super) fn take_call(&self, now: Instant) -> Result<(), Failure> {
        let elapsed = now.duration_since(self.since).as_nanos();
        let quota = Quota::new(PER_SECOND, BURST);
        self.calls.take(quota, u64::try_from(elapsed).unwrap_or(u64::MAX)).map_err(|nanos| {
            Failure::new(ErrorCode::RateLimited, "too many calls of the demo")
                .retry_after(Duration::from_nanos(nanos))
        })
    }

    /// Notes an order of the demo.
    ///
    /// # Errors
    /// `rate_limited` beyond the most.
    pub(super) fn note_order(&self, order: &OrderId) -> Result<(), Failure> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.len() >= MAX_ORDERS && !orders.contains(order) {
            let message = "the demo has had 100 orders since the hub was started";
            return Err(Failure::new(ErrorCode::RateLimited, message));
        }
        orders.insert(order.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_a_rate() {
        let start = Instant::now();
        let limits = DemoLimits::new(start);
        for _ in 0..BURST {
            limits.take_call(start).expect("within the burst");
        }
        let refused = limits.take_call(start).expect_err("over the rate");
        assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::RateLimited, Some(200)));
        limits.take_call(start + Duration::from_millis(200)).expect("its turn");
    }

    #[test]
    fn orders_have_a_bound_and_known_ones_stay() {
        let limits = DemoLimits::new(Instant::now());
        let order = |number: usize| format!("demo-{number}").parse::<OrderId>().expect("an id");
        for number in 0..MAX_ORDERS {
            limits.note_order(&order(number)).expect("within the bound");
        }
        assert!(limits.note_order(&order(MAX_ORDERS)).is_err());
        limits.note_order(&order(0)).expect("a known one");
    }
}
