//! Makes sure that no other hub uses the database: waits for the previous hub at the start, and
//! notices one that has taken over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{ServeError, cluster};
use crate::config::{Config, DatabaseUrl};
use crate::db::file_guard::FileGuard;
use crate::db::instance_lock::{Holder, InstanceLock, LockError, LockState, Sharing};

/// How much longer than its drain the previous hub may take to end.
const TAKEOVER_MARGIN: Duration = Duration::from_secs(30);
/// How often the start checks whether it has ended.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// The least time for one check, and how long a step of the start may take before it is logged.
const SLOW_START: Duration = Duration::from_secs(5);
/// How often a hub checks its lock and the files of its database.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Takes the lock on the database, waiting for the process that holds it.
///
/// # Errors
/// When the other process does not end, or the database fails or does not answer.
pub(super) async fn acquire(config: &Config) -> Result<InstanceLock, ServeError> {
    let mut lock = InstanceLock::new(&config.database.url, cluster::sharing(config));
    let (begun, time_limit) = (Instant::now(), config.drain.drain + TAKEOVER_MARGIN);
    let (mut told, mut told_of_connections) = (None, false);
    loop {
        let left = time_limit.saturating_sub(begun.elapsed()).max(SLOW_START);
        // A query without an answer does not end; the process can end without waiting for it.
        let looked = timeout(left, try_claim(lock)).await;
        let (looked, claim) =
            looked.map_err(|_| ServeError::Silent(begun.elapsed().as_secs()))??;
        lock = looked;
        match claim {
            Ok(LockState::Held) => return Ok(lock),
            Ok(LockState::HeldByOther(holder)) if begun.elapsed() >= time_limit => {
                return Err(in_use(holder, time_limit, &config.database.url));
            }
            Err(error @ (LockError::Earlier | LockError::StillUsed))
                if begun.elapsed() < time_limit =>
            {
                let is_news = matches!(error, LockError::StillUsed) && !told_of_connections;
                if is_news {
                    let seconds = time_limit.saturating_sub(begun.elapsed()).as_secs();
                    log::warn!("{error}; waiting up to {seconds} s until they end");
                    told_of_connections = true;
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            Err(error) => return Err(error.into()),
            Ok(LockState::HeldByOther(holder)) => {
                if told.as_ref() != Some(&holder) {
                    let seconds = time_limit.saturating_sub(begun.elapsed()).as_secs();
                    log::warn!(
                        "another hub uses the database ({holder}); waiting up to {seconds} s until it ends"
                    );
                    told = Some(holder);
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}

fn in_use(holder: Holder, time_limit: Duration, url: &DatabaseUrl) -> ServeError {
    let hint = match url {
        DatabaseUrl::Sqlite(_) => "",
        DatabaseUrl::Postgres(_) => "; several hubs on one database need REDIS_URL",
    };
    ServeError::InUse(holder, time_limit.as_secs(), hint)
}

/// Claims the lock on another thread: the database may be slow, and a stop must not wait for it.
async fn try_claim(
    mut lock: InstanceLock,
) -> Result<(InstanceLock, Result<LockState, LockError>), ServeError> {
    let looked = run_on_thread(move || {
        let claim = lock.acquire();
        (lock, claim)
    });
    Ok(looked.await?)
}

/// Runs blocking work on a thread of its own. The process can end without waiting for it.
///
/// # Errors
/// When the system gives no thread, or the work panics.
pub(super) async fn run_on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<T> {
    let (tell, told) = oneshot::channel();
    // The receiver may be gone: a stop may have ended the start.
    let run = move || drop(tell.send(work()));
    std::thread::Builder::new().name("start".to_owned()).spawn(run)?;
    told.await.map_err(std::io::Error::other)
}

/// Waits for a step of the start, and logs when it takes long.
pub(super) async fn warn_if_slow<T>(what: &str, step: impl Future<Output = T>) -> T {
    let mut step = pin!(step);
    if let Ok(done) = timeout(SLOW_START, &mut step).await {
        return done;
    }
    log::warn!("{what} takes long, or the database does not answer; the start waits for it");
    step.await
}

/// This process owns the database as long as this value lives.
pub(super) struct DatabaseOwnership {
    /// Its drop ends the thread that holds the lock, and with it the lock.
    _keeping: mpsc::Sender<()>,
    lost: oneshot::Receiver<Holder>,
}

impl DatabaseOwnership {
    /// Holds the lock that `claim` claims, on a thread of its own, and watches the files of the
    /// database. A node of a cluster does not stop for a hub alone that has taken the lock: it serves
    /// its clients without the database until that hub has ended.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn hold_lock(
        mut claim: impl FnMut() -> Result<LockState, LockError> + Send + 'static,
        sharing: Sharing,
        file_guard: Arc<FileGuard>,
    ) -> std::io::Result<Self> {
        let (keeping, kept) = mpsc::channel();
        let (tell, lost) = oneshot::channel();
        std::thread::Builder::new().name("database-lock".to_owned()).spawn(move || {
            let mut told = false;
            while kept.recv_timeout(CHECK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let look = || {
                    // The check reports its findings itself.
                    file_guard.check().ok();
                    claim()
                };
                // A panic would end this thread and release the lock while the hub serves on.
                let looked = catch_unwind(AssertUnwindSafe(look));
                match looked.unwrap_or(Err(LockError::Panic)) {
                    Ok(LockState::Held) => told = false,
                    Ok(LockState::HeldByOther(holder)) if sharing == Sharing::Cluster => {
                        if !told {
                            log::error!(
                                "a hub without REDIS_URL uses the database ({holder}); stop it"
                            );
                        }
                        told = true;
                    }
                    Ok(LockState::HeldByOther(holder)) => {
                        file_guard
                            .disable(format!("another hub has taken the database over ({holder})"));
                        // The receiver is gone when the hub is stopping.
                        tell.send(holder).ok();
                        return;
                    }
                    Err(error) if !told => {
                        log::warn!(
                            "cannot check whether this hub still has the instance lock: {error}"
                        );
                        told = true;
                    }
                    Err(_) => {}
                }
            }
        })?;
        Ok(Self { _keeping: keeping, lost })
    }

    /// Resolves when another hub has taken over the database.
    pub(super) async fn lost(&mut self) -> Holder {
        match (&mut self.lost).await {
            Ok(holder) => holder,
            // The thread ended without a loss because this value was dropped.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn after_a_panic_the_lock_is_looked_at_as_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = |name| DatabaseUrl::Sqlite(folder.path().join(name));
        let (mut lock, mut other) = (
            InstanceLock::new(&url("hub"), Sharing::Alone),
            InstanceLock::new(&url("hub"), Sharing::Alone),
        );
        assert_eq!(other.acquire().expect("a look"), LockState::Held);
        let mut looks = 0;
        let claim = move || {
            looks += 1;
            assert!(looks > 1, "a test of panics");
            lock.acquire()
        };
        let file_guard = Arc::new(FileGuard::new(&url("hub")));
        let mut owned =
            DatabaseOwnership::hold_lock(claim, Sharing::Alone, Arc::clone(&file_guard))
                .expect("a thread");
        let lost = timeout(Duration::from_secs(30), owned.lost()).await;
        assert!(lost.expect("in time").to_string().starts_with("process "));
        assert!(!file_guard.is_usable());
    }
}
