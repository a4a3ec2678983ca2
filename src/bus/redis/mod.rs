//! The bus over Redis, on a thread of its own.
//!
//! | file | does |
//! |---|---|
//! | `supervisor` | finds the servers, keeps a link to each one, tells the state |
//! | `link` | the connections to one server, and whether the node hears itself through it |
//! | `publishing`, `subscribing`, `receiving` | what a link does while all is well |
//! | `connector`, `server` | makes connections, and reads what servers say of themselves |
//! | `pushes` | what a server pushes, between the connection and its reader |
//! | `failure` | why a connection ends |

mod connector;
mod failure;
mod link;
mod publishing;
mod pushes;
mod receiving;
mod server;
mod subscribing;
mod supervisor;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};

use self::connector::Connector;
pub use self::failure::Failure;
use self::link::Link;
use self::supervisor::Supervisor;
use super::incoming::IncomingLimit;
use super::pending::{Lost, Pushed};
use super::subscriptions::Subscriptions;
use super::topic::{Channels, Partition};
use super::{
    Bus, Confirmation, Dropped, Event, Kind, Node, Receiver, State, Subscription, Topic,
    Unsubscribe,
};
use crate::config::RedisUrl;
use crate::metrics::Metrics;

/// What a bus over Redis needs to know.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// Where Redis is.
    pub url: RedisUrl,
    /// A PEM file of authorities that count instead of the public ones.
    pub ca: Option<PathBuf>,
    /// What the names of all channels begin with.
    pub prefix: String,
    /// The id of this cluster of hubs. Clusters with different ids never hear each other.
    pub cluster: String,
    /// This node.
    pub node: Node,
}

