//! A thread that talks to the database, and the queue of work for such threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Handler, Message, SyncArbiter, SyncContext, WeakAddr};
use diesel::QueryResult;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::error::{QueryError, StoreError};
use super::health::Health;
use crate::db::connection::DbConnection;
use crate::db::pool::{DbError, DbPool};
use crate::relay::Relay;
use crate::webhooks::outbox::Outbox;

/// Work that has waited this long is not started, because its caller is about to give up. So a
/// queue that built up while the database was down is dropped at once.
pub(super) const QUEUE_TIMEOUT: Duration = Duration::from_secs(4);
/// Every query is answered after this time. If the database hangs, so does the thread that talks to
/// it; callers must not wait for that thread.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The most messages, positions, read marks or session records of one transaction.
pub(super) const MAX_BATCH: usize = 256;

/// A thread that does one piece of work at a time, with connections of the pool.
#[derive(Clone)]
pub(super) struct DbThread {
    pool: DbPool,
    health: Arc<Health>,
    /// Who is told of what is written, if there are webhooks.
    pub(super) outbox: Option<Arc<Outbox>>,
    /// Tells other nodes of what is written, if there are any.
    pub(super) relay: Option<Arc<Relay>>,
}

/// Threads with one queue: all those that write, or all those that read.
#[derive(Clone)]
pub(super) struct DbThreads(Addr<DbThread>);

/// Threads that end with the last [`DbThreads`].
pub(super) struct WeakDbThreads(WeakAddr<DbThread>);

/// Work for one of the threads. A caller that wants a result sends it through a channel of its own.
pub(super) type Job = Box<dyn FnOnce(&DbThread) + Send>;

#[derive(Message)]
#[rtype(result = "()")]
struct RunJob(Job);

/// Whether the database processed a batch, even if it refused some of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchOutcome {
    Served,
    Down,
}

// === impl DbThread ===

impl DbThread {
    pub(super) fn new(pool: DbPool, health: Arc<Health>, outbox: Option<Arc<Outbox>>) -> Self {
        Self { pool, health, outbox, relay: None }
    }

    /// The same, which tells other nodes of what it writes.
    pub(super) fn with_relay(self, relay: Option<Arc<Relay>>) -> Self {
        Self { relay, ..self }
    }

    /// Runs a query, which may happen twice if a connection is lost. A failure is counted, and
    /// logged as `failed`.
    pub(super) fn query<T>(
        &self,
        failed: &str,
        work: impl FnMut(&mut DbConnection) -> QueryResult<T>,
    ) -> Result<T, StoreError> {
        let done = self.try_query(work);
        Ok(done.inspect_err(|error| self.health.report_failure(failed, error))?)
    }

    /// As [`Self::query`], for callers that report a failure themselves.
    pub(super) fn try_query<T>(
        &self,
        work: impl FnMut(&mut DbConnection) -> QueryResult<T>,
    ) -> Result<T, QueryError> {
        self.catch_panic(|| self.pool.run(work))
    }

    /// As [`Self::try_query`], for work that must not happen twice ([`DbPool::run_once`]).
    pub(super) fn try_query_once<T>(
        &self,
        work: impl FnMut(&mut DbConnection) -> QueryResult<T>,
    ) -> Result<T, QueryError> {
        self.catch_panic(|| self.pool.run_once(work))
    }

    /// Turns a panic into a failure, so that only this query fails.
    fn catch_panic<T>(&self, work: impl FnOnce() -> Result<T, DbError>) -> Result<T, QueryError> {
        // The panic leaves no partial change: the pool throws the connection away.
        let done = catch_unwind(AssertUnwindSafe(work)).map_err(|_| QueryError::Panic)??;
        self.health.report_success();
        Ok(done)
    }

    /// Counts a failure and logs it.
    pub(super) fn report_failure(&self, failed: &str, error: &QueryError) {
        self.health.report_failure(failed, error);
    }
}

impl Actor for DbThread {
    type Context = SyncContext<Self>;
}

impl Handler<RunJob> for DbThread {
    type Result = ();

    fn handle(&mut self, RunJob(job): RunJob, _: &mut Self::Context) {
        // A job also sends answers, and a panic there would end this thread for good.
        if catch_unwind(AssertUnwindSafe(|| job(self))).is_err() {
            log::error!("a database job panicked");
        }
    }
}

