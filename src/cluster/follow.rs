//! Follows the log of what every node of the cluster carries out: at once when another node tells of
//! an entry, and every second whatever happens to the bus.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::MailboxError;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::entry::carry_out;
use crate::actors::store::StoreError;
use crate::db::cluster_log::{KEPT_HOURS, LogRow, MAX_ROWS};
use crate::http::Hub;

/// How often the log is read.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often old rows are deleted.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);
/// A node that has not read for so long may have missed rows that are gone by now.
const TOO_LONG: Duration = Duration::from_secs(KEPT_HOURS * 3600 / 2);
/// How many results are remembered for the nodes that ask for them.
const MAX_RESULTS: usize = 1024;

/// How far this node has carried out the log.
pub(super) struct LogFollower {
    /// The last entry that was carried out.
    done: watch::Sender<i64>,
    /// Wakes the reader.
    news: Notify,
    /// How many connections the last entries have closed, oldest first.
    results: Mutex<VecDeque<(i64, usize)>>,
}

/// Why reading the log stopped.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    /// The store has logged it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The hub stops.
    #[error(transparent)]
    Stopping(#[from] MailboxError),
}

impl LogFollower {
    /// Everything up to this entry was read otherwise.
    pub(super) fn new(position: i64) -> Self {
        let results = Mutex::default();
        Self { done: watch::Sender::new(position), news: Notify::new(), results }
    }

    /// Resolves when an entry was carried out, to the number of connections that it has closed. The
    /// node that asks gives up long before one that cannot read the database.
    pub(super) async fn result_of(&self, number: i64) -> usize {
        self.news.notify_one();
        // The sender is this value.
        self.done.subscribe().wait_for(|done| *done >= number).await.ok();
        let results = self.results.lock();
        results.iter().find(|(of, _)| *of == number).map_or(0, |(_, closed)| *closed)
    }

    fn set_done(&self, number: i64, closed: usize) {
        let mut results = self.results.lock();
        if results.len() >= MAX_RESULTS {
            results.pop_front();
        }
        results.push_back((number, closed));
        drop(results);
        self.done.send_replace(number);
    }
}

/// Carries out the log until the hub stops.
pub(super) async fn follow(
    hub: Hub,
    follower: Arc<LogFollower>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut read_at = Instant::now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = follower.news.notified() => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        if read_at.elapsed() > TOO_LONG && read_everything(&hub).await.is_err() {
            continue;
        }
        match read(&hub, &follower).await {
            Ok(()) => read_at = Instant::now(),
            Err(FollowError::Stopping(_)) => return,
            // In a second again.
            Err(FollowError::Store(_)) => {}
        }
    }
}

/// Carries out what is new in the log.
async fn read(hub: &Hub, follower: &LogFollower) -> Result<(), FollowError> {
    loop {
        let position = *follower.done.borrow();
        let page = hub.shared.store.log_after(position).await?;
        if page.is_behind {
            log::error!(
                "the database has lost what it had committed: bans and revocations are read again"
            );
            read_everything(hub).await?;
            follower.done.send_replace(hub.shared.store.last_log_entry().await?);
            continue;
        }
        let is_last = page.rows.len() < MAX_ROWS;
        for row in page.rows {
            let closed = carry_out_row(hub, &row).await?;
            follower.set_done(row.id, closed);
        }
        if is_last {
            return Ok(());
        }
    }
}

async fn carry_out_row(hub: &Hub, row: &LogRow) -> Result<usize, MailboxError> {
    if row.author == Some(hub.shared.node.boot) {
        return Ok(0);
    }
    let Some(entry) = &row.entry else {
        log::warn!("an entry of the cluster's log is of a newer version: it is not carried out");
        return Ok(0);
    };
    carry_out(hub, entry).await
}

/// Carries out every ban and revocation that is in force.
async fn read_everything(hub: &Hub) -> Result<(), FollowError> {
    let store = &hub.shared.store;
    let bans = store.bans().await?.into_iter().map(|ban| ban.entry());
    let revocations = store.revocations().await?.into_iter().map(|one| one.entry());
    for entry in bans.chain(revocations) {
        carry_out(hub, &entry).await?;
    }
    Ok(())
}

/// Deletes old rows of the log until the hub stops.
pub(super) async fn sweep(hub: Hub, mut stopped: watch::Receiver<bool>) {
    let mut ticks = interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        // The store logs a failure, and the next sweep tries again.
        while hub.shared.store.sweep_cluster_log().await == Ok(true) {}
    }
}