/// Why a bus cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Redis cannot be reached or used.
    #[error("REDIS_URL: {0}")]
    Redis(#[from] Failure),
    /// The authorities cannot be read.
    #[error("REDIS_CA: {0}: {1}")]
    Authorities(PathBuf, String),
    /// The system refused a thread.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The bus over Redis.
pub struct RedisBus {
    core: Arc<Core>,
    /// The thread of the connections; none when it was closed.
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the callers of a bus share with its thread.
struct Core {
    node: Node,
    channels: Channels,
    metrics: Arc<Metrics>,
    receiver: Arc<dyn Receiver>,
    subscriptions: Mutex<Subscriptions>,
    /// The link of each partition; none while there is none that works.
    links: ArcSwap<Vec<Option<Arc<Link>>>>,
    dropped: Mutex<Dropped>,
    incoming: IncomingLimit,
    state: Mutex<State>,
    /// The number of the next event.
    next_number: AtomicU64,
    /// A link has become ready.
    link_ready: Notify,
    /// The bus is to be closed.
    closing: Notify,
}

impl RedisBus {
    /// Connects to Redis and subscribes. The receiver is told that the bus is up before this
    /// returns.
    ///
    /// # Errors
    /// Within five seconds, when Redis cannot be reached or used. Later the bus heals by itself.
    pub async fn start(
        options: RedisOptions,
        metrics: Arc<Metrics>,
        receiver: Arc<dyn Receiver>,
    ) -> Result<Self, StartError> {
        let connector = Connector::new(options.url, options.ca.as_deref())?;
        metrics.bus.up.set(0);
        let core = Arc::new(Core {
            node: options.node,
            channels: Channels::new(&options.prefix, &options.cluster),
            metrics,
            receiver,
            subscriptions: Mutex::new(Subscriptions::new()),
            links: ArcSwap::from_pointee(vec![None; Partition::all().count()]),
            dropped: Mutex::default(),
            incoming: IncomingLimit::new(),
            state: Mutex::new(State::Down),
            next_number: AtomicU64::new(1),
            link_ready: Notify::new(),
            closing: Notify::new(),
        });
        let (started, up) = oneshot::channel();
        let supervisor = Supervisor::new(Arc::clone(&core), connector, started);
        // A thread of its own: a worker that is busy for a moment must not make the node deaf.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("bus".to_owned());
        let thread = thread.spawn(move || runtime.block_on(supervisor.run()))?;
        let thread = Mutex::new(Some(thread));
        let bus = Self { core, thread };
        match up.await {
            Ok(result) => result.map(|()| bus).map_err(StartError::Redis),
            Err(_) => Err(io::Error::other("the thread of the bus has ended").into()),
        }
    }
}

impl Bus for RedisBus {
    fn publish(&self, topic: &Topic, event: Event) {
        let (metrics, kind) = (&self.core.metrics.bus, event.kind);
        let links = self.core.links.load();
        let link = links.get(topic.partition().index()).and_then(Option::as_ref);
        match link.map(|link| (link, link.pending().push(topic.clone(), event))) {
            Some((link, Pushed::Waits)) => link.to_publish.notify_one(),
            Some((_, Pushed::Replaced)) => _ = metrics.conflated.inc(),
            Some((_, Pushed::NoPlace)) | None => self.core.drop_event(topic.clone(), kind),
        }
    }

    fn subscribe(&self, topic: Topic, worker: usize) -> (Subscription, Confirmation) {
        let channel = self.core.channels.name(&topic);
        let mut subscriptions = self.core.subscriptions();
        let mut confirmed = subscriptions.add(&channel, topic.clone(), worker);
        // Under the lock: a link that is lost is taken out of the list before its subscriptions
        // are, so the receiver is dropped either here or there.
        match self.core.links.load().get(topic.partition().index()).and_then(Option::as_ref) {
            Some(link) => link.to_subscribe.notify_one(),
            None => confirmed = oneshot::channel().1,
        }
        drop(subscriptions);
        let owner: Arc<dyn Unsubscribe> = Arc::clone(&self.core) as _;
        (Subscription { topic, worker, owner: Some(owner) }, Confirmation(Some(confirmed)))
    }

    fn state(&self) -> State {
        self.core.state()
    }

    fn take_dropped(&self) -> Dropped {
        std::mem::take(&mut *self.core.dropped.lock())
    }

    fn close(&self) {
        self.core.closing.notify_one();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            log::error!("the thread of the bus panicked");
        }
    }
}

impl Drop for RedisBus {
    fn drop(&mut self) {
        // The thread ends by itself.
        self.core.closing.notify_one();
    }
}

impl Unsubscribe for Core {
    fn unsubscribe(&self, topic: &Topic, worker: usize) {
        self.subscriptions().remove(&self.channels.name(topic), worker);
        if let Some(link) =
            self.links.load().get(topic.partition().index()).and_then(Option::as_ref)
        {
            link.to_subscribe.notify_one();
        }
    }
}

impl Core {
    fn subscriptions(&self) -> MutexGuard<'_, Subscriptions> {
        self.subscriptions.lock()
    }

    /// Numbers for so many events; the first one.
    fn take_numbers(&self, count: usize) -> u64 {
        self.next_number.fetch_add(count as u64, Ordering::Relaxed)
    }

    /// Counts an event that was not published, and remembers its topic.
    fn drop_event(&self, topic: Topic, kind: Kind) {
        self.metrics.bus.dropped.inc(kind.index());
        if kind != Kind::Position {
            self.dropped.lock().add(topic);
        }
    }

    fn drop_all(&self, lost: Vec<Lost>) {
        for Lost { topic, kind, .. } in lost {
            self.drop_event(topic, kind);
        }
    }

    fn state(&self) -> State {
        *self.state.lock()
    }

    /// Tells another state than before.
    fn set_state(&self, state: State) {
        let before = std::mem::replace(&mut *self.state.lock(), state);
        if before != state {
            self.metrics.bus.up.set(i64::from(state == State::Up));
            self.receiver.state_changed(state);
        }
    }
}

/// Waits until an instant, or for ever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
