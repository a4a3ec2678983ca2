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
use crate::db::fence::Fence;
use crate::db::instance_lock::{Claim, Holder, InstanceLock, LockError};

/// How long the hub before may take to end beyond its own drain.
const BEYOND_DRAIN: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a look may take at least, and how long the start waits before it says so.
const SLOW: Duration = Duration::from_secs(5);
/// How often a hub looks whether its lock and the files of its database are still its own.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// Takes the database for this process, and waits for the process that has it.
///
/// # Errors
/// Where the other one does not end, or the database cannot be asked or does not answer.
pub(super) async fn take(config: &Config) -> Result<InstanceLock, ServeError> {
    let mut lock = InstanceLock::new(&config.database.url);
    let (begun, patience) = (Instant::now(), config.drain.drain + BEYOND_DRAIN);
    let mut told = None;
    loop {
        let left = patience.saturating_sub(begun.elapsed()).max(SLOW);
        // Nothing ends a question that gets no answer; the end of the process does not wait for it.
        let looked = timeout(left, look(lock)).await;
        let (looked, claim) =
            looked.map_err(|_| ServeError::Silent(begun.elapsed().as_secs()))??;
        lock = looked;
        match claim {
            Ok(Claim::Held) => return Ok(lock),
            Ok(Claim::Taken(holder)) if begun.elapsed() >= patience => {
                return Err(ServeError::InUse(holder, patience.as_secs()));
            }
            Err(LockError::Earlier | LockError::StillUsed) if begun.elapsed() < patience => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(error) => return Err(error.into()),
            Ok(Claim::Taken(holder)) => {
                if told.as_ref() != Some(&holder) {
                    let seconds = patience.saturating_sub(begun.elapsed()).as_secs();
                    log::warn!(
                        "another hub uses the database ({holder}); waiting up to {seconds} s for its end"
                    );
                    told = Some(holder);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}

/// Looks at the lock on another thread: a database may take its time, and a stop must not wait for it.
async fn look(
    mut lock: InstanceLock,
) -> Result<(InstanceLock, Result<Claim, LockError>), ServeError> {
    let looked = off_thread(move || {
        let claim = lock.claim();
        (lock, claim)
    });
    Ok(looked.await?)
}

/// Runs what blocks on a thread of its own, for which the end of the process does not wait.
///
/// # Errors
/// Where the system gives no thread, or the work panics.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<T> {
    let (tell, told) = oneshot::channel();
    // Whoever asked may have been stopped meanwhile.
    let run = move || drop(tell.send(work()));
    std::thread::Builder::new().name("start".to_owned()).spawn(run)?;
    told.await.map_err(std::io::Error::other)
}

/// Waits for a step of the start that has to take what it takes, and says so where it is long.
pub(super) async fn announced<T>(what: &str, step: impl Future<Output = T>) -> T {
    let mut step = pin!(step);
    if let Ok(done) = timeout(SLOW, &mut step).await {
        return done;
    }
    log::warn!("{what} takes long, or the database does not answer; the start waits for it");
    step.await
}

/// The database is this process's for as long as this lives.
pub(super) struct Ownership {
    /// Ends the thread that keeps the lock; the lock goes with it.
    _keeping: mpsc::Sender<()>,
    lost: oneshot::Receiver<Holder>,
}

impl Ownership {
    /// Keeps the lock that `claim` claims on a thread of its own, and looks at the files of the database.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(super) fn keep(
        mut claim: impl FnMut() -> Result<Claim, LockError> + Send + 'static,
        fence: Arc<Fence>,
    ) -> std::io::Result<Self> {
        let (keeping, kept) = mpsc::channel();
        let (tell, lost) = oneshot::channel();
        std::thread::Builder::new().name("database-lock".to_owned()).spawn(move || {
            let mut told = false;
            while kept.recv_timeout(KEEP_EVERY) == Err(RecvTimeoutError::Timeout) {
                let look = || {
                    // It tells what it finds.
                    fence.check().ok();
                    claim()
                };
                // A panic would end this thread and give the lock away, and the hub would serve on.
                let looked = catch_unwind(AssertUnwindSafe(look));
                match looked.unwrap_or(Err(LockError::Panic)) {
                    Ok(Claim::Held) => told = false,
                    Ok(Claim::Taken(holder)) => {
                        fence.raise(format!("another hub has taken the database over ({holder})"));
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
        assert_eq!(other.claim().expect("a look"), Claim::Held);
        let mut looks = 0;
        let claim = move || {
            looks += 1;
            assert!(looks > 1, "a test of panics");
            lock.claim()
        };
        let fence = Arc::new(Fence::new(&url("hub")));
        let mut owned = Ownership::keep(claim, Arc::clone(&fence)).expect("a thread");
        let lost = timeout(Duration::from_secs(30), owned.lost()).await;
        assert!(lost.expect("in time").to_string().starts_with("process "));
        assert!(!fence.is_sound());
    }
}
