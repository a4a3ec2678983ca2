//! The pool of connections, which heals by itself: a connection that has failed is thrown away,
//! and the others of its age are tried before they are used again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::r2d2::R2D2Connection;

use super::connection::DbConnection;
use super::failure;
use super::fence::Fence;
use crate::config::DatabaseUrl;

/// How long work waits for a connection while the database is thought to be up.
pub const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);
/// And once it is known to be down: enough to meet a connection that has just come back.
const TIMEOUT_WHILE_DOWN: Duration = Duration::from_millis(100);

/// Why work with the database failed.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The pool had no connection in time; with what the last attempt to connect said.
    #[error("no connection: {0}")]
    NoConnection(String),
    /// The database cannot serve now.
    #[error("the database cannot serve: {0}")]
    Unavailable(diesel::result::Error),
    /// The work itself was refused.
    #[error("{0}")]
    Refused(diesel::result::Error),
}

impl DbError {
    /// Whether other data would have met the same fate.
    pub fn is_unavailable(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    fn fenced(reason: &str) -> Self {
        Self::NoConnection(reason.to_owned())
    }
}

/// A pool of connections to one database.
#[derive(Clone)]
pub struct DbPool {
    connections: r2d2::Pool<Opener>,
    /// The age of the world: raised when a connection was found closed. Connections that were last
    /// known good before that are tried before use.
    generation: Arc<AtomicU64>,
    /// The pool had no connection when last asked; new work then waits less.
    down: Arc<AtomicBool>,
    /// Whether the database may be used at all.
    fence: Arc<Fence>,
}

// === impl DbPool ===

impl DbPool {
    /// A pool that opens its connections in the background; it neither waits nor fails here.
    pub fn new(url: &DatabaseUrl, size: u32) -> Self {
        let generation = Arc::new(AtomicU64::new(0));
        let fence = Arc::new(Fence::new(url));
        let (url, armed) = (url.clone(), Arc::clone(&fence));
        let opener = Opener { url, generation: Arc::clone(&generation), fence: armed };
        let connections = r2d2::Pool::builder()
            .max_size(size.max(1))
            .connection_timeout(CONNECTION_TIMEOUT)
            .idle_timeout(None)
            .test_on_check_out(false)
            // The default logs an error per attempt, several a second while the database is down.
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build_unchecked(opener);
        Self { connections, generation, down: Arc::default(), fence }
    }

    /// What keeps the pool from a database that must not be used any more.
    pub fn fence(&self) -> &Arc<Fence> {
        &self.fence
    }

    /// Runs `work` on a connection.
    ///
    /// # Errors
    /// Where there is no connection in time, or `work` fails. `work` has not happened then, except
    /// that a connection lost during a commit leaves that open.
    pub fn run<T>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> QueryResult<T>,
    ) -> Result<T, DbError> {
        let mut slot = self.checkout()?;
        let started = Instant::now();
        let done = work(&mut slot.connection).map_err(|error| {
            if failure::is_closed(&error) {
                slot.broken = true;
                self.generation.fetch_add(1, Ordering::Relaxed);
            }
            if failure::is_unavailable(&error, started.elapsed()) {
                DbError::Unavailable(error)
            } else {
                DbError::Refused(error)
            }
        })?;
        // What was written into files that are gone is not to be acknowledged.
        self.fence.check().map_err(DbError::fenced)?;
        Ok(done)
    }

    fn checkout(&self) -> Result<r2d2::PooledConnection<Opener>, DbError> {
        if let Some(reason) = self.fence.reason() {
            return Err(DbError::fenced(reason));
        }
        let down = self.down.load(Ordering::Relaxed);
        let patience = if down { TIMEOUT_WHILE_DOWN } else { CONNECTION_TIMEOUT };
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut slot = self.connections.get_timeout(left).map_err(|error| {
                self.down.store(true, Ordering::Relaxed);
                DbError::NoConnection(error.to_string())
            })?;
            let generation = self.generation.load(Ordering::Relaxed);
            if slot.generation == generation || slot.connection.ping().is_ok() {
                slot.generation = generation;
                self.down.store(false, Ordering::Relaxed);
                return Ok(slot);
            }
            slot.broken = true;
        }
    }
}

/// Opens connections and tells r2d2 which to keep.
struct Opener {
    url: DatabaseUrl,
    generation: Arc<AtomicU64>,
    fence: Arc<Fence>,
}

/// A connection with what is known of its health.
struct Slot {
    connection: DbConnection,
    /// The age of the world in which it was last known good.
    generation: u64,
    /// Set when it was found closed: the pool throws it away.
    broken: bool,
}

// === impl Opener ===

impl r2d2::ManageConnection for Opener {
    type Connection = Slot;
    type Error = diesel::r2d2::Error;

    fn connect(&self) -> Result<Slot, Self::Error> {
        let generation = self.generation.load(Ordering::Relaxed);
        let connection = DbConnection::open(&self.url)?;
        self.fence.arm()?;
        Ok(Slot { connection, generation, broken: false })
    }

    fn is_valid(&self, slot: &mut Slot) -> Result<(), Self::Error> {
        Ok(slot.connection.ping()?)
    }

    fn has_broken(&self, slot: &mut Slot) -> bool {
        // A panic may have left a transaction open.
        slot.broken || std::thread::panicking() || slot.connection.is_broken()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diesel::result::{DatabaseErrorKind, Error};

    fn closed() -> Error {
        Error::DatabaseError(DatabaseErrorKind::ClosedConnection, Box::new("gone".to_owned()))
    }

    #[test]
    fn a_closed_connection_is_thrown_away_and_another_one_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let pool = DbPool::new(&DatabaseUrl::Sqlite(folder.path().join("hub.sqlite3")), 1);
        let mark = |sql: &str| {
            pool.run(|conn| diesel::sql_query(sql).execute(conn)).map_err(|error| error.to_string())
        };
        mark("CREATE TEMP TABLE mine (a)").expect("made");
        mark("INSERT INTO mine VALUES (1)").expect("the same connection");
        let lost = pool.run(|_| Err::<(), _>(closed())).expect_err("a failure");
        assert!(lost.is_unavailable(), "{lost}");
        let mark = |sql: &str| pool.run(|conn| diesel::sql_query(sql).execute(conn));
        assert!(mark("INSERT INTO mine VALUES (1)").is_err(), "still the old connection");
    }

    #[test]
    fn a_database_that_is_down_is_waited_for_once_and_then_given_up_quickly() {
        let pool = DbPool::new(&DatabaseUrl::Sqlite("/dev/null/no/such/folder".into()), 1);
        let first = pool.run(|_| Ok(())).expect_err("no connection");
        assert!(matches!(first, DbError::NoConnection(_)), "{first}");
        let started = Instant::now();
        assert!(pool.run(|_| Ok(())).is_err());
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}
