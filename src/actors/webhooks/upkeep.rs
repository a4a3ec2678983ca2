//! Counts the rows of webhooks for the metrics, wakes endpoints for which rows wait that no commit has
//! announced, and deletes what is too old or too much.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::Instant;

use super::DispatchContext;
use crate::actors::store::StoreError;
use crate::db::webhooks::EndpointCounts;
use crate::metrics::WebhookResult;
use crate::webhooks::endpoints::{Endpoint, Endpoints};
use crate::webhooks::health::Admission;
use protocol::time::Timestamp;

/// How often rows are counted, and looked for that no commit has announced.
const COUNT_INTERVAL: Duration = Duration::from_secs(10);
/// How often old rows are deleted.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

type Counts = BTreeMap<String, EndpointCounts>;

struct Upkeep {
    context: Arc<DispatchContext>,
    endpoints: Arc<ArcSwap<Endpoints>>,
    /// The endpoints that are in the metrics.
    shown: BTreeSet<Arc<str>>,
    /// Those for which as many rows wait as may.
    full: BTreeSet<Arc<str>>,
    /// Endpoints that have rows and are in the file no more.
    left: Vec<String>,
}

/// Runs until the dispatcher is stopped.
pub(super) async fn run(
    context: Arc<DispatchContext>,
    endpoints: Arc<ArcSwap<Endpoints>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut upkeep = Upkeep {
        context,
        endpoints,
        shown: BTreeSet::new(),
        full: BTreeSet::new(),
        left: Vec::new(),
    };
    let (mut ticks, mut swept) = (tokio::time::interval(COUNT_INTERVAL), Instant::now());
    while !*stopped.borrow() {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.changed() => return,
        }
        let endpoints = upkeep.endpoints.load_full();
        // The store has logged what failed; the next round tries again.
        upkeep.count(&endpoints).await.ok();
        if swept.elapsed() >= SWEEP_INTERVAL {
            swept = Instant::now();
            let names = endpoints.iter().map(|endpoint| endpoint.name.to_string()).collect();
            let left = upkeep.left.clone();
            upkeep.context.store.delete_old_webhooks(names, left).await.ok();
        }
    }
}

// === impl Upkeep ===

impl Upkeep {
    async fn count(&mut self, endpoints: &Endpoints) -> Result<(), StoreError> {
        let counts = self.context.store.webhook_counts().await?;
        self.show(endpoints, &counts);
        self.left = counts.keys().filter(|name| endpoints.find(name).is_none()).cloned().collect();
        self.delete_surplus(endpoints, &counts).await?;
        self.wake_forgotten(endpoints, &counts).await
    }

    fn show(&mut self, endpoints: &Endpoints, counts: &Counts) {
        let DispatchContext { metrics, outbox, .. } = &*self.context;
        self.shown.retain(|name| {
            let is_known = endpoints.find(name).is_some();
            if !is_known {
                metrics.webhooks.forget(name);
            }
            is_known
        });
        let mut full = BTreeSet::new();
        for Endpoint { name, .. } in endpoints.iter().map(Arc::as_ref) {
            let EndpointCounts { waiting, dead, .. } =
                counts.get(&**name).copied().unwrap_or_default();
            metrics.webhooks.show(name, waiting, dead);
            self.shown.insert(Arc::clone(name));
            if let Some(queue) = outbox.queue_of(name) {
                queue.set_waiting(waiting);
            }
            if waiting >= outbox.max_rows() {
                full.insert(Arc::clone(name));
            }
        }
        for name in full.difference(&self.full) {
            log::error!(
                endpoint = &**name;
                "WEBHOOK_MAX_ROWS: so many webhooks wait that new ones are given up at once; \
                 see why the endpoint does not take them, and replay them then"
            );
        }
        self.full = full;
    }

    /// Deletes the oldest dead rows of endpoints that have more than may wait.
    async fn delete_surplus(
        &self,
        endpoints: &Endpoints,
        counts: &Counts,
    ) -> Result<(), StoreError> {
        let DispatchContext { store, metrics, outbox, .. } = &*self.context;
        for (name, counts) in counts {
            let surplus = counts.dead - outbox.max_rows();
            if surplus <= 0 {
                continue;
            }
            let deleted = store.delete_dead_webhooks(name.clone(), surplus).await?;
            if endpoints.find(name).is_some() {
                metrics.webhooks.count(name, WebhookResult::Deleted, deleted);
            }
        }
        Ok(())
    }

    /// Wakes the endpoints for which rows wait and something may be sent: another hub may have
    /// written the rows, or started the endpoint again.
    async fn wake_forgotten(
        &self,
        endpoints: &Endpoints,
        counts: &Counts,
    ) -> Result<(), StoreError> {
        let has_rows = |endpoint: &&Arc<Endpoint>| {
            counts.get(&*endpoint.name).is_some_and(|counts| counts.waiting > 0)
        };
        let waiting: Vec<_> = endpoints.iter().filter(has_rows).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let states = self.context.store.webhook_states().await?;
        for endpoint in waiting {
            let state = states.get(&*endpoint.name);
            let admission = state.map(|state| state.admission(&endpoint.entry, Timestamp::now()));
            if !matches!(admission, Some(Admission::Stopped | Admission::Closed(_)))
                && let Some(queue) = self.context.outbox.queue_of(&endpoint.name)
            {
                queue.look.notify_one();
            }
        }
        Ok(())
    }
}
