//! Group commit: collects what arrives while a batch commits, and makes it the next batch.
//!
//! There are as many batchers as writer threads. Each has one batch in flight, which any writer
//! thread commits. The batcher owns the batch, so a caller that goes away cancels nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};

use super::commit_chat::commit_chat;
use super::db_thread::{BatchOutcome, DbThread, DbThreads, MAX_BATCH, QUEUE_TIMEOUT};
use super::error::StoreError;
use super::pending_chat::PendingChat;
use super::positions::{PositionQueue, WaitingPoints, WriteReply};
use super::queue_limit::QueuePermit;
use crate::metrics::Metrics;
use protocol::ids::OrderId;
use protocol::location::Position;

/// Positions are written after chat, but under steady chat they wait no longer than this.
const POSITION_DELAY: Duration = Duration::from_secs(1);

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct QueuePosition {
    pub(super) order: OrderId,
    pub(super) position: Position,
    pub(super) done: WriteReply,
    pub(super) permit: QueuePermit,
    /// When it is to be written.
    pub(super) due: Instant,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct QueueTrailPoints {
    pub(super) waiting: WaitingPoints,
    /// When they are to be written.
    pub(super) due: Instant,
}

/// Collects the messages and positions of its orders.
pub(super) struct Batcher {
    writers: DbThreads,
    /// Chat in the order of its admission.
    waiting: VecDeque<PendingChat>,
    positions: PositionQueue,
    /// Whether a batch is being committed.
    in_flight: bool,
    /// Whether a timer runs for positions that are not due yet.
    is_armed: bool,
    /// The shortest time between two points of a driver's trail.
    trail_interval: Duration,
    metrics: Arc<Metrics>,
}

// === impl Batcher ===

impl Batcher {
    pub(super) fn new(writers: DbThreads, trail_interval: Duration, metrics: Arc<Metrics>) -> Self {
        let (waiting, positions) = (VecDeque::new(), PositionQueue::default());
        let (in_flight, is_armed) = (false, false);
        Self { writers, waiting, positions, in_flight, is_armed, trail_interval, metrics }
    }

    /// Hands the next batch to the writer threads, unless one is in flight.
    fn commit_next(&mut self, ctx: &mut Context<Self>) {
        if self.in_flight {
            return;
        }
        let now = Instant::now();
        self.drop_expired(now);
        if self.positions_are_due(now) {
            let positions = self.positions.take(MAX_BATCH, now);
            let (interval, metrics) = (self.trail_interval, Arc::clone(&self.metrics));
            self.write(ctx, move |thread| positions.write(thread, interval, &metrics));
        } else if !self.waiting.is_empty() {
            let most = self.waiting.len().min(MAX_BATCH);
            let batch = self.waiting.drain(..most).collect();
            let metrics = Arc::clone(&self.metrics);
            self.write(ctx, move |thread| commit_chat(thread, batch, &metrics));
        } else if let Some(due) = self.positions.due() {
            self.wake_at(due, now, ctx);
        }
    }

    /// Drops what has waited too long for a database that hung: its callers have given up, and may
    /// retry.
    fn drop_expired(&mut self, now: Instant) {
        let is_late = |pending: &PendingChat| pending.reply_guard.waited(now) > QUEUE_TIMEOUT;
        while self.waiting.front().is_some_and(is_late) {
            self.waiting.pop_front();
        }
    }

    fn positions_are_due(&self, now: Instant) -> bool {
        let wait = if self.waiting.is_empty() { Duration::ZERO } else { POSITION_DELAY };
        self.positions.due().is_some_and(|due| now >= due + wait)
    }

    fn wake_at(&mut self, due: Instant, now: Instant, ctx: &mut Context<Self>) {
        if self.is_armed {
            return;
        }
        self.is_armed = true;
        ctx.run_later(due.saturating_duration_since(now), |batcher, ctx| {
            batcher.is_armed = false;
            batcher.commit_next(ctx);
        });
    }

    /// Hands a batch to the writer threads.
    fn write(
        &mut self,
        ctx: &mut Context<Self>,
        batch: impl FnOnce(&DbThread) -> BatchOutcome + Send + 'static,
    ) {
        self.in_flight = true;
        let written = self.writers.run(batch).into_actor(self).map(|outcome, batcher, ctx| {
            batcher.in_flight = false;
            if outcome != Ok(BatchOutcome::Served) {
                batcher.fail_waiting();
            }
            batcher.commit_next(ctx);
        });
        ctx.spawn(written);
    }

    /// While the database is down, everything that has waited through one failed batch is answered
    /// now, instead of after a timeout per batch. Later messages try the database again.
    fn fail_waiting(&mut self) {
        self.waiting.clear();
        let given_up = Err(StoreError::Unavailable("given up with a failed batch".to_owned()));
        while !self.positions.is_empty() {
            self.positions.take(MAX_BATCH, Instant::now()).answer(&given_up, &self.metrics);
        }
    }
}

impl Actor for Batcher {
    type Context = Context<Self>;
}

impl Handler<PendingChat> for Batcher {
    type Result = ();

    fn handle(&mut self, pending: PendingChat, ctx: &mut Self::Context) {
        self.waiting.push_back(pending);
        self.commit_next(ctx);
    }
}

impl Handler<QueuePosition> for Batcher {
    type Result = ();

    fn handle(&mut self, save: QueuePosition, ctx: &mut Self::Context) {
        let QueuePosition { order, position, done, permit, due } = save;
        self.positions.put(order, position, done, permit, due);
        self.commit_next(ctx);
    }
}

impl Handler<QueueTrailPoints> for Batcher {
    type Result = ();

    fn handle(
        &mut self,
        QueueTrailPoints { waiting, due }: QueueTrailPoints,
        ctx: &mut Self::Context,
    ) {
        self.positions.extend(waiting, due);
        self.commit_next(ctx);
    }
}
