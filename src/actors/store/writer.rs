//! A thread that writes: one batch at a time, each in one transaction.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Handler, Message, MessageResult, SyncContext};
use diesel::QueryResult;

use super::batcher::{PendingChat, ReplyGuard};
use super::health::Health;
use super::positions::{PositionBatch, WaitingPosition};
use super::reader::{QUEUE_TIMEOUT, RunQuery};
use super::{ChatWriteError, NewMessage, StoreError, StoredChat, TrailOptions};
use crate::db::commit_batch::{self, CommitOutcome};
use crate::db::connection::DbConnection;
use crate::db::pool::{DbError, DbPool};
use crate::db::trail;
use crate::ids::OrderId;
use crate::metrics::Metrics;
use crate::time::Timestamp;
use crate::webhooks::outbox::Outbox;

/// How long a refused batch is retried message by message. After that the rest is given up, so that
/// the queue behind it continues.
const ONE_BY_ONE_LIMIT: Duration = Duration::from_secs(2);

/// Commit these messages and answer their callers.
#[derive(Message)]
#[rtype(result = "BatchOutcome")]
pub(super) struct CommitChat(pub(super) Vec<PendingChat>);

/// Write these positions and answer their callers.
#[derive(Message)]
#[rtype(result = "BatchOutcome")]
pub(super) struct CommitPositions(pub(super) PositionBatch);

/// Move the write-ahead log into the database's own file.
#[derive(Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(super) struct CheckpointWal;

/// Whether the database processed a batch, even if it refused some of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchOutcome {
    Served,
    Down,
}

/// Writes with connections of the pool.
#[derive(Clone)]
pub(super) struct Writer {
    pool: DbPool,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    pub(super) trail: TrailOptions,
    /// Who is told of what is written, if there are webhooks.
    pub(super) outbox: Option<Arc<Outbox>>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error("a panic while writing")]
    Panic,
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(
        pool: DbPool,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        trail: TrailOptions,
        outbox: Option<Arc<Outbox>>,
    ) -> Self {
        Self { pool, health, metrics, trail, outbox }
    }

    /// Runs `work`, which may happen twice if a connection is lost.
    pub(super) fn run<T>(
        &self,
        work: impl FnMut(&mut DbConnection) -> QueryResult<T>,
    ) -> Result<T, WriteError> {
        self.catch_panic(|| self.pool.run(work))
    }

    /// Turns a panic into a failure; otherwise it would end this thread for good.
    fn catch_panic<T>(&self, work: impl FnOnce() -> Result<T, DbError>) -> Result<T, WriteError> {
        // The panic leaves no partial change: the pool throws the connection away.
        let done = catch_unwind(AssertUnwindSafe(work)).map_err(|_| WriteError::Panic)??;
        self.health.report_success();
        Ok(done)
    }

    /// Counts and reports a failure.
    pub(super) fn report_failure(&self, what: &str, failure: WriteError) -> StoreError {
        self.health.report_failure(what, &failure);
        failure.into()
    }

    /// Stores messages in one transaction and answers them; returns all of them if that fails.
    fn commit(
        &self,
        messages: &[NewMessage],
        reply_guards: Vec<ReplyGuard>,
    ) -> Result<(), (WriteError, Vec<ReplyGuard>)> {
        let now = Timestamp::now();
        let listeners = self.listeners();
        let audience = self.audience(listeners.as_deref());
        let stored = self.catch_panic(|| {
            self.pool
                .run_once(|connection| commit_batch::commit(connection, messages, audience, now))
        });
        match stored {
            Ok(written) => {
                self.announce_chat(&written, listeners.as_deref());
                #[expect(clippy::cast_precision_loss, reason = "at most 256")]
                self.metrics.chat_batch.observe(messages.len() as f64);
                for (reply_guard, written) in reply_guards.into_iter().zip(written) {
                    self.metrics.chat_commit.observe(reply_guard.waited().as_secs_f64());
                    reply_guard.answer(outcome_of(written));
                }
                Ok(())
            }
            Err(failure) => Err((failure, reply_guards)),
        }
    }

    /// Stores each message in a transaction of its own, so that a bad one fails alone.
    fn commit_one_by_one(
        &self,
        messages: &[NewMessage],
        reply_guards: Vec<ReplyGuard>,
    ) -> BatchOutcome {
        let deadline = Instant::now() + ONE_BY_ONE_LIMIT;
        for (message, reply_guard) in messages.iter().zip(reply_guards) {
            if Instant::now() >= deadline {
                // The messages that are left are answered `Unavailable` when they are dropped.
                return BatchOutcome::Down;
            }
            if let Err((failure, alone)) =
                self.commit(std::slice::from_ref(message), vec![reply_guard])
            {
                self.health.report_failure("a chat message was not stored", &failure);
                if failure.is_down() {
                    return BatchOutcome::Down;
                }
                refuse(alone, &failure);
            }
        }
        BatchOutcome::Served
    }
}

