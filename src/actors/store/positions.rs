//! Positions that wait to be written: of each order the newest as its last, and points of trails.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use tokio::sync::oneshot;

use super::StoreError;
use super::admission::Permit;
use crate::ids::OrderId;
use crate::metrics::Metrics;
use crate::protocol::location::Position;

/// The most points of one transaction, and what one asker adds to that.
pub(super) const MAX_POINTS: usize = 500;

/// Who is told when a position is written; nobody, where it is written behind.
pub(super) type Done = Option<oneshot::Sender<Result<(), StoreError>>>;

/// A position with all who asked for it, or for an older one in its place.
pub(super) struct WaitingPosition {
    pub(super) position: Position,
    /// Each keeps its permit until it is told, so that these are bounded too.
    pub(super) askers: Vec<(Done, Permit)>,
}

/// Points of one order's trail.
pub(super) struct WaitingPoints {
    pub(super) order: OrderId,
    pub(super) points: Vec<Position>,
    pub(super) done: Done,
    pub(super) permit: Permit,
}

/// What is written in one transaction.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) lasts: Vec<(OrderId, WaitingPosition)>,
    pub(super) trail: Vec<WaitingPoints>,
}

/// The positions that wait.
#[derive(Default)]
pub(super) struct Positions {
    by_order: HashMap<OrderId, WaitingPosition>,
    /// In the order in which they came.
    trail: VecDeque<WaitingPoints>,
    /// From when on the first of them may be written.
    due: Option<Instant>,
}

// === impl Positions ===

impl Positions {
    /// A last position, to be written from `due` on.
    pub(super) fn put(
        &mut self,
        order: OrderId,
        position: Position,
        done: Done,
        permit: Permit,
        due: Instant,
    ) {
        self.is_due_at(due);
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

    /// Points, to be written from `due` on.
    pub(super) fn extend(&mut self, points: WaitingPoints, due: Instant) {
        self.is_due_at(due);
        self.trail.push_back(points);
    }

    fn is_due_at(&mut self, due: Instant) {
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_order.is_empty() && self.trail.is_empty()
    }

    /// From when on there is something to be written.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes up to `most` last positions, and [`MAX_POINTS`]; the others begin to wait anew.
    pub(super) fn take(&mut self, most: usize, now: Instant) -> Taken {
        let lasts = if self.by_order.len() <= most {
            std::mem::take(&mut self.by_order).into_iter().collect()
        } else {
            let orders: Vec<_> = self.by_order.keys().take(most).cloned().collect();
            orders.into_iter().filter_map(|order| self.by_order.remove_entry(&order)).collect()
        };
        let (mut trail, mut count) = (Vec::new(), 0);
        while count < MAX_POINTS {
            let Some(points) = self.trail.pop_front() else { break };
            count += points.points.len();
            trail.push(points);
        }
        self.due = (!self.is_empty()).then_some(now);
        Taken { lasts, trail }
    }
}

// === impl Taken ===

impl Taken {
    /// Tells everybody what became of theirs.
    pub(super) fn answer(self, result: &Result<(), StoreError>, metrics: &Metrics) {
        let of_lasts = self.lasts.into_iter().flat_map(|(_, waiting)| waiting.askers);
        let of_trail = self.trail.into_iter().map(|points| (points.done, points.permit));
        for (done, permit) in of_lasts.chain(of_trail) {
            match done {
                // Whoever no longer wants to know has dropped the other half.
                Some(done) => drop(done.send(result.clone())),
                None if result.is_err() => drop(metrics.positions_lost.inc()),
                None => {}
            }
            drop(permit);
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::gauge::Gauge;

    use super::super::admission::Gate;
    use super::*;
    use crate::ids::UserId;
    use crate::metrics::Vocabulary;
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
            positions.put(order, at(ms), None, permit, now);
        }
        assert_eq!((gate.inside(), positions.due()), (4, Some(now)));
        let later = now + std::time::Duration::from_secs(1);
        let mut taken = positions.take(1, later).lasts;
        assert_eq!((taken.len(), positions.due()), (1, Some(later)));
        taken.extend(positions.take(9, later).lasts);
        assert_eq!((positions.is_empty(), positions.due()), (true, None));
        taken.sort_by(|one, other| one.0.cmp(&other.0));
        let newest: Vec<_> = taken.iter().map(|(_, waiting)| waiting.position.clone()).collect();
        assert_eq!(newest, [at(3), at(1)]);
        drop(taken);
        assert!(gate.is_idle());
    }

    #[test]
    fn points_go_in_the_order_in_which_they_came_and_not_too_many_at_once() {
        let gate = Gate::new(10, usize::MAX, Gauge::default());
        let (mut positions, now) = (Positions::default(), Instant::now());
        let later = now + std::time::Duration::from_secs(1);
        for (name, due) in [("a", later), ("b", now), ("c", later)] {
            let order = OrderId::new(name).expect("an id");
            let permit = gate.enter(0).expect("room");
            let points = vec![at(1); 300];
            positions.extend(WaitingPoints { order, points, done: None, permit }, due);
        }
        assert_eq!(positions.due(), Some(now), "the soonest of all");
        let names = |taken: &Taken| -> Vec<String> {
            taken.trail.iter().map(|points| points.order.to_string()).collect()
        };
        let taken = positions.take(9, now);
        assert_eq!((names(&taken), positions.due()), (vec!["a".into(), "b".into()], Some(now)));
        taken.answer(&Ok(()), &Metrics::new(&Vocabulary::default()));
        assert_eq!(gate.inside(), 1);
        assert_eq!(names(&positions.take(9, now)), ["c"]);
    }
}
