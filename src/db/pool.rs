//! The pool of connections, which repairs itself: it throws away broken connections, checks or
//! replaces those of the same generation before their next use, and repeats work that was not done on
//! another connection.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::r2d2::R2D2Connection;

use super::connection::DbConnection;
use super::error_class::{ErrorClass, classify};
use super::file_guard::FileGuard;
use super::instance_lock::{self, Sharing};
use crate::config::DatabaseUrl;

/// How long work waits for a connection while the database counts as up.
pub const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);
/// The same while the database is down: enough to get a connection that has just come back.
const CONNECTION_TIMEOUT_WHILE_DOWN: Duration = Duration::from_millis(100);
/// How often work is tried at most, and how long after its start it is no longer retried.
const MAX_TRIES: u32 = 3;
const RETRY_WINDOW: Duration = Duration::from_secs(2);
/// Unexplained errors replace all connections at most once in this time, because a client might be
/// able to cause them.
const UNEXPLAINED_INTERVAL: Duration = Duration::from_secs(1);
/// Replaced connections are logged at most once in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Why work with the database failed.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The pool had no connection in time. Holds the error of the last attempt to connect.
    #[error("no connection: {0}")]
    NoConnection(String),
    /// The database cannot serve now.
    #[error("the database cannot serve: {0}")]
    Unavailable(diesel::result::Error),
    /// The database has no room left.
    #[error("the database has no room left: {0}")]
    Full(diesel::result::Error),
    /// The database refused the work itself.
    #[error("{0}")]
    Refused(diesel::result::Error),
}

impl DbError {
    /// Whether other work would have failed too.
    pub fn is_unavailable(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    fn guarded(reason: &str) -> Self {
        Self::NoConnection(reason.to_owned())
    }

    fn from_class(class: ErrorClass, error: diesel::result::Error) -> Self {
        match class {
            ErrorClass::Refused | ErrorClass::Unexplained => Self::Refused(error),
            ErrorClass::Full => Self::Full(error),
            ErrorClass::Lost
            | ErrorClass::LostInCommit
            | ErrorClass::Unusable
            | ErrorClass::Conflict
            | ErrorClass::Unavailable => Self::Unavailable(error),
        }
    }
}

/// A pool of connections to one database.
#[derive(Clone)]
pub struct DbPool {
    connections: r2d2::Pool<ConnectionManager>,
    generations: Arc<ConnectionGenerations>,
    /// The pool had no connection when last asked, so new work waits for a shorter time.
    down: Arc<AtomicBool>,
    /// Whether the database may be used at all.
    file_guard: Arc<FileGuard>,
}

/// Which connections are trusted, by the time when they were opened or last verified.
#[derive(Default)]
struct ConnectionGenerations {
    /// Raised when a connection fails. Connections of an earlier generation are checked before use.
    current: AtomicU64,
    /// Connections that were opened before this generation must not be used.
    usable_since: AtomicU64,
    /// When an unexplained error last raised that.
    unexplained: Throttle,
    /// When replaced connections were last logged.
    logged: Throttle,
}

/// Limits how often something happens.
#[derive(Default)]
struct Throttle(Mutex<Option<Instant>>);

// === impl DbPool ===

impl DbPool {
    /// A pool that opens its connections in the background; it neither waits nor fails here.
    pub fn new(url: &DatabaseUrl, size: u32, sharing: Sharing) -> Self {
        let generations = Arc::<ConnectionGenerations>::default();
        let file_guard = Arc::new(FileGuard::new(url));
        let (url, guard) = (url.clone(), Arc::clone(&file_guard));
        let manager = ConnectionManager {
            url,
            sharing,
            generations: Arc::clone(&generations),
            file_guard: guard,
        };
        let connections = r2d2::Pool::builder()
            .max_size(size.max(1))
            .connection_timeout(CONNECTION_TIMEOUT)
            .idle_timeout(None)
            .test_on_check_out(false)
            // The default handler logs every attempt, several a second while the database is down.
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build_unchecked(manager);
        Self { connections, generations, down: Arc::default(), file_guard }
    }

