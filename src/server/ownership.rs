//! That no other hub uses the database: waiting for the one before at the start, and noticing one that
//! has taken over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::ServeError;
use crate::config::Config;
use crate::db::file_guard::FileGuard;
use crate::db::instance_lock::{Holder, InstanceLock, LockError, LockState};

/// How long the hub before may take to end beyond its own drain.
const TAKEOVER_MARGIN: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// How long a look may take at least, and how long the start waits before it says so.
const SLOW_START: Duration = Duration::from_secs(5);
/// How often a hub looks whether its lock and the files of its database are still its own.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Takes the database for this process, and waits for the process that has it.
///
/// # Errors
/// Where the other one does not end, or the database cannot be asked or does not answer.
pub(super) async fn acquire(config: &Config) -> Result<InstanceLock, ServeError> {
    let mut lock = InstanceLock::new(&config.database.url);
    let (begun, time_limit) = (Instant::now(), config.drain.drain + TAKEOVER_MARGIN);
    let mut told = None;
    loop {
        let left = time_limit.saturating_sub(begun.elapsed()).max(SLOW_START);
        // Nothing ends a question that gets no answer; the end of the process does not wait for it.
        let looked = timeout(left, try_claim(lock)).await;
        let (looked, claim) =
            looked.map_err(|_| ServeError::Silent(begun.elapsed().as_secs()))??;
        lock = looked;
        match claim {
            Ok(LockState::Held) => return Ok(lock),
            Ok(LockState::HeldByOther(holder)) if begun.elapsed() >= time_limit => {
                return Err(ServeError::InUse(holder, time_limit.as_secs()));
            }
            Err(LockError::Earlier | LockError::StillUsed) if begun.elapsed() < time_limit => {
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            Err(error) => return Err(error.into()),
            Ok(LockState::HeldByOther(holder)) => {
                if told.as_ref() != Some(&holder) {
                    let seconds = time_limit.saturating_sub(begun.elapsed()).as_secs();
                    log::warn!(
                        "another hub uses the database ({holder}); waiting up to {seconds} s for its end"
                    );
                    told = Some(holder);
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}

/// Looks at the lock on another thread: a database may take its time, and a stop must not wait for it.
async fn try_claim(
    mut lock: InstanceLock,
) -> Result<(InstanceLock, Result<LockState, LockError>), ServeError> {
    let looked = run_on_thread(move || {
        let claim = lock.acquire();
        (lock, claim)
    });
    Ok(looked.await?)
}

/// Runs what blocks on a thread of its own, for which the end of the process does not wait.
///
/// # Errors
/// Where the system gives no thread, or the work panics.
pub(super) async fn run_on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<T> {
    let (tell, told) = oneshot::channel();
    // Whoever asked may have been stopped meanwhile.
    let run = move || drop(tell.send(work()));
    std::thread::Builder::new().name("start".to_owned()).spawn(run)?;
    told.await.map_err(std::io::Error::other)
}

/// Waits for a step of the start that has to take what it takes, and says so where it is long.
pub(super) async fn warn_if_slow<T>(what: &str, step: impl Future<Output = T>) -> T {
    let mut step = pin!(step);
    if let Ok(done) = timeout(SLOW_START, &mut step).await {
        return done;
    }
    log::warn!("{what} takes long, or the database does not answer; the start waits for it");
    step.await
}

/// The database is this process's for as long as this lives.
pub(super) struct DatabaseOwnership {
    /// Ends the thread that keeps the lock; the lock goes with it.
    _keeping: mpsc::Sender<()>,
    lost: oneshot::Receiver<Holder>,
}

impl DatabaseOwnership {
    /// Keeps the lock that `claim` claims on a thread of its own, and looks at the files of the database.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(super) fn hold_lock(
        mut claim: impl FnMut() -> Result<LockState, LockError> + Send + 'static,
        file_guard: Arc<FileGuard>,
    ) -> std::io::Result<Self> {
        let (keeping, kept) = mpsc::channel();
        let (tell, lost) = oneshot::channel();
        std::thread::Builder::new().name("database-lock".to_owned()).spawn(move || {
            let mut told = false;
            while kept.recv_timeout(CHECK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let look = || {
                    // It tells what it finds.
                    file_guard.check().ok();
                    claim()
                };
                // A panic would end this thread and give the lock away, and the hub would serve on.
                let looked = catch_unwind(AssertUnwindSafe(look));
                match looked.unwrap_or(Err(LockError::Panic)) {
                    Ok(LockState::Held) => told = false,
                    Ok(LockState::HeldByOther(holder)) => {
                        file_guard
                            .disable(format!("another hub has taken the database over ({holder})"));
                        // The hub may be stopping already.
                        tell.send(holder).ok();
                        return;
                    }
                    Err(error) if !told => {
                        log::warn!(
                            "it is not known whether the database is still this hub's: {error}"
                        );
                        told = true;
                    }
                    Err(_) => {}
                }
            }
        })?;
        Ok(Self { _keeping: keeping, lost })
    }

    /// Resolves when another hub has taken the database over.
    pub(super) async fn lost(&mut self) -> Holder {
        match (&mut self.lost).await {
            Ok(holder) => holder,
            // The thread ends without a loss where this has ended: there is nothing to tell.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DatabaseUrl;

    #[tokio::test]
    async fn after_a_panic_the_lock_is_looked_at_as_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = |name| DatabaseUrl::Sqlite(folder.path().join(name));
        let (mut lock, mut other) =
            (InstanceLock::new(&url("hub")), InstanceLock::new(&url("hub")));
        assert_eq!(other.acquire().expect("a look"), LockState::Held);
        let mut looks = 0;
        let claim = move || {
            looks += 1;
            assert!(looks > 1, "a test of panics");
            lock.acquire()
        };
        let file_guard = Arc::new(FileGuard::new(&url("hub")));
        let mut owned =
            DatabaseOwnership::hold_lock(claim, Arc::clone(&file_guard)).expect("a thread");
        let lost = timeout(Duration::from_secs(30), owned.lost()).await;
        assert!(lost.expect("in time").to_string().starts_with("process "));
        assert!(!file_guard.is_usable());
    }
}
