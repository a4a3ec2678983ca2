//! A thread that reads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, SyncContext};
use diesel::QueryResult;
use tokio::sync::OwnedSemaphorePermit;

use super::StoreError;
use super::health::Health;
use crate::db::connection::DbConnection;
use crate::db::failure;
use crate::db::pool::{DbError, DbPool};

/// A read that has waited this long is not begun: its asker has given up, and a queue that built up
/// while the database was away is gone at once.
pub(super) const TOO_LATE: Duration = Duration::from_secs(4);

/// Run this query and send back what it finds.
pub(super) struct Ask<T> {
    work: Box<Work<T>>,
    asked: Instant,
    /// Given back when the query has run, not when its asker goes away.
    _permit: OwnedSemaphorePermit,
}

type Work<T> = dyn FnMut(&mut DbConnection) -> QueryResult<T> + Send;

/// Reads with connections of the pool.
#[derive(Clone)]
pub(super) struct Reader {
    pool: DbPool,
    health: Arc<Health>,
}

// === impl Ask ===

impl<T> Ask<T> {
    pub(super) fn new(
        work: impl FnMut(&mut DbConnection) -> QueryResult<T> + Send + 'static,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { work: Box::new(work), asked: Instant::now(), _permit: permit }
    }
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(pool: DbPool, health: Arc<Health>) -> Self {
        Self { pool, health }
    }

    /// Reads what was asked for, unless it has waited too long.
    pub(super) fn answer<T>(&self, mut ask: Ask<T>) -> Result<T, StoreError> {
        if ask.asked.elapsed() > TOO_LATE {
            return Err(StoreError::Busy);
        }
        // A panic would end this thread for good; the pool throws its connection away.
        match catch_unwind(AssertUnwindSafe(|| self.read(&mut *ask.work))) {
            Ok(Ok(found)) => {
                self.health.worked();
                Ok(found)
            }
            Ok(Err(error)) => {
                self.health.failed("a read failed", &error);
                Err(error.into())
            }
            Err(_) => {
                self.health.failed("a read failed", &"a panic");
                Err(StoreError::Refused("a panic while reading".to_owned()))
            }
        }
    }

    fn read<T>(&self, work: &mut Work<T>) -> Result<T, DbError> {
        match self.pool.run(|connection| work(connection)) {
            // The server was restarted since this connection was last used. A read may run twice.
            Err(DbError::Unavailable(error)) if failure::is_closed(&error) => {
                self.pool.run(|connection| work(connection))
            }
            result => result,
        }
    }
}

impl Actor for Reader {
    type Context = SyncContext<Self>;
}
