//! Follows the log of what every node of the cluster carries out: at once when another node tells of
//! an entry, and every second whatever happens to the bus.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::MailboxError;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::entry::{end, know};
use crate::actors::store::{Ban, Revocation, StoreError};
use crate::db::cluster_log::{KEPT_HOURS, LogRow, MAX_ROWS};
use crate::http::Hub;
use crate::room::bans::BanScope;

/// How often the log is read.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long an entry may take to end connections. A worker that hangs does not hold up the others.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// How many entries end connections at once.
const MAX_ENDS: usize = 64;
/// A node that has not read for so long may have missed rows that are gone by now.
const TOO_LONG: Duration = Duration::from_secs(KEPT_HOURS * 3600 / 2);
/// How many results are remembered for the nodes that ask for them.
const MAX_RESULTS: usize = 1024;

/// How far this node has carried out the log. It carries out what it decided itself in the same way:
/// of a ban and its lifting by two nodes, the later one counts on all of them.
pub struct LogFollower {
    /// The last entry that was carried out.
    done: watch::Sender<i64>,
    /// Wakes the reader.
    news: Notify,
    /// How many connections the last entries have closed, oldest first; none where that took too
    /// long.
    results: Mutex<VecDeque<(i64, Option<usize>)>>,
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

    /// Resolves when an entry was carried out, to the number of connections that it has closed; none
    /// if a worker did not answer. Where the database cannot be read it does not resolve.
    pub(super) async fn result_of(&self, number: i64) -> Option<usize> {
        self.news.notify_one();
        // The sender is this value.
        self.done.subscribe().wait_for(|done| *done >= number).await.ok();
        let results = self.results.lock();
        // One that is not here was carried out long ago.
        results.iter().find(|(of, _)| *of == number).map_or(Some(0), |(_, closed)| *closed)
    }

    fn set_done(&self, number: i64, closed: Option<usize>) {
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
            // First, so that nothing is missed in between.
            let last = hub.shared.store.last_log_entry().await?;
            read_everything(hub).await?;
            follower.done.send_replace(last);
            continue;
        }
        let is_last = page.rows.len() < MAX_ROWS;
        carry_out(hub, follower, page.rows).await?;
        if is_last {
            return Ok(());
        }
    }
}

/// Carries out rows. All are known first: where a worker hangs, those who are barred by the rows after
/// do not get in meanwhile.
async fn carry_out(
    hub: &Hub,
    follower: &LogFollower,
    rows: Vec<LogRow>,
) -> Result<(), MailboxError> {
    for row in &rows {
        match &row.entry {
            Some(entry) => know(hub, entry),
            None => log::warn!(
                "an entry of the cluster's log is of a newer version: it is not carried out"
            ),
        }
    }
    let ends = rows.into_iter().map(|row| async move {
        let ended = match &row.entry {
            Some(entry) => timeout(END_TIMEOUT, end(hub, entry)).await,
            None => Ok(Ok(0)),
        };
        (row.id, ended)
    });
    let mut ends = stream::iter(ends).buffered(MAX_ENDS);
    while let Some((number, ended)) = ends.next().await {
        follower.set_done(number, ended.ok().transpose()?);
    }
    Ok(())
}

/// Replaces the bans by those that are in force, and carries out each of them and each revocation.
async fn read_everything(hub: &Hub) -> Result<(), FollowError> {
    let store = &hub.shared.store;
    let (bans, revocations) = (store.bans().await?, store.revocations().await?);
    let known = bans.iter().map(|ban| {
        let scope = ban.order_id.clone().map_or(BanScope::Hub, BanScope::Order);
        (scope, ban.user_id.clone(), ban.until)
    });
    hub.shared.bans.replace_all(known);
    let bans = bans.iter().map(Ban::entry);
    let entries: Vec<_> = bans.chain(revocations.iter().map(Revocation::entry)).collect();
    for entry in &entries {
        know(hub, entry);
    }
    let ends = entries
        .into_iter()
        .map(|entry| async move { timeout(END_TIMEOUT, end(hub, &entry)).await });
    let mut ends = stream::iter(ends).buffered(MAX_ENDS);
    while let Some(ended) = ends.next().await {
        ended.ok().transpose()?;
    }
    Ok(())
}
