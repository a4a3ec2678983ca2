//! The dispatcher of webhooks: a task for each endpoint, on a thread of its own. It reads
//! `WEBHOOKS_FILE` again while the hub runs, and counts what waits.

pub mod client;
mod delivery;
mod endpoint_task;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{ArbiterHandle, Message, Recipient};
use arc_swap::ArcSwap;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;

use self::endpoint_task::EndpointTask;
use super::cluster::Peers;
use super::store::{Store, StoreError};
use crate::auth::WatchedSource;
use crate::config::{ConfigError, WebhookConfig};
use crate::db::webhooks::EndpointCounts;
use crate::metrics::Metrics;
use crate::webhooks::endpoints::{Endpoint, Endpoints, MAX_FILE_BYTES};
use crate::webhooks::event::EventKind;
use crate::webhooks::health::Admission;
use crate::webhooks::outbox::Outbox;
use crate::webhooks::payload;
use crate::webhooks::schedule::RetrySchedule;
use protocol::ids::UserId;
use protocol::time::Timestamp;

/// How often the file is looked at.
const FILE_INTERVAL: Duration = Duration::from_secs(2);
/// How often rows are counted, and looked for that no commit has announced.
const COUNT_INTERVAL: Duration = Duration::from_secs(10);
/// How often old rows are deleted.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How long a task that panicked, or could not write, waits before it goes on.
const RETRY: Duration = Duration::from_secs(1);

/// Asks which of these users are connected to this node.
#[derive(Message)]
#[rtype(result = "BTreeSet<UserId>")]
pub struct FindOnline(pub Vec<UserId>);

/// Finds whom to ask [`FindOnline`]; nobody until the first worker runs.
pub type OnlineSource = Box<dyn Fn() -> Option<Recipient<FindOnline>> + Send + Sync>;

/// What all tasks of a dispatcher share.
pub struct DispatchContext {
    /// Where rows are taken from.
    pub store: Store,
    /// What writers and rooms tell.
    pub outbox: Arc<Outbox>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// `WEBHOOK_RETRY_SCHEDULE`.
    pub schedule: Arc<RetrySchedule>,
    /// `WEBHOOK_CONCURRENCY`.
    pub concurrency: usize,
    /// Who is connected to this node.
    pub online: OnlineSource,
    /// The other nodes, which know who is connected to them.
    pub peers: Arc<Peers>,
}

/// `WEBHOOKS_FILE` as it was read at the start.
pub struct WebhookFile {
    /// The file, to be read again.
    pub source: WatchedSource,
    /// Its endpoints.
    pub endpoints: Endpoints,
}

/// The running dispatcher.
pub struct Dispatcher {
    endpoints: Arc<ArcSwap<Endpoints>>,
    outbox: Arc<Outbox>,
    stop: watch::Sender<bool>,
    /// Resolves when every task has ended.
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

/// The task that keeps the others.
struct Keeper {
    context: Arc<DispatchContext>,
    endpoints: Arc<ArcSwap<Endpoints>>,
    source: WatchedSource,
    reread: Arc<Notify>,
    /// The running task of each endpoint: the hash of its entry, and what stops it.
    running: HashMap<Arc<str>, (String, watch::Sender<bool>)>,
    tasks: JoinSet<()>,
}

// === impl WebhookFile ===

impl WebhookFile {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// `WEBHOOKS_FILE` if it cannot be read or an entry is wrong.
    pub fn open(config: &WebhookConfig) -> Result<Option<Self>, ConfigError> {
        let Some(path) = &config.file else { return Ok(None) };
        let source = WatchedSource::file(path, MAX_FILE_BYTES, "WEBHOOKS_FILE", "endpoints");
        let endpoints = source.first(Endpoints::parse)?;
        Ok(Some(Self { source, endpoints }))
    }
}

// === impl Dispatcher ===

impl Dispatcher {
    /// Starts to send, on an arbiter. `reread` asks to read the file at once.
    pub fn start(
        context: DispatchContext,
        file: WebhookFile,
        reread: Arc<Notify>,
        arbiter: &ArbiterHandle,
    ) -> Self {
        let WebhookFile { source, endpoints } = file;
        let context = Arc::new(context);
        let endpoints = Arc::new(ArcSwap::from_pointee(endpoints));
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let keeper = Keeper {
            context: Arc::clone(&context),
            endpoints: Arc::clone(&endpoints),
            source,
            reread,
            running: HashMap::new(),
            tasks: JoinSet::new(),
        };
        let outbox = Arc::clone(&context.outbox);
        arbiter.spawn(tell_start(Arc::clone(&context), stopped.clone()));
        arbiter.spawn(count(context, Arc::clone(&endpoints), stopped.clone()));
        arbiter.spawn(async move {
            keeper.run(stopped).await;
            // The receiver is gone if the drain did not wait for it.
            end.send(()).ok();
        });
        Self { endpoints, outbox, stop, ended: Mutex::new(Some(ended)) }
    }

    /// The endpoints in force.
    pub fn endpoints(&self) -> Arc<Endpoints> {
        self.endpoints.load_full()
    }

    /// Has the task of an endpoint look at what is stored of it.
    pub fn look(&self, endpoint: &str) {
        if let Some(wake) = self.outbox.wake_of(endpoint) {
            wake.look.notify_one();
        }
    }

    /// Takes nothing more. Resolves when every request under way has ended and is recorded.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ended) = ended {
            // An error means that the thread is gone, and everything with it.
            ended.await.ok();
        }
    }
}

// === impl Keeper ===

