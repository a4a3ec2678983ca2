//! Deletes what has expired: at the start of the store, and then once a minute. Each sweep deletes
//! in steps, and lets the work that waits for a writer pass between them.

use std::time::Duration;

use actix::ArbiterHandle;
use diesel::QueryResult;
use tokio::time::{Instant, interval_at};

use super::db_thread::{DbThread, DbThreads};
use super::orders::NOT_PURGED;
use super::trail::TrailOptions;
use crate::db::connection::DbConnection;
use crate::db::{cluster_log, idempotency, order_changes, resumes, trail};
use protocol::time::Timestamp;

/// How often expired points of trails and expired answers are deleted.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// For how many deleted orders a start continues to remove chat, at most.
const MAX_UNPURGED: i64 = 1000;

/// Begins the sweeps. They end with the writers.
pub(super) fn start(writers: &DbThreads, options: TrailOptions, arbiter: &ArbiterHandle) {
    // Only now, because session records are written only at a drain.
    writers.run_steps(step("expired sessions were not deleted", |connection| {
        let deleted = resumes::delete_expired(connection, Timestamp::now())?;
        Ok(deleted >= resumes::MAX_EXPIRED)
    }));
    purge_unfinished(writers);
    sweep(writers, options);
    let writers = writers.downgrade();
    arbiter.spawn(async move {
        let mut ticks = interval_at(Instant::now() + SWEEP_INTERVAL, SWEEP_INTERVAL);
        loop {
            ticks.tick().await;
            let Some(writers) = writers.upgrade() else { return };
            sweep(&writers, options);
        }
    });
}

/// Deletes expired answers of idempotent calls, old entries of the cluster's log, and expired points of
/// trails.
fn sweep(writers: &DbThreads, options: TrailOptions) {
    writers.run_steps(step("expired answers were not deleted", |connection| {
        let deleted = idempotency::delete_expired(connection, Timestamp::now())?;
        Ok(deleted >= idempotency::MAX_EXPIRED)
    }));
    writers.run_steps(step("old entries were not deleted", |connection| {
        Ok(cluster_log::delete_old(connection)? >= cluster_log::MAX_ROWS)
    }));
    writers.run_steps(step("expired positions were not deleted", move |connection| {
        trail::delete_expired(connection, options.oldest_kept(Timestamp::now()))
    }));
}

/// Continues the removals of chat that an earlier process did not finish.
fn purge_unfinished(writers: &DbThreads) {
    let queue = writers.clone();
    writers.start_job(move |thread| {
        let orders = thread.query("deleted orders were not looked for", |connection| {
            order_changes::orders_to_purge(connection, MAX_UNPURGED)
        });
        for order in orders.unwrap_or_default() {
            queue.run_steps(step(NOT_PURGED, move |connection| {
                order_changes::purge(connection, &order)
            }));
        }
    });
}

/// One step of a sweep, by a query that returns whether there may be more to delete.
fn step(
    failed: &'static str,
    delete: impl Fn(&mut DbConnection) -> QueryResult<bool> + Send + 'static,
) -> impl Fn(&DbThread) -> bool + Send + 'static {
    move |thread| thread.query(failed, &delete).unwrap_or(false)
}