fn outcome_of(written: CommitOutcome) -> Result<StoredChat, ChatWriteError> {
    match written {
        CommitOutcome::Stored { message, duplicate } => Ok(StoredChat { message, duplicate }),
        CommitOutcome::Conflict => Err(ChatWriteError::Conflict),
        CommitOutcome::Gone => Err(ChatWriteError::Gone),
    }
}

/// Answers messages that failed alone although the database works. A refused message would be
/// refused again; after a panic the cause is unknown.
fn refuse(alone: Vec<ReplyGuard>, failure: &WriteError) {
    if matches!(failure, WriteError::Database(_)) {
        for reply_guard in alone {
            reply_guard.answer(Err(ChatWriteError::Refused));
        }
    }
}

impl WriteError {
    fn is_down(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_unavailable())
    }
}

impl From<WriteError> for StoreError {
    fn from(failure: WriteError) -> Self {
        match failure {
            WriteError::Database(error) => error.into(),
            WriteError::Panic => Self::Refused(failure.to_string()),
        }
    }
}

impl Actor for Writer {
    type Context = SyncContext<Self>;
}

impl Handler<CommitChat> for Writer {
    type Result = MessageResult<CommitChat>;

    fn handle(&mut self, CommitChat(batch): CommitChat, _: &mut Self::Context) -> Self::Result {
        // All writers may have hung since the batch was handed over. A message that has waited too
        // long is answered `Unavailable` here, and its caller may retry.
        let (messages, reply_guards): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .filter(|pending| pending.reply_guard.waited() <= QUEUE_TIMEOUT)
            .map(|pending| (pending.message, pending.reply_guard))
            .unzip();
        if messages.is_empty() {
            return MessageResult(BatchOutcome::Served);
        }
        let Err((failure, reply_guards)) = self.commit(&messages, reply_guards) else {
            return MessageResult(BatchOutcome::Served);
        };
        self.health.report_failure("a batch of chat was not stored", &failure);
        MessageResult(match failure {
            failure if failure.is_down() => BatchOutcome::Down,
            _ if messages.len() > 1 => self.commit_one_by_one(&messages, reply_guards),
            failure => {
                refuse(reply_guards, &failure);
                BatchOutcome::Served
            }
        })
    }
}

impl Handler<CommitPositions> for Writer {
    type Result = MessageResult<CommitPositions>;

    fn handle(&mut self, message: CommitPositions, _: &mut Self::Context) -> Self::Result {
        let CommitPositions(mut taken) = message;
        let last = |(order, waiting): &(OrderId, WaitingPosition)| {
            (order.clone(), waiting.position.clone())
        };
        let lasts: Vec<_> = taken.lasts.iter().map(last).collect();
        let points: Vec<_> = taken
            .trail
            .iter_mut()
            .flat_map(|part| {
                let order = part.order.clone();
                std::mem::take(&mut part.points).into_iter().map(move |one| (order.clone(), one))
            })
            .collect();
        let (interval, now) = (self.trail.interval, Timestamp::now());
        let written =
            self.run(|connection| trail::save(connection, &lasts, &points, interval, now));
        let mut end = BatchOutcome::Served;
        let result = written.map_err(|failure| {
            self.health.report_failure("positions were not written", &failure);
            if failure.is_down() {
                end = BatchOutcome::Down;
            }
            StoreError::from(failure)
        });
        taken.answer(&result, &self.metrics);
        MessageResult(end)
    }
}