impl Keeper {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(FILE_INTERVAL);
        while !*stopped.borrow() {
            self.start_missing();
            tokio::select! {
                _ = ticks.tick() => self.read_file(),
                () = self.reread.clone().notified_owned() => {
                    self.source.forget_problem();
                    self.read_file();
                }
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended {
                        log::error!("sending webhooks panicked: {error}");
                        tokio::time::sleep(RETRY).await;
                    }
                    self.running.retain(|_, (_, stop)| !stop.is_closed());
                }
                _ = stopped.changed() => {}
            }
        }
        // Dropped, they stop the tasks.
        self.running.clear();
        while self.tasks.join_next().await.is_some() {}
    }

    /// Starts a task for each endpoint without one, and stops those whose entry is another or gone.
    fn start_missing(&mut self) {
        let endpoints = self.endpoints.load_full();
        let is_current = |name: &str, entry: &str| {
            endpoints.find(name).is_some_and(|endpoint| endpoint.entry == entry)
        };
        self.running.retain(|name, (entry, _)| is_current(name, entry));
        for endpoint in endpoints.iter() {
            if self.running.contains_key(&endpoint.name) {
                continue;
            }
            let (stop, stopped) = watch::channel(false);
            match EndpointTask::new(Arc::clone(endpoint), Arc::clone(&self.context)) {
                Ok(task) => drop(self.tasks.spawn_local(task.run(stopped))),
                Err(problem) => {
                    log::error!(endpoint = &*endpoint.name; "nothing can be sent: {problem}");
                }
            }
            let known = (endpoint.entry.clone(), stop);
            self.running.insert(Arc::clone(&endpoint.name), known);
        }
    }

    /// Takes a new version of the file, if it is good.
    fn read_file(&mut self) {
        let (variable, name) = (self.source.variable(), self.source.name());
        let (endpoints, outbox) = (Arc::clone(&self.endpoints), Arc::clone(&self.context.outbox));
        // A small file on this thread: if its disk hangs, only webhooks wait.
        self.source.read_if_changed(Endpoints::parse, |parsed| {
            log::info!("{variable}: {} endpoints of {name} count", parsed.len());
            outbox.set_endpoints(&parsed);
            endpoints.store(Arc::new(parsed));
        });
    }
}

/// Tells that this hub has started, once the database takes it.
async fn tell_start(context: Arc<DispatchContext>, stopped: watch::Receiver<bool>) {
    let outbox = &context.outbox;
    let at = Timestamp::now();
    let data = payload::hub_started(outbox.node(), outbox.boot_id(), at);
    while outbox.listeners().any().contains(EventKind::HubStarted) && !*stopped.borrow() {
        let told =
            context.store.tell_webhooks(EventKind::HubStarted, outbox.listeners(), data.clone());
        if told.await.is_ok() {
            outbox.committed(&[EventKind::HubStarted], 0);
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Counts rows for the metrics, wakes endpoints for which rows wait that were not announced, and
/// deletes old rows.
async fn count(
    context: Arc<DispatchContext>,
    endpoints: Arc<ArcSwap<Endpoints>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut ticks = tokio::time::interval(COUNT_INTERVAL);
    let (mut shown, mut was_full, mut swept) = (HashSet::new(), false, tokio::time::Instant::now());
    let mut left = Vec::new();
    while !*stopped.borrow() {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.changed() => return,
        }
        let endpoints = endpoints.load_full();
        // The store has logged why it failed.
        if let Ok(counts) = context.store.webhook_counts().await {
            show(&context, &endpoints, &counts, &mut shown);
            left = counts.keys().filter(|name| endpoints.find(name).is_none()).cloned().collect();
            let is_full = context.outbox.is_full();
            if is_full && !was_full {
                log::error!(
                    "WEBHOOK_MAX_ROWS: so many webhooks wait that new ones are given up at once; \
                     see which endpoint is down, and replay them then"
                );
            }
            was_full = is_full;
            wake_forgotten(&context, &endpoints, &counts).await.ok();
        }
        if swept.elapsed() >= SWEEP_INTERVAL {
            swept = tokio::time::Instant::now();
            context.store.delete_old_webhooks(left.clone()).await.ok();
        }
    }
}

fn show(
    context: &DispatchContext,
    endpoints: &Endpoints,
    counts: &BTreeMap<String, EndpointCounts>,
    shown: &mut HashSet<Arc<str>>,
) {
    context.outbox.set_waiting(counts.values().map(|counts| counts.waiting).sum());
    shown.retain(|name| {
        let is_known = endpoints.find(name).is_some();
        if !is_known {
            context.metrics.webhooks.forget(name);
        }
        is_known
    });
    for endpoint in endpoints.iter() {
        let EndpointCounts { waiting, dead, .. } =
            counts.get(&*endpoint.name).copied().unwrap_or_default();
        context.metrics.webhooks.show(&endpoint.name, waiting, dead);
        shown.insert(Arc::clone(&endpoint.name));
    }
}

/// Wakes the endpoints for which rows wait and something may be sent: another hub may have written
/// the rows, or started the endpoint again.
async fn wake_forgotten(
    context: &DispatchContext,
    endpoints: &Endpoints,
    counts: &BTreeMap<String, EndpointCounts>,
) -> Result<(), StoreError> {
    let has_rows = |endpoint: &&Arc<Endpoint>| {
        counts.get(&*endpoint.name).is_some_and(|counts| counts.waiting > 0)
    };
    let waiting: Vec<_> = endpoints.iter().filter(has_rows).collect();
    if waiting.is_empty() {
        return Ok(());
    }
    let states = context.store.webhook_states().await?;
    for endpoint in waiting {
        let state = states.get(&*endpoint.name);
        let admission = state.map(|state| state.admission(&endpoint.entry, Timestamp::now()));
        if !matches!(admission, Some(Admission::Stopped | Admission::Closed(_)))
            && let Some(wake) = context.outbox.wake_of(&endpoint.name)
        {
            wake.look.notify_one();
        }
    }
    Ok(())
}