    /// The guard against a database that must not be used any more.
    pub fn file_guard(&self) -> &Arc<FileGuard> {
        &self.file_guard
    }

    /// Runs `work` on a connection. If it was certainly not done, or the connection was lost, it
    /// runs again on another connection. So it may happen twice.
    ///
    /// # Errors
    /// If no connection is free in time, or `work` fails. `work` has not happened then, unless the
    /// connection was lost during a commit.
    pub fn run<T>(
        &self,
        work: impl FnMut(&mut DbConnection) -> QueryResult<T>,
    ) -> Result<T, DbError> {
        self.run_with_retries(work, |class| {
            class.is_retryable() || class == ErrorClass::LostInCommit
        })
    }

    /// As [`Self::run`], for work that must not happen twice. It must be a transaction that passes
    /// errors of its commit through [`commit_error`](super::error_class::commit_error).
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_once<T>(
        &self,
        work: impl FnMut(&mut DbConnection) -> QueryResult<T>,
    ) -> Result<T, DbError> {
        self.run_with_retries(work, ErrorClass::is_retryable)
    }

    fn run_with_retries<T>(
        &self,
        mut work: impl FnMut(&mut DbConnection) -> QueryResult<T>,
        again: impl Fn(ErrorClass) -> bool,
    ) -> Result<T, DbError> {
        let begun = Instant::now();
        let mut tries = 0;
        loop {
            let mut slot = self.checkout()?;
            let started = Instant::now();
            let error = match work(&mut slot.connection) {
                Ok(done) => {
                    // Data written to files that are gone must not be acknowledged.
                    self.file_guard.check().map_err(DbError::guarded)?;
                    return Ok(done);
                }
                Err(error) => error,
            };
            let class = classify(&error, started.elapsed());
            if class.discards_connection() {
                slot.broken = true;
                self.generations.failed(class, &error);
            }
            tries += 1;
            if tries >= MAX_TRIES || begun.elapsed() > RETRY_WINDOW || !again(class) {
                return Err(DbError::from_class(class, error));
            }
        }
    }

    fn checkout(&self) -> Result<r2d2::PooledConnection<ConnectionManager>, DbError> {
        if let Some(reason) = self.file_guard.reason() {
            return Err(DbError::guarded(reason));
        }
        let down = self.down.load(Ordering::Relaxed);
        let wait_limit = if down { CONNECTION_TIMEOUT_WHILE_DOWN } else { CONNECTION_TIMEOUT };
        let deadline = Instant::now() + wait_limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut slot = self.connections.get_timeout(left).map_err(|error| {
                self.down.store(true, Ordering::Relaxed);
                DbError::NoConnection(error.to_string())
            })?;
            let now = self.generations.current.load(Ordering::SeqCst);
            if slot.verified_in == now
                || (self.generations.may_be_usable(&slot) && slot.connection.is_usable())
            {
                slot.verified_in = now;
                self.down.store(false, Ordering::Relaxed);
                return Ok(slot);
            }
            slot.broken = true;
        }
    }
}

// === impl ConnectionGenerations ===

impl ConnectionGenerations {
    /// A connection has failed: others of this generation or an earlier one are not trusted.
    fn failed(&self, class: ErrorClass, error: &diesel::result::Error) {
        let now = Instant::now();
        if self.logged.is_due(now, LOG_INTERVAL) {
            log::info!("connections to the database are replaced: {error}");
        }
        let useless = match class {
            ErrorClass::Unusable => true,
            ErrorClass::Unexplained => self.unexplained.is_due(now, UNEXPLAINED_INTERVAL),
            _ => false,
        };
        if useless {
            // First, because a connection that is checked in the new generation must see this.
            let next = self.current.load(Ordering::SeqCst) + 1;
            self.usable_since.fetch_max(next, Ordering::SeqCst);
        }
        self.current.fetch_add(1, Ordering::SeqCst);
    }

    fn may_be_usable(&self, slot: &TrackedConnection) -> bool {
        slot.opened_in >= self.usable_since.load(Ordering::SeqCst)
    }
}

// === impl Throttle ===