impl<T: Send + 'static> Handler<RunQuery<T>> for Writer {
    type Result = Result<T, StoreError>;

    fn handle(&mut self, query: RunQuery<T>, _: &mut Self::Context) -> Self::Result {
        query.run(&self.pool, &self.health)
    }
}

impl Handler<CheckpointWal> for Writer {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, _: CheckpointWal, _: &mut Self::Context) -> Self::Result {
        self.run(DbConnection::checkpoint).map_err(StoreError::from)
    }
}

#[cfg(test)]
mod tests {
    use actix::SyncArbiter;
    use prometheus_client::metrics::gauge::Gauge;
    use tokio::sync::oneshot;

    use super::super::posted_chat::{ChatPosted, ChatReply};
    use super::super::queue_limit::QueueLimit;
    use super::*;
    use crate::config::DatabaseUrl;
    use crate::db::migrate;
    use crate::metrics::LabelValues;
    use crate::protocol::chat::ChatKind;
    use crate::protocol::role::Role;

    fn writer(folder: &tempfile::TempDir) -> Writer {
        let metrics = Arc::new(Metrics::new(&LabelValues::default()));
        let url = DatabaseUrl::Sqlite(folder.path().join("hub.sqlite3"));
        migrate::bring_up_to_date(&url).expect("tables");
        let health = Arc::new(Health::new(Arc::clone(&metrics)));
        let hour = Duration::from_secs(3600);
        let trail = TrailOptions { interval: hour, retention: hour };
        Writer::new(DbPool::new(&url, 1), health, metrics, trail, None)
    }

    #[test]
    fn a_panic_is_a_failure_and_the_writer_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let writer = writer(&folder);
        let failed = writer.run::<()>(|_| panic!("a test of panics")).expect_err("a failure");
        assert!(matches!(failed, WriteError::Panic) && !failed.is_down());
        writer.run(|_| Ok(())).expect("another connection");
    }

    /// A room that receives posted messages.
    struct Room;

    impl Actor for Room {
        type Context = actix::Context<Self>;
    }

    impl Handler<ChatPosted> for Room {
        type Result = ();

        fn handle(&mut self, _: ChatPosted, _: &mut Self::Context) {}
    }

    #[actix::test]
    async fn what_waited_too_long_for_a_writer_is_not_begun() {
        let folder = tempfile::tempdir().expect("a folder");
        let writer = writer(&folder);
        let room = Room.start().recipient();
        let limit = QueueLimit::new(9, 9, Gauge::default());
        let (mut batch, mut answers) = (Vec::new(), Vec::new());
        let now = Instant::now();
        let late =
            now.checked_sub(QUEUE_TIMEOUT + Duration::from_secs(1)).expect("an earlier time");
        for (text, admitted) in [("late", late), ("now", now)] {
            let message = NewMessage {
                id: text.to_owned(),
                order_id: "o1".parse().expect("an id"),
                sender_id: "eve".parse().expect("an id"),
                sender_name: "Eve".to_owned(),
                sender_role: Role::Customer,
                kind: ChatKind::Text,
                content: text.to_owned(),
                client_msg_id: None,
                created_at: Timestamp::now(),
            };
            let (done, answer) = oneshot::channel();
            let reply = ChatReply::Caller { tell: room.clone(), done };
            let permit = limit.try_admit(0).expect("room for it");
            let reply_guard = ReplyGuard::new(reply, permit, admitted);
            batch.push(PendingChat { message, reply_guard });
            answers.push(answer);
        }
        let writers = SyncArbiter::start(1, move || writer.clone());
        let end = writers.send(CommitChat(batch)).await.expect("an end");
        assert_eq!(end, BatchOutcome::Served);
        let (now, late) = (answers.pop().expect("two"), answers.pop().expect("two"));
        assert_eq!(late.await.expect("an answer"), Err(ChatWriteError::Unavailable));
        let stored = now.await.expect("an answer").expect("stored");
        assert_eq!((stored.message.seq, stored.message.content.as_str()), (1, "now"));
    }
}
