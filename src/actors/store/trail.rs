//! Positions and trails of drivers: written behind chat, and read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::sync::oneshot;

use super::batcher::{QueuePosition, QueueTrailPoints};
use super::db_thread::with_timeout;
use super::positions::{MAX_POINTS, WaitingPoints, WriteReply};
use super::{Store, StoreError};
use crate::db::trail::{self, TrailPage, TrailRange};
use protocol::ids::OrderId;
use protocol::location::Position;
use protocol::time::Timestamp;

/// Writes without a waiting caller are delayed by this, and written together with later ones.
const WRITE_BEHIND_DELAY: Duration = Duration::from_millis(250);

/// How much of the trail is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrailOptions {
    /// The time between two points of a driver in an order.
    pub interval: Duration,
    /// How long a point is kept; zero turns the trail off.
    pub retention: Duration,
}

// === impl TrailOptions ===

impl Default for TrailOptions {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), retention: Duration::from_secs(24 * 3600) }
    }
}

impl TrailOptions {
    /// Whether a trail is kept at all.
    pub fn is_enabled(&self) -> bool {
        !self.retention.is_zero()
    }

    /// Points from before this have expired.
    pub fn oldest_kept(&self, now: Timestamp) -> Timestamp {
        now.minus(self.retention)
    }
}

// === impl Store ===

impl Store {
    /// Queues a position to be written as the order's last one and as a point of its trail. There
    /// is no answer: if too many wait or the database is down, the position is lost and counted.
    pub fn write_position_behind(&self, order: &OrderId, position: &Position) {
        let due = Instant::now() + WRITE_BEHIND_DELAY;
        // First, so that a reader that finds it in the trail also finds it as the last position.
        self.queue_position(order.clone(), position.clone(), None, due).ok();
        if self.trail.is_enabled() {
            self.queue_points(order, vec![position.clone()], None, due).ok();
        }
    }

    /// Writes an order's last position, if there is a new one, and points of its trail. The future
    /// ends when all of it is committed.
    ///
    /// # Errors
    /// If too many wait or the database is unavailable; a part may have been written.
    pub fn write_positions(
        &self,
        order: OrderId,
        last: Option<Position>,
        points: &[Position],
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let now = Instant::now();
        let parts = if self.trail.is_enabled() { points } else { &[] };
        let mut asked = Vec::new();
        for part in parts.chunks(MAX_POINTS / 2) {
            let (done, written) = oneshot::channel();
            asked.push(await_written(
                self.queue_points(&order, part.to_vec(), Some(done), now),
                written,
            ));
        }
        if let Some(last) = last {
            let (done, written) = oneshot::channel();
            asked.push(await_written(self.queue_position(order, last, Some(done), now), written));
        }
        let health = Arc::clone(&self.health);
        with_timeout(health, async move { try_join_all(asked).await.map(drop) })
    }

    /// Writes the last position of an order, behind the chat that waits. It is admitted at once,
    /// even if the future is not awaited. The future ends when this position, or a newer one in its
    /// place, is committed.
    ///
    /// # Errors
    /// If too many wait or the database is unavailable; it is not retried.
    pub fn save_position(
        &self,
        order: OrderId,
        position: Position,
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        self.write_positions(order, Some(position), &[])
    }

    /// Reads a part of an order's trail. Expired points are left out, even if they are not deleted
    /// yet.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn trail(
        &self,
        order: OrderId,
        mut range: TrailRange,
    ) -> Result<TrailPage, StoreError> {
        range.since = range.since.max(self.trail.oldest_kept(Timestamp::now()));
        self.try_read(move |connection| trail::page(connection, &order, range)).await
    }

    fn queue_position(
        &self,
        order: OrderId,
        position: Position,
        done: WriteReply,
        due: Instant,
    ) -> Result<(), StoreError> {
        let permit = self.positions.try_admit(0).ok_or_else(|| self.refuse(&done))?;
        self.batcher_of(&order).do_send(QueuePosition { order, position, done, permit, due });
        Ok(())
    }

    fn queue_points(
        &self,
        order: &OrderId,
        points: Vec<Position>,
        done: WriteReply,
        due: Instant,
    ) -> Result<(), StoreError> {
        let permit = self.positions.try_admit(points.len()).ok_or_else(|| self.refuse(&done))?;
        let waiting = WaitingPoints { order: order.clone(), points, done, permit };
        self.batcher_of(order).do_send(QueueTrailPoints { waiting, due });
        Ok(())
    }

    /// Counts and answers a write for which there is no room.
    fn refuse(&self, done: &WriteReply) -> StoreError {
        if done.is_none() {
            self.metrics.positions_lost.inc();
        }
        StoreError::Busy
    }
}

/// Waits for the result of a write.
async fn await_written(
    asked: Result<(), StoreError>,
    written: oneshot::Receiver<Result<(), StoreError>>,
) -> Result<(), StoreError> {
    asked?;
    let given_up = |_| Err(StoreError::Unavailable("given up with a failed batch".into()));
    written.await.unwrap_or_else(given_up)
}
