//! A thread that writes: one batch at a time, in one transaction each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Handler, Message, MessageResult, SyncContext};
use diesel::QueryResult;

use super::batcher::{Asker, Pending};
use super::health::Health;
use super::positions::{Taken, WaitingPosition};
use super::reader::{Ask, TOO_LATE};
use super::{ChatWriteError, NewMessage, StoreError, StoredChat, TrailOptions};
use crate::db::chat_batch::{self, Written};
use crate::db::connection::DbConnection;
use crate::db::pool::{DbError, DbPool};
use crate::db::trail;
use crate::ids::OrderId;
use crate::metrics::Metrics;
use crate::time::Timestamp;

/// How long a refused batch may be tried again message by message; the rest is then given up, so
/// that the queue behind it goes on.
const ONE_BY_ONE: Duration = Duration::from_secs(2);

/// Commit these messages and tell who asked.
#[derive(Message)]
#[rtype(result = "BatchEnd")]
pub(super) struct WriteBatch(pub(super) Vec<Pending>);

/// Write these positions and tell who asked.
#[derive(Message)]
#[rtype(result = "BatchEnd")]
pub(super) struct WritePositions(pub(super) Taken);

/// Bring what was written into the database's own file.
#[derive(Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(super) struct Checkpoint;

/// Whether the database served a batch, even if it refused some of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchEnd {
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
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
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
    ) -> Self {
        Self { pool, health, metrics, trail }
    }

    /// Runs `work`, which may happen twice where a connection is lost.
    pub(super) fn run<T>(
        &self,
        work: impl FnMut(&mut DbConnection) -> QueryResult<T>,
    ) -> Result<T, Failure> {
        self.unless_it_panics(|| self.pool.run(work))
    }

    /// A panic becomes a failure, or it would end this thread for good.
    fn unless_it_panics<T>(&self, work: impl FnOnce() -> Result<T, DbError>) -> Result<T, Failure> {
        // The panic leaves nothing half-changed behind: the pool throws the connection away.
        let done = catch_unwind(AssertUnwindSafe(work)).map_err(|_| Failure::Panic)??;
        self.health.worked();
        Ok(done)
    }

    /// Counts and reports a failure.
    pub(super) fn failed(&self, what: &str, failure: Failure) -> StoreError {
        self.health.failed(what, &failure);
        failure.into()
    }

    /// Stores messages in one transaction and answers; gives all of them back where it fails.
    fn commit(
        &self,
        messages: &[NewMessage],
        askers: Vec<Asker>,
    ) -> Result<(), (Failure, Vec<Asker>)> {
        let now = Timestamp::now();
        let stored = self.unless_it_panics(|| {
            self.pool.run_once(|connection| chat_batch::write(connection, messages, now))
        });
        match stored {
            Ok(written) => {
                #[expect(clippy::cast_precision_loss, reason = "at most 256")]
                self.metrics.chat_batch.observe(messages.len() as f64);
                for (asker, written) in askers.into_iter().zip(written) {
                    self.metrics.chat_commit.observe(asker.waited().as_secs_f64());
                    asker.answer(outcome_of(written));
                }
                Ok(())
            }
            Err(failure) => Err((failure, askers)),
        }
    }

    /// Stores each message in a transaction of its own, so that a bad one fails alone.
    fn commit_one_by_one(&self, messages: &[NewMessage], askers: Vec<Asker>) -> BatchEnd {
        let deadline = Instant::now() + ONE_BY_ONE;
        for (message, asker) in messages.iter().zip(askers) {
            if Instant::now() >= deadline {
                // Those left are answered `Unavailable` as they are dropped.
                return BatchEnd::Down;
            }
            if let Err((failure, alone)) = self.commit(std::slice::from_ref(message), vec![asker]) {
                self.health.failed("a chat message was not stored", &failure);
                if failure.is_down() {
                    return BatchEnd::Down;
                }
                refuse(alone, &failure);
            }
        }
        BatchEnd::Served
    }
}

fn outcome_of(written: Written) -> Result<StoredChat, ChatWriteError> {
    match written {
        Written::Stored { message, duplicate } => Ok(StoredChat { message, duplicate }),
        Written::Conflict => Err(ChatWriteError::Conflict),
        Written::Gone => Err(ChatWriteError::Gone),
    }
}

/// Answers for a message that failed alone, though the database serves. One that was refused would be
/// again; after a panic it is not known whose fault it was.
fn refuse(alone: Vec<Asker>, failure: &Failure) {
    if matches!(failure, Failure::Database(_)) {
        for asker in alone {
            asker.answer(Err(ChatWriteError::Refused));
        }
    }
}

impl Failure {
    fn is_down(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_unavailable())
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Database(error) => error.into(),
            Failure::Panic => Self::Refused(failure.to_string()),
        }
    }
}

