//! The orders that a location without `orderId` is for: those that the driver serves. They are read
//! when the first such location comes, and then kept up to date by order changes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use protocol::ids::OrderId;

/// How long locations do without the database's orders after a failed read.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The orders that back ends assigned to a user and that have not ended. `W` is a location that
/// waits for them.
#[derive(Debug)]
pub enum OpenOrders<W> {
    /// Not needed so far, or the read failed: then the earliest time of the next read.
    Unread(Option<Instant>),
    /// They are being read.
    Reading {
        /// Locations that wait for it.
        waiting: Vec<W>,
        /// Changes that arrived meanwhile, which the read may not contain: an order, and whether it
        /// is open.
        changes: Vec<(OrderId, bool)>,
    },
    /// They are known.
    Known(BTreeSet<OrderId>),
}

impl<W> OpenOrders<W> {
    /// Notes whether an order is open.
    pub fn set(&mut self, order: &OrderId, is_open: bool) {
        match self {
            // A later read will contain this.
            Self::Unread(_) => {}
            Self::Reading { changes, .. } => changes.push((order.clone(), is_open)),
            Self::Known(orders) if is_open => drop(orders.insert(order.clone())),
            Self::Known(orders) => drop(orders.remove(order)),
        }
    }

    /// Takes the outcome of the read. Returns the locations that waited for it.
    pub fn finish_read<E>(&mut self, orders: Result<Vec<OrderId>, E>, now: Instant) -> Vec<W> {
        let next = match orders {
            Ok(orders) => Self::Known(orders.into_iter().collect()),
            Err(_) => Self::Unread(Some(now + READ_AGAIN_AFTER)),
        };
        let Self::Reading { waiting, changes } = std::mem::replace(self, next) else {
            return Vec::new();
        };
        for (order, is_open) in changes {
            self.set(&order, is_open);
        }
        waiting
    }

    /// The orders, as far as they are known.
    pub fn known(&self) -> impl Iterator<Item = &OrderId> {
        let known = match self {
            Self::Known(orders) => Some(orders),
            Self::Unread(_) | Self::Reading { .. } => None,
        };
        known.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: &str) -> OrderId {
        id.parse().expect("id")
    }

    fn reading() -> OpenOrders<()> {
        OpenOrders::Reading { waiting: Vec::new(), changes: Vec::new() }
    }

    #[test]
    fn a_change_during_the_read_overrides_the_read() {
        let mut orders = reading();
        orders.set(&order("o1"), true);
        orders.set(&order("o2"), false);
        orders.finish_read(Ok::<_, ()>(vec![order("o2"), order("o3")]), Instant::now());
        assert_eq!(orders.known().map(OrderId::as_str).collect::<Vec<_>>(), ["o1", "o3"]);
    }

    #[test]
    fn a_failed_read_is_tried_again_later() {
        let (mut orders, now) = (reading(), Instant::now());
        orders.finish_read(Err(()), now);
        orders.set(&order("o1"), true);
        let OpenOrders::Unread(Some(again)) = orders else { panic!("not unread") };
        assert_eq!(again, now + READ_AGAIN_AFTER);
    }
}
