//! Where drivers are and were: written behind chat, read, and deleted when it has expired.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Handler, Message};
use futures_util::future::try_join_all;
use tokio::sync::oneshot;

use super::batcher::{Extend, Save};
use super::positions::{Done, MAX_POINTS, WaitingPoints};
use super::reader::in_time;
use super::writer::Writer;
use super::{Store, StoreError};
use crate::db::trail::{self, TrailPage, TrailRange};
use crate::ids::OrderId;
use crate::protocol::location::Position;
use crate::time::Timestamp;

/// What nobody waits for is written so much later, together with what has come meanwhile.
const LINGER: Duration = Duration::from_millis(250);

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
pub(super) struct SweepTrail;

// === impl TrailOptions ===

impl Default for TrailOptions {
    /// That of the settings.
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), retention: Duration::from_secs(24 * 3600) }
    }
}

impl TrailOptions {
    /// Whether there is a trail at all.
    pub fn is_kept(&self) -> bool {
        !self.retention.is_zero()
    }

    /// What lies before this has expired.
    pub fn begins(&self, now: Timestamp) -> Timestamp {
        now.minus(self.retention)
    }
}

// === impl Store ===

impl Store {
    /// Has a position written behind as the order's last and as a point of its trail. Nobody hears
    /// of it: where too many wait, or the database is down, it is lost and counted.
    pub fn keep_behind(&self, order: &OrderId, position: &Position) {
        let due = Instant::now() + LINGER;
        // First, so that whoever sees it in the trail finds it as the last too.
        self.save(order.clone(), position.clone(), None, due).ok();
        if self.trail.is_kept() {
            self.extend(order, vec![position.clone()], None, due).ok();
        }
    }

    /// Has an order's last position, where there is a new one, and points of its trail written. The
    /// future ends when all of it is committed.
    ///
    /// # Errors
    /// Where too many wait or the database is unavailable; a part may have been written.
    pub fn keep(
        &self,
        order: OrderId,
        last: Option<Position>,
        points: &[Position],
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let now = Instant::now();
        let parts = if self.trail.is_kept() { points } else { &[] };
        let mut asked = Vec::new();
        for part in parts.chunks(MAX_POINTS / 2) {
            let (done, written) = oneshot::channel();
            asked.push(told(self.extend(&order, part.to_vec(), Some(done), now), written));
        }
        if let Some(last) = last {
            let (done, written) = oneshot::channel();
            asked.push(told(self.save(order, last, Some(done), now), written));
        }
        let health = Arc::clone(&self.health);
        in_time(health, async move { try_join_all(asked).await.map(drop) })
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
        self.keep(order, Some(position), &[])
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
        range.since = range.since.max(self.trail.begins(Timestamp::now()));
        self.ask(move |connection| trail::page(connection, &order, range)).await
    }

    fn save(
        &self,
        order: OrderId,
        position: Position,
        done: Done,
        due: Instant,
    ) -> Result<(), StoreError> {
        let permit = self.positions.enter(0).ok_or_else(|| self.lost(&done))?;
        self.batcher_of(&order).do_send(Save { order, position, done, permit, due });
        Ok(())
    }

    fn extend(
        &self,
        order: &OrderId,
        points: Vec<Position>,
        done: Done,
        due: Instant,
    ) -> Result<(), StoreError> {
        let permit = self.positions.enter(points.len()).ok_or_else(|| self.lost(&done))?;
        let waiting = WaitingPoints { order: order.clone(), points, done, permit };
        self.batcher_of(order).do_send(Extend { waiting, due });
        Ok(())
    }

    /// There is no room for it.
    fn lost(&self, done: &Done) -> StoreError {
        if done.is_none() {
            self.metrics.positions_lost.inc();
        }
        StoreError::Busy
    }
}

/// What becomes of something that was asked for.
async fn told(
    asked: Result<(), StoreError>,
    written: oneshot::Receiver<Result<(), StoreError>>,
) -> Result<(), StoreError> {
    asked?;
    let given_up = |_| Err(StoreError::Unavailable("given up with a failed batch".into()));
    written.await.unwrap_or_else(given_up)
}

// === impl Writer ===

impl Handler<SweepTrail> for Writer {
    type Result = ();

    fn handle(&mut self, _: SweepTrail, ctx: &mut Self::Context) {
        let before = self.trail.begins(Timestamp::now());
        match self.run(|connection| trail::delete_expired(connection, before)) {
            // The rest waits behind the chat that has come meanwhile.
            Ok(true) => ctx.address().do_send(SweepTrail),
            Ok(false) => {}
            Err(failure) => drop(self.failed("expired positions were not deleted", failure)),
        }
    }
}
