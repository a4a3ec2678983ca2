//! Last positions that wait to be written: one per order, the newest.

use std::collections::HashMap;
use std::time::Instant;

use tokio::sync::oneshot;

use super::StoreError;
use super::admission::Permit;
use crate::ids::OrderId;
use crate::protocol::location::Position;

/// Who is told when a position is written.
pub(super) type Done = oneshot::Sender<Result<(), StoreError>>;

/// A position with all who asked for it, or for an older one in its place.
pub(super) struct WaitingPosition {
    pub(super) position: Position,
    /// Each keeps its permit until it is told, so that these are bounded too.
    pub(super) askers: Vec<(Done, Permit)>,
}

/// The positions that wait.
#[derive(Default)]
pub(super) struct Positions {
    by_order: HashMap<OrderId, WaitingPosition>,
    /// When the first of them began to wait.
    since: Option<Instant>,
}

// === impl Positions ===

impl Positions {
    pub(super) fn put(
        &mut self,
        order: OrderId,
        position: Position,
        done: Done,
        permit: Permit,
        now: Instant,
    ) {
        self.since.get_or_insert(now);
        let asker = (done, permit);
        if let Some(waiting) = self.by_order.get_mut(&order) {
            if waiting.position.timestamp <= position.timestamp {
                waiting.position = position;
            }
            waiting.askers.push(asker);
        } else {
            self.by_order.insert(order, WaitingPosition { position, askers: vec![asker] });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_order.is_empty()
    }

    /// When the oldest began to wait.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Takes up to `most`; the others begin to wait anew.
    pub(super) fn take(&mut self, most: usize, now: Instant) -> Vec<(OrderId, WaitingPosition)> {
        let taken = if self.by_order.len() <= most {
            std::mem::take(&mut self.by_order).into_iter().collect()
        } else {
            let orders: Vec<_> = self.by_order.keys().take(most).cloned().collect();
            orders.into_iter().filter_map(|order| self.by_order.remove_entry(&order)).collect()
        };
        self.since = (!self.by_order.is_empty()).then_some(now);
        taken
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::gauge::Gauge;

    use super::super::admission::Gate;
    use super::*;
    use crate::ids::UserId;
    use crate::time::Timestamp;

    fn at(ms: i64) -> Position {
        Position {
            lat: 1.0,
            lng: 2.0,
            timestamp: Timestamp::from_millis(ms),
            driver_id: UserId::new("d").expect("an id"),
            accuracy: None,
            heading: None,
            speed: None,
            altitude: None,
            recorded_at: None,
        }
    }

    #[test]
    fn the_newest_of_an_order_waits_and_all_askers_with_it() {
        let gate = Gate::new(10, usize::MAX, Gauge::default());
        let (mut positions, now) = (Positions::default(), Instant::now());
        for (order, ms) in [("a", 2), ("a", 3), ("a", 1), ("b", 1)] {
            let order = OrderId::new(order).expect("an id");
            let permit = gate.enter(0).expect("room");
            positions.put(order, at(ms), oneshot::channel().0, permit, now);
        }
        assert_eq!((gate.inside(), positions.since()), (4, Some(now)));
        let later = now + std::time::Duration::from_secs(1);
        let mut taken = positions.take(1, later);
        assert_eq!((taken.len(), positions.since()), (1, Some(later)));
        taken.extend(positions.take(9, later));
        assert_eq!((positions.is_empty(), positions.since()), (true, None));
        taken.sort_by(|one, other| one.0.cmp(&other.0));
        let newest: Vec<_> = taken.iter().map(|(_, waiting)| waiting.position.clone()).collect();
        assert_eq!(newest, [at(3), at(1)]);
        drop(taken);
        assert!(gate.is_idle());
    }
}