// === impl BatchOutcome ===

impl BatchOutcome {
    pub(super) fn of(result: &Result<(), StoreError>) -> Self {
        if matches!(result, Err(StoreError::Unavailable(_))) { Self::Down } else { Self::Served }
    }
}

// === impl DbThreads ===

impl DbThreads {
    /// Starts `count` threads like this one.
    pub(super) fn start(count: u32, thread: DbThread) -> Self {
        Self(SyncArbiter::start(count as usize, move || thread.clone()))
    }

    /// Queues work that sends its own answers.
    pub(super) fn start_job(&self, job: impl FnOnce(&DbThread) + Send + 'static) {
        self.0.do_send(RunJob(Box::new(job)));
    }

    /// Queues work at once. The future is its answer.
    pub(super) fn run<T: Send + 'static, W: FnOnce(&DbThread) -> T + Send + 'static>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, StoreError>> + use<T, W> {
        let (done, answer) = oneshot::channel();
        // A caller that no longer waits has dropped the receiver.
        self.start_job(move |thread| drop(done.send(work(thread))));
        async { answer.await.map_err(|_| StoreError::Closed) }
    }

    /// Queues a step of work that has many, and the next one whenever a step says that there is
    /// more. Each waits behind the work that has arrived meanwhile.
    pub(super) fn run_steps(&self, step: impl Fn(&DbThread) -> bool + Send + 'static) {
        let threads = self.clone();
        self.start_job(move |thread| {
            if step(thread) {
                threads.run_steps(step);
            }
        });
    }

    /// False once the threads have ended.
    pub(super) fn are_running(&self) -> bool {
        self.0.connected()
    }

    pub(super) fn downgrade(&self) -> WeakDbThreads {
        WeakDbThreads(self.0.downgrade())
    }
}

impl WeakDbThreads {
    pub(super) fn upgrade(&self) -> Option<DbThreads> {
        self.0.upgrade().map(DbThreads)
    }
}

/// Waits for the store's answer until a timeout. The work may still be done after that.
pub(super) async fn with_timeout<T>(
    health: Arc<Health>,
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| {
        health.report_timeout();
        Err(StoreError::Unavailable("it does not answer".to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::config::DatabaseUrl;
    use crate::db::instance_lock::Sharing;
    use crate::metrics::{LabelValues, Metrics};

    fn thread(folder: &tempfile::TempDir) -> DbThread {
        let url = DatabaseUrl::Sqlite(folder.path().join("hub.sqlite3"));
        let metrics = Arc::new(Metrics::new(&LabelValues::default()));
        DbThread::new(DbPool::new(&url, 1, Sharing::Alone), Arc::new(Health::new(metrics)), None)
    }

    #[test]
    fn a_query_that_panics_fails_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let thread = thread(&folder);
        let failed = thread.try_query::<()>(|_| panic!("a test of panics")).expect_err("a failure");
        assert!(matches!(failed, QueryError::Panic) && !failed.is_down());
        thread.try_query(|_| Ok(())).expect("another connection");
    }

    #[actix::test]
    async fn work_that_panics_has_no_answer_and_its_thread_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let threads = DbThreads::start(1, thread(&folder));
        let panicked = threads.run(|_| panic!("a test of panics"));
        assert_eq!(panicked.await, Err::<(), _>(StoreError::Closed));
        assert_eq!(threads.run(|_| 7).await, Ok(7));
    }

    #[actix::test]
    async fn the_steps_of_long_work_let_other_work_pass() {
        let folder = tempfile::tempdir().expect("a folder");
        let threads = DbThreads::start(1, thread(&folder));
        let (log, mut logged) = unbounded_channel();
        let step_log = log.clone();
        let (queued, hold) = std::sync::mpsc::channel::<()>();
        // Holds the thread until all is queued.
        threads.start_job(move |_| hold.recv().expect("all is queued"));
        let left = AtomicU32::new(2);
        threads.run_steps(move |_| {
            step_log.send("step").expect("the test listens");
            left.fetch_sub(1, Ordering::Relaxed) > 1
        });
        threads.start_job(move |_| log.send("other").expect("the test listens"));
        queued.send(()).expect("the thread waits");
        for expected in ["step", "other", "step"] {
            assert_eq!(logged.recv().await, Some(expected));
        }
        assert_eq!(logged.recv().await, None, "there are two steps");
    }
}