impl Actor for Writer {
    type Context = SyncContext<Self>;
}

impl Handler<WriteBatch> for Writer {
    type Result = MessageResult<WriteBatch>;

    fn handle(&mut self, WriteBatch(batch): WriteBatch, _: &mut Self::Context) -> Self::Result {
        // All writers may have stood still since it was handed over; who has waited too long hears
        // `Unavailable` here, and may say it anew.
        let (messages, askers): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .filter(|pending| pending.asker.waited() <= TOO_LATE)
            .map(|pending| (pending.message, pending.asker))
            .unzip();
        if messages.is_empty() {
            return MessageResult(BatchEnd::Served);
        }
        let Err((failure, askers)) = self.commit(&messages, askers) else {
            return MessageResult(BatchEnd::Served);
        };
        self.health.failed("a batch of chat was not stored", &failure);
        MessageResult(match failure {
            failure if failure.is_down() => BatchEnd::Down,
            _ if messages.len() > 1 => self.commit_one_by_one(&messages, askers),
            failure => {
                refuse(askers, &failure);
                BatchEnd::Served
            }
        })
    }
}

impl Handler<WritePositions> for Writer {
    type Result = MessageResult<WritePositions>;

    fn handle(&mut self, message: WritePositions, _: &mut Self::Context) -> Self::Result {
        let WritePositions(mut taken) = message;
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
        let mut end = BatchEnd::Served;
        let result = written.map_err(|failure| {
            self.health.failed("positions were not written", &failure);
            if failure.is_down() {
                end = BatchEnd::Down;
            }
            StoreError::from(failure)
        });
        taken.answer(&result, &self.metrics);
        MessageResult(end)
    }
}

impl<T: Send + 'static> Handler<Ask<T>> for Writer {
    type Result = Result<T, StoreError>;

    fn handle(&mut self, ask: Ask<T>, _: &mut Self::Context) -> Self::Result {
        ask.run(&self.pool, &self.health)
    }
}

impl Handler<Checkpoint> for Writer {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, _: Checkpoint, _: &mut Self::Context) -> Self::Result {
        self.run(DbConnection::checkpoint).map_err(StoreError::from)
    }
}

#[cfg(test)]
mod tests {
    use actix::SyncArbiter;
    use prometheus_client::metrics::gauge::Gauge;
    use tokio::sync::oneshot;

    use super::super::admission::Gate;
    use super::super::posts::{ChatPosted, Reply};
    use super::*;
    use crate::config::DatabaseUrl;
    use crate::db::migrate;
    use crate::metrics::Vocabulary;
    use crate::protocol::chat::ChatKind;
    use crate::protocol::role::Role;

    fn writer(folder: &tempfile::TempDir) -> Writer {
        let metrics = Arc::new(Metrics::new(&Vocabulary::default()));
        let url = DatabaseUrl::Sqlite(folder.path().join("hub.sqlite3"));
        migrate::bring_up_to_date(&url).expect("tables");
        let health = Arc::new(Health::new(Arc::clone(&metrics)));
        let hour = Duration::from_secs(3600);
        let trail = TrailOptions { interval: hour, retention: hour };
        Writer::new(DbPool::new(&url, 1), health, metrics, trail)
    }

    #[test]
    fn a_panic_is_a_failure_and_the_writer_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let writer = writer(&folder);
        let failed = writer.run::<()>(|_| panic!("a test of panics")).expect_err("a failure");
        assert!(matches!(failed, Failure::Panic) && !failed.is_down());
        writer.run(|_| Ok(())).expect("another connection");
    }

    /// Hears that a message was posted.
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
        let gate = Gate::new(9, 9, Gauge::default());
        let (mut batch, mut answers) = (Vec::new(), Vec::new());
        let now = Instant::now();
        let late = now.checked_sub(TOO_LATE + Duration::from_secs(1)).expect("an earlier time");
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
            let reply = Reply::Caller { tell: room.clone(), done };
            let permit = gate.enter(0).expect("room for it");
            let asker = Asker::new(reply, permit, admitted);
            batch.push(Pending { message, asker });
            answers.push(answer);
        }
        let writers = SyncArbiter::start(1, move || writer.clone());
        let end = writers.send(WriteBatch(batch)).await.expect("an end");
        assert_eq!(end, BatchEnd::Served);
        let (now, late) = (answers.pop().expect("two"), answers.pop().expect("two"));
        assert_eq!(late.await.expect("an answer"), Err(ChatWriteError::Unavailable));
        let stored = now.await.expect("an answer").expect("stored");
        assert_eq!((stored.message.seq, stored.message.content.as_str()), (1, "now"));
    }
}
