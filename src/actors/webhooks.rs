//! The dispatcher of webhooks: a task for each endpoint, on a thread of its own. It reads
//! `WEBHOOKS_FILE` again while the hub runs.

pub mod client;
mod delivery;
mod endpoint_task;
mod unread;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{ArbiterHandle, Message, Recipient};
use arc_swap::ArcSwap;
use futures_util::future::join;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;

use self::endpoint_task::EndpointTask;
use super::cluster::{Peers, Question};
use super::shared::Shared;
use super::store::Store;
use crate::auth::WatchedSource;
use crate::config::{ConfigError, WebhookConfig};
use crate::metrics::Metrics;
use crate::webhooks::endpoints::{Endpoints, MAX_FILE_BYTES};
use crate::webhooks::event::EventKind;
use crate::webhooks::outbox::Outbox;
use crate::webhooks::payload;
use crate::webhooks::schedule::RetrySchedule;
use protocol::ids::{OrderId, UserId};
use protocol::time::Timestamp;

/// How often the file is looked at.
const FILE_INTERVAL: Duration = Duration::from_secs(2);
/// How long a task that panicked, or could not write, waits before it goes on.
const RETRY: Duration = Duration::from_secs(1);
/// How long other nodes may take to say who is connected to them.
const OTHERS_TIMEOUT: Duration = Duration::from_millis(500);

/// Asks which of these users are connected to this node.
#[derive(Message)]
#[rtype(result = "BTreeSet<UserId>")]
pub struct FindOnline(pub Vec<UserId>);

/// Asks the room of an order how far these users are with its chat. Without a room there is no answer.
#[derive(Message)]
#[rtype(result = "BTreeMap<UserId, SeenInRoom>")]
pub struct FindSeen {
    /// The order.
    pub order: OrderId,
    /// The users.
    pub users: Vec<UserId>,
}

/// How far a user is with a room's chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenInRoom {
    /// The read mark.
    pub read: i64,
    /// What the user's joined connections were sent last; 0 without one.
    pub shown: i64,
}

/// Finds whom to ask [`FindOnline`]; nobody until the first worker runs.
pub type OnlineSource = Box<dyn Fn() -> Option<Recipient<FindOnline>> + Send + Sync>;

/// Finds whom to ask [`FindSeen`].
pub type RoomSource = Box<dyn Fn() -> Option<Recipient<FindSeen>> + Send + Sync>;

/// What all tasks of a dispatcher share.
pub struct DispatchContext {
    /// What all actors share.
    pub shared: Arc<Shared>,
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
    /// Who was shown what.
    pub rooms: RoomSource,
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

// === impl DispatchContext ===

impl DispatchContext {
    /// Which of these users are connected, to this node or another one; none if it cannot be known
    /// yet.
    async fn online_among(&self, users: Vec<UserId>) -> Option<BTreeSet<UserId>> {
        let question = self.peers.question(|| Question::Online(users.clone()));
        let others = self.peers.ask::<BTreeSet<UserId>>(question, OTHERS_TIMEOUT);
        let here = (self.online)()?.send(FindOnline(users));
        // Who is connected to a node that does not answer counts as offline.
        let (here, others) = join(here, others).await;
        let mut online = here.ok()?;
        online.extend(others.answers.into_iter().flatten());
        Some(online)
    }
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
        let (settle, settled) = oneshot::channel();
        let looking = unread::run(Arc::clone(&context), stopped.clone());
        // The receiver waits, unless it panicked.
        arbiter.spawn(async move { drop(settle.send(looking.await)) });
        let telling = Arc::clone(&context);
        arbiter.spawn(upkeep::run(context, Arc::clone(&endpoints), stopped.clone()));
        arbiter.spawn(async move {
            keeper.run(stopped).await;
            unread::finish(&telling, settled.await.unwrap_or_default()).await;
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
        if let Some(queue) = self.outbox.queue_of(endpoint) {
            queue.look.notify_one();
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
        if self.endpoints.load().have_other_authorities() {
            self.source.read_again();
        }
        let (variable, name) = (self.source.variable(), self.source.name());
        let (endpoints, outbox) = (Arc::clone(&self.endpoints), Arc::clone(&self.context.outbox));
        // A small file on this thread: if its disk hangs, only webhooks wait.
        self.source.read_if_changed(Endpoints::parse, |parsed| {
            log::info!("{variable}: {} endpoints of {name} are in use", parsed.len());
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
            outbox.announce(&[EventKind::HubStarted]);
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}
