//! Group commit: collects what arrives while a batch commits, and makes it the next batch.
//!
//! There is one batcher per writer, with one batch in flight. The batcher owns the batch, so a
//! caller that goes away cancels nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::MailboxError;
use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture};

use super::positions::{PositionQueue, WaitingPoints, WriteReply};
use super::posted_chat::ChatReply;
use super::queue_limit::QueuePermit;
use super::reader::QUEUE_TIMEOUT;
use super::trail::DeleteExpiredTrail;
use super::writer::{BatchOutcome, CommitChat, CommitPositions, Writer};
use super::{ChatWriteError, NewMessage, StoreError, StoredChat};
use crate::metrics::Metrics;
use protocol::ids::OrderId;
use protocol::location::Position;

/// The most messages, or the most positions, of one transaction.
pub(super) const MAX_BATCH: usize = 256;
/// Positions are written after chat, but under steady chat they wait no longer than this.
const POSITION_DELAY: Duration = Duration::from_secs(1);
/// How often expired points of trails are deleted.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Queue a chat message for the next batch.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct QueueChat(pub(super) PendingChat);

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

/// A message that waits, with the guard of its reply.
pub(super) struct PendingChat {
    pub(super) message: NewMessage,
    pub(super) reply_guard: ReplyGuard,
}

/// Answers a message exactly once. If it is dropped without an answer, it answers `Unavailable`:
/// neither a panic nor a closed queue leaves a caller without one.
pub(super) struct ReplyGuard {
    /// Taken when the answer is sent.
    reply: Option<ChatReply>,
    admitted: Instant,
    /// Released after the answer, so a drained store has sent every answer.
    _permit: QueuePermit,
}

/// Collects messages and positions for one writer.
pub(super) struct Batcher {
    writer: Addr<Writer>,
    /// Chat in the order of its admission.
    waiting: VecDeque<PendingChat>,
    positions: PositionQueue,
    /// A batch is with the writer.
    in_flight: bool,
    /// Whether a timer runs for positions that are not due yet.
    is_armed: bool,
    /// Whether this batcher has expired points deleted; one of them does.
    sweeps: bool,
    metrics: Arc<Metrics>,
}

// === impl Batcher ===

impl Batcher {
    pub(super) fn new(writer: Addr<Writer>, metrics: Arc<Metrics>, sweeps: bool) -> Self {
        let (waiting, positions) = (VecDeque::new(), PositionQueue::default());
        Self { writer, waiting, positions, in_flight: false, is_armed: false, sweeps, metrics }
    }

    /// Hands the next batch to the writer, unless the writer still has one.
    fn commit_next(&mut self, ctx: &mut Context<Self>) {
        if self.in_flight {
            return;
        }
        let now = Instant::now();
        self.drop_expired(now);
        if self.positions_are_due(now) {
            let positions = self.positions.take(MAX_BATCH, now);
            self.send_to_writer(self.writer.send(CommitPositions(positions)), ctx);
        } else if !self.waiting.is_empty() {
            let most = self.waiting.len().min(MAX_BATCH);
            let batch = self.waiting.drain(..most).collect();
            self.send_to_writer(self.writer.send(CommitChat(batch)), ctx);
        } else if let Some(due) = self.positions.due() {
            self.wake_at(due, now, ctx);
        }
    }

    /// Drops what has waited too long for a database that hung: its callers have given up, and may
    /// retry.
    fn drop_expired(&mut self, now: Instant) {
        let is_late = |pending: &PendingChat| {
            now.saturating_duration_since(pending.reply_guard.admitted) > QUEUE_TIMEOUT
        };
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

    fn send_to_writer(
        &mut self,
        batch: impl Future<Output = Result<BatchOutcome, MailboxError>> + 'static,
        ctx: &mut Context<Self>,
    ) {
        self.in_flight = true;
        let written = batch.into_actor(self).map(|end, batcher, ctx| {
            batcher.in_flight = false;
            if !matches!(end, Ok(BatchOutcome::Served)) {
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

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.sweeps {
            ctx.run_interval(SWEEP_INTERVAL, |batcher, _| {
                batcher.writer.do_send(DeleteExpiredTrail);
            });
        }
    }
}

impl Handler<QueueChat> for Batcher {
    type Result = ();

    fn handle(&mut self, QueueChat(pending): QueueChat, ctx: &mut Self::Context) {
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

// === impl ReplyGuard ===

impl ReplyGuard {
    pub(super) fn new(reply: ChatReply, permit: QueuePermit, admitted: Instant) -> Self {
        Self { reply: Some(reply), admitted, _permit: permit }
    }

    /// How long ago the message was admitted.
    pub(super) fn waited(&self) -> Duration {
        self.admitted.elapsed()
    }

    pub(super) fn answer(mut self, outcome: Result<StoredChat, ChatWriteError>) {
        if let Some(reply) = self.reply.take() {
            reply.send(outcome);
        }
    }
}

impl Drop for ReplyGuard {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            reply.send(Err(ChatWriteError::Unavailable));
        }
    }
}
