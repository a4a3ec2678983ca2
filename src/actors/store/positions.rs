//! Positions that wait to be written: the newest of each order as its last one, and points of
//! trails.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::db_thread::{BatchOutcome, DbThread};
use super::error::StoreError;
use super::queue_limit::QueuePermit;
use crate::db::connection::DbConnection;
use crate::db::trail;
use crate::metrics::Metrics;
use protocol::ids::OrderId;
use protocol::location::Position;
use protocol::time::Timestamp;

/// The most points of one transaction, and the most that one caller adds to it.
pub(super) const MAX_POINTS: usize = 500;

/// The caller that gets the result of a write; none for writes behind.
pub(super) type WriteReply = Option<oneshot::Sender<Result<(), StoreError>>>;

/// A position with all its callers, including those of older positions that it replaced.
struct WaitingPosition {
    position: Position,
    /// Each keeps its permit until it is answered, so that their number is bounded too.
    waiters: Vec<(WriteReply, QueuePermit)>,
}

/// Points of one order's trail.
pub(super) struct WaitingPoints {
    pub(super) order: OrderId,
    pub(super) points: Vec<Position>,
    pub(super) done: WriteReply,
    pub(super) permit: QueuePermit,
}

/// What is written in one transaction.
#[derive(Default)]
pub(super) struct PositionBatch {
    lasts: Vec<(OrderId, WaitingPosition)>,
    trail: Vec<WaitingPoints>,
}

#[derive(Default)]
pub(super) struct PositionQueue {
    by_order: HashMap<OrderId, WaitingPosition>,
    /// In the order of arrival.
    trail: VecDeque<WaitingPoints>,
    /// When the first of them may be written.
    due: Option<Instant>,
}

// === impl PositionQueue ===

impl PositionQueue {
    /// Queues a last position, to be written from `due` on.
    pub(super) fn put(
        &mut self,
        order: OrderId,
        position: Position,
        done: WriteReply,
        permit: QueuePermit,
        due: Instant,
    ) {
        self.set_due(due);
        let waiter = (done, permit);
        if let Some(waiting) = self.by_order.get_mut(&order) {
            if waiting.position.timestamp <= position.timestamp {
                waiting.position = position;
            }
            waiting.waiters.push(waiter);
        } else {
            self.by_order.insert(order, WaitingPosition { position, waiters: vec![waiter] });
        }
    }

    /// Queues points, to be written from `due` on.
    pub(super) fn extend(&mut self, points: WaitingPoints, due: Instant) {
        self.set_due(due);
        self.trail.push_back(points);
    }

    fn set_due(&mut self, due: Instant) {
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_order.is_empty() && self.trail.is_empty()
    }

    /// When the first write is due, if there is any.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes up to `most` last positions and [`MAX_POINTS`] points. The rest waits anew.
    pub(super) fn take(&mut self, most: usize, now: Instant) -> PositionBatch {
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
        PositionBatch { lasts, trail }
    }
}

// === impl PositionBatch ===

impl PositionBatch {
    /// Writes it in one transaction and answers its callers. `interval` is the shortest time
    /// between two points of a driver.
    pub(super) fn write(
        mut self,
        thread: &DbThread,
        interval: Duration,
        metrics: &Metrics,
    ) -> BatchOutcome {
        let last = |(order, waiting): &(OrderId, WaitingPosition)| {
            (order.clone(), waiting.position.clone())
        };
        let lasts: Vec<_> = self.lasts.iter().map(last).collect();
        let points: Vec<_> = self
            .trail
            .iter_mut()
            .flat_map(|part| {
                let order = part.order.clone();
                std::mem::take(&mut part.points).into_iter().map(move |one| (order.clone(), one))
            })
            .collect();
        let now = Timestamp::now();
        let save =
            |connection: &mut DbConnection| trail::save(connection, &lasts, &points, interval, now);
        let result = thread.query("positions were not written", save);
        self.answer(&result, metrics);
        BatchOutcome::of(&result)
    }

    /// Sends the result to every caller.
    pub(super) fn answer(self, result: &Result<(), StoreError>, metrics: &Metrics) {
        let of_lasts = self.lasts.into_iter().flat_map(|(_, waiting)| waiting.waiters);
        let of_trail = self.trail.into_iter().map(|points| (points.done, points.permit));
        for (done, permit) in of_lasts.chain(of_trail) {
            match done {
                // A caller that no longer waits has dropped the receiver.
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

    use super::super::queue_limit::QueueLimit;
    use super::*;
    use crate::metrics::LabelValues;
    use protocol::ids::UserId;

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
    fn the_newest_of_an_order_waits_and_all_waiters_with_it() {
        let limit = QueueLimit::new(10, usize::MAX, Gauge::default());
        let (mut positions, now) = (PositionQueue::default(), Instant::now());
        for (order, ms) in [("a", 2), ("a", 3), ("a", 1), ("b", 1)] {
            let order = OrderId::new(order).expect("an id");
            let permit = limit.try_admit(0).expect("room");
            positions.put(order, at(ms), None, permit, now);
        }
        assert_eq!((limit.count(), positions.due()), (4, Some(now)));
        let later = now + Duration::from_secs(1);
        let mut taken = positions.take(1, later).lasts;
        assert_eq!((taken.len(), positions.due()), (1, Some(later)));
        taken.extend(positions.take(9, later).lasts);
        assert_eq!((positions.is_empty(), positions.due()), (true, None));
        taken.sort_by(|one, other| one.0.cmp(&other.0));
        let newest: Vec<_> = taken.iter().map(|(_, waiting)| waiting.position.clone()).collect();
        assert_eq!(newest, [at(3), at(1)]);
        drop(taken);
        assert!(limit.is_empty());
    }

    #[test]
    fn points_go_in_the_order_in_which_they_came_and_not_too_many_at_once() {
        let limit = QueueLimit::new(10, usize::MAX, Gauge::default());
        let (mut positions, now) = (PositionQueue::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        for (name, due) in [("a", later), ("b", now), ("c", later)] {
            let order = OrderId::new(name).expect("an id");
            let permit = limit.try_admit(0).expect("room");
            let points = vec![at(1); 300];
            positions.extend(WaitingPoints { order, points, done: None, permit }, due);
        }
        assert_eq!(positions.due(), Some(now), "the soonest of all");
        let names = |taken: &PositionBatch| -> Vec<String> {
            taken.trail.iter().map(|points| points.order.to_string()).collect()
        };
        let taken = positions.take(9, now);
        assert_eq!((names(&taken), positions.due()), (vec!["a".into(), "b".into()], Some(now)));
        taken.answer(&Ok(()), &Metrics::new(&LabelValues::default()));
        assert_eq!(limit.count(), 1);
        assert_eq!(names(&positions.take(9, now)), ["c"]);
    }
}