impl Throttle {
    /// Whether it may happen now; if so, it counts as done.
    fn is_due(&self, now: Instant, every: Duration) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= every);
        if due {
            *last = Some(now);
        }
        due
    }
}

/// Opens connections and tells r2d2 which to keep.
struct ConnectionManager {
    url: DatabaseUrl,
    sharing: Sharing,
    generations: Arc<ConnectionGenerations>,
    file_guard: Arc<FileGuard>,
}

struct TrackedConnection {
    connection: DbConnection,
    /// The generation in which it was opened.
    opened_in: u64,
    /// The generation in which it last worked.
    verified_in: u64,
    /// The connection is lost or unusable: the pool throws it away.
    broken: bool,
}

// === impl ConnectionManager ===

impl r2d2::ManageConnection for ConnectionManager {
    type Connection = TrackedConnection;
    type Error = diesel::r2d2::Error;

    fn connect(&self) -> Result<TrackedConnection, Self::Error> {
        let generation = self.generations.current.load(Ordering::SeqCst);
        let mut connection = DbConnection::open(&self.url)?;
        instance_lock::admit(&mut connection, self.sharing)?;
        self.file_guard.record_files()?;
        Ok(TrackedConnection {
            connection,
            opened_in: generation,
            verified_in: generation,
            broken: false,
        })
    }

    fn is_valid(&self, slot: &mut TrackedConnection) -> Result<(), Self::Error> {
        Ok(slot.connection.ping()?)
    }

    fn has_broken(&self, slot: &mut TrackedConnection) -> bool {
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
        let pool =
            DbPool::new(&DatabaseUrl::Sqlite(folder.path().join("hub.sqlite3")), 1, Sharing::Alone);
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

    /// How often work runs whose first run fails, and whether it succeeds.
    fn tries(once: bool, failure: impl Fn() -> Error) -> (u32, bool) {
        let folder = tempfile::tempdir().expect("a folder");
        let pool =
            DbPool::new(&DatabaseUrl::Sqlite(folder.path().join("hub.sqlite3")), 2, Sharing::Alone);
        let mut tries = 0;
        let work = |_: &mut DbConnection| {
            tries += 1;
            if tries == 1 { Err(failure()) } else { Ok(()) }
        };
        let done = if once { pool.run_once(work) } else { pool.run(work) };
        (tries, done.is_ok())
    }

    #[test]
    fn work_that_was_not_done_is_repeated_and_refused_work_is_not() {
        let failed = |kind, words: &str| Error::DatabaseError(kind, Box::new(words.to_owned()));
        let unknown = DatabaseErrorKind::Unknown;
        for once in [true, false] {
            assert_eq!(tries(once, closed), (2, true), "lost");
            for words in [
                "deadlock detected",
                "cached plan must not change result type",
                "prepared statement \"s\" does not exist",
                "etwas Unerklärliches",
            ] {
                assert_eq!(tries(once, || failed(unknown, words)), (2, true), "{words}");
            }
            let conflict = || failed(DatabaseErrorKind::SerializationFailure, "a conflict");
            assert_eq!(tries(once, conflict), (2, true));
            let read_only = || failed(DatabaseErrorKind::ReadOnlyTransaction, "a standby");
            assert_eq!(tries(once, read_only), (2, true));
            let refused = || failed(DatabaseErrorKind::CheckViolation, "refused");
            assert_eq!(tries(once, refused), (1, false));
            assert_eq!(tries(once, || failed(unknown, "database is locked")), (1, false));
        }
        let commit_error = || crate::db::error_class::commit_error(closed());
        assert_eq!(tries(true, commit_error), (1, false), "it may have happened");
        assert_eq!(tries(false, commit_error), (2, true), "it may happen twice");
    }

    #[test]
    fn a_database_that_is_down_is_waited_for_once_and_then_given_up_quickly() {
        let pool =
            DbPool::new(&DatabaseUrl::Sqlite("/dev/null/no/such/folder".into()), 1, Sharing::Alone);
        let first = pool.run(|_| Ok(())).expect_err("no connection");
        assert!(matches!(first, DbError::NoConnection(_)), "{first}");
        let started = Instant::now();
        assert!(pool.run(|_| Ok(())).is_err());
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}
