//! A thread that reads, and the queries that it or a writer runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Message, SyncContext};
use diesel::QueryResult;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::StoreError;
use super::health::Health;
use crate::db::connection::DbConnection;
use crate::db::pool::DbPool;

/// Work that has waited this long is not started, because its caller is about to give up. So a
/// queue that built up while the database was down is dropped at once.
pub(super) const QUEUE_TIMEOUT: Duration = Duration::from_secs(4);
/// Every query is answered after this time. If the database hangs, so does the thread that talks to
/// it; callers must not wait for that thread.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Run this query, which may happen twice, and send back the result.
pub(super) struct RunQuery<T> {
    /// What the log says when it fails.
    failed: &'static str,
    work: Box<Work<T>>,
    asked: Instant,
    /// Released when the query has run, not when its caller goes away.
    _permit: OwnedSemaphorePermit,
}

type Work<T> = dyn FnMut(&mut DbConnection) -> QueryResult<T> + Send;

/// Reads with connections of the pool.
#[derive(Clone)]
pub(super) struct Reader {
    pool: DbPool,
    health: Arc<Health>,
}

// === impl RunQuery ===

impl<T> RunQuery<T> {
    pub(super) fn new(
        failed: &'static str,
        work: impl FnMut(&mut DbConnection) -> QueryResult<T> + Send + 'static,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { failed, work: Box::new(work), asked: Instant::now(), _permit: permit }
    }

    /// Runs the query with connections of `pool`, unless its caller is about to give up.
    pub(super) fn run(mut self, pool: &DbPool, health: &Health) -> Result<T, StoreError> {
        if self.asked.elapsed() > QUEUE_TIMEOUT {
            return Err(StoreError::Busy);
        }
        // A panic would end this thread for good; the pool throws its connection away.
        match catch_unwind(AssertUnwindSafe(|| pool.run(&mut *self.work))) {
            Ok(Ok(done)) => {
                health.report_success();
                Ok(done)
            }
            Ok(Err(error)) => {
                health.report_failure(self.failed, &error);
                Err(error.into())
            }
            Err(_) => {
                health.report_failure(self.failed, &"a panic");
                Err(StoreError::Refused("a panic".to_owned()))
            }
        }
    }
}

impl<T: Send + 'static> Message for RunQuery<T> {
    type Result = Result<T, StoreError>;
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(pool: DbPool, health: Arc<Health>) -> Self {
        Self { pool, health }
    }

    /// Runs a read, unless it has waited too long.
    pub(super) fn answer<T>(&self, query: RunQuery<T>) -> Result<T, StoreError> {
        query.run(&self.pool, &self.health)
    }
}

impl Actor for Reader {
    type Context = SyncContext<Self>;
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
