//! Where drivers are and were: written behind chat, read, and deleted when it has expired.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Handler, Message};
use futures_util::future::try_join_all;
use tokio::sync::oneshot;

use super::batcher::{QueuePosition, QueueTrailPoints};
use super::positions::{MAX_POINTS, WaitingPoints, WriteReply};
use super::reader::with_timeout;
use super::writer::Writer;
use super::{Store, StoreError};
use crate::db::trail::{self, TrailPage, TrailRange};
use crate::ids::OrderId;
use crate::protocol::location::Position;
use crate::time::Timestamp;

/// What nobody waits for is written so much later, together with what has come meanwhile.
const WRITE_BEHIND_DELAY: Duration = Duration::from_millis(250);

/// How much of the trail is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrailOptions {
    /// The time between two points of a driver in an order.
    pub interval: Duration,
    /// How long a point is kept; zero: there is no trail.
    pub retention: Duration,
}

/// Delete what has expired.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct DeleteExpiredTrail;

// === impl TrailOptions ===

impl Default for TrailOptions {
    /// That of the settings.
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), retention: Duration::from_secs(24 * 3600) }
    }
}

impl TrailOptions {
    /// Whether there is a trail at all.
    pub fn is_enabled(&self) -> bool {
        !self.retention.is_zero()
    }

    /// What lies before this has expired.
    pub fn oldest_kept(&self, now: Timestamp) -> Timestamp {
        now.minus(self.retention)
    }
}

// === impl Store ===

impl Store {
    /// Has a position written behind as the order's last and as a point of its trail. Nobody hears
    /// of it: where too many wait, or the database is down, it is lost and counted.
    pub fn write_position_behind(&self, order: &OrderId, position: &Position) {
        let due = Instant::now() + WRITE_BEHIND_DELAY;
        // First, so that whoever sees it in the trail finds it as the last too.
        self.queue_position(order.clone(), position.clone(), None, due).ok();
        if self.trail.is_enabled() {
            self.queue_points(order, vec![position.clone()], None, due).ok();
        }
    }

    /// Has an order's last position, where there is a new one, and points of its trail written. The
    /// future ends when all of it is committed.
    ///
    /// # Errors
    /// Where too many wait or the database is unavailable; a part may have been written.
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

    /// Has the last position of an order written, after the chat that waits. It is admitted at
    /// once, awaited or not; the future ends when it, or a newer one in its place, is committed.
    ///
    /// # Errors
    /// Where too many wait or the database is unavailable; it is not tried again.
    pub fn save_position(
        &self,
        order: OrderId,
        position: Position,
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        self.write_positions(order, Some(position), &[])
    }

    /// Reads a stretch of an order's trail; what has expired is left out, deleted or not.
    ///
    /// # Errors
    /// Where the store is busy or the database unavailable.
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

    /// There is no room for it.
    fn refuse(&self, done: &WriteReply) -> StoreError {
        if done.is_none() {
            self.metrics.positions_lost.inc();
        }
        StoreError::Busy
    }
}

/// What becomes of something that was asked for.
async fn await_written(
    asked: Result<(), StoreError>,
    written: oneshot::Receiver<Result<(), StoreError>>,
) -> Result<(), StoreError> {
    asked?;
    let given_up = |_| Err(StoreError::Unavailable("given up with a failed batch".into()));
    written.await.unwrap_or_else(given_up)
}

// === impl Writer ===

impl Handler<DeleteExpiredTrail> for Writer {
    type Result = ();

    fn handle(&mut self, _: DeleteExpiredTrail, ctx: &mut Self::Context) {
        let before = self.trail.oldest_kept(Timestamp::now());
        match self.run(|connection| trail::delete_expired(connection, before)) {
            // The rest waits behind the chat that has come meanwhile.
            Ok(true) => ctx.address().do_send(DeleteExpiredTrail),
            Ok(false) => {}
            Err(failure) => {
                drop(self.report_failure("expired positions were not deleted", failure));
            }
        }
    }
}
