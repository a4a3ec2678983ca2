//! The bus: how the nodes of a cluster tell each other what happens.
//!
//! Those above speak of orders, users and nodes, never of channels. What is published reaches every
//! node that subscribes to the topic, the sender excepted, in order within a topic, at most once,
//! and not at all while something is down. Nothing here is stored: whoever hears of a
//! [`State::Up`] compares what it has with the database.
//!
//! [`none`] is the bus of a single node, [`redis`] the one of several.

mod deafness;
mod dropped;
mod envelope;
mod incoming;
pub mod nodes;
pub mod none;
mod pending;
pub mod redis;
mod subscriptions;
mod topic;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::metrics::BusLabels;
pub use dropped::Dropped;
pub use envelope::Kind;
pub use incoming::{Batch, Received};
pub use nodes::Node;
use protocol::ids::{OrderId, UserId};
pub use topic::Topic;

/// The label values of the bus's metrics.
pub const METRIC_LABELS: BusLabels =
    BusLabels { kinds: Kind::NAMES, ignored: incoming::IGNORED, failures: redis::Failure::NAMES };

/// How the nodes of a cluster tell each other what happens.
pub trait Bus: Send + Sync {
    /// Publishes an event to the other nodes that subscribe to a topic. It never waits. What finds
    /// no place, or is not known to have been published, is in [`Self::take_dropped`].
    fn publish(&self, topic: &Topic, event: Event);

    /// Subscribes a worker to a topic: its events come in that worker's batches until the
    /// subscription is dropped. The confirmation says when no event is missed any more.
    fn subscribe(&self, topic: Topic, worker: usize) -> (Subscription, Confirmation);

    /// Whether this node hears the others.
    fn state(&self) -> State;

    /// The topics of events that were dropped since the last call, for the next beat.
    fn take_dropped(&self) -> Dropped;

    /// Publishes what waits and ends all connections; blocks for at most two seconds. What is
    /// published later is dropped.
    fn close(&self);
}

/// Whom a bus tells what came in. It is called on a thread of the bus and must not block.
pub trait Receiver: Send + Sync {
    /// Events for one worker, in the order of each topic.
    fn receive(&self, worker: usize, batch: Batch);

    /// The bus has another state than before.
    fn state_changed(&self, state: State);
}

/// Whether this node hears the others. Told after each change; a bus begins as down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// All topics are subscribed and confirmed. What came before may have been missed.
    Up,
    /// There are connections, but events may have been missed: the node did not hear itself, a
    /// server ended a subscription, or more came than could be taken.
    Deaf,
    /// A server cannot be reached.
    Down,
}

/// What is published.
#[derive(Debug, Clone)]
pub struct Event {
    /// What it is about.
    pub kind: Kind,
    /// Its data, already encoded.
    pub data: Bytes,
    /// While it waits, a newer one of the same key takes its place.
    replaces: Option<PositionKey>,
    /// Who wants to know how many nodes got it.
    counter: Option<Arc<Counter>>,
}

/// Takes the number of nodes that got an event.
#[derive(Debug)]
struct Counter(Mutex<Option<oneshot::Sender<usize>>>);

/// Whose position it is, and in which order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PositionKey {
    /// The order.
    pub order: OrderId,
    /// The driver.
    pub driver: UserId,
}

/// A worker's subscription to a topic, which ends when this is dropped.
#[must_use = "a subscription that is dropped at once receives nothing"]
pub struct Subscription {
    topic: Topic,
    worker: usize,
    /// None on a bus without other nodes.
    owner: Option<Arc<dyn Unsubscribe>>,
}

/// Ends subscriptions.
trait Unsubscribe: Send + Sync {
    fn unsubscribe(&self, topic: &Topic, worker: usize);
}

/// Comes when the server has confirmed a subscription: from then on no event is missed.
#[derive(Debug)]
pub struct Confirmation(Option<oneshot::Receiver<()>>);

/// The connection is down, or was lost before the confirmation. The topic is subscribed once it is
/// back, and [`State::Up`] is told then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bus is down")]
pub struct Unconfirmed;

// === impl State ===

impl State {
    /// In words, for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Deaf => "deaf",
            Self::Down => "down",
        }
    }
}

// === impl Event ===

impl Event {
    /// An event that is published in the order of its topic.
    pub fn new(kind: Kind, data: impl Into<Bytes>) -> Self {
        Self { kind, data: data.into(), replaces: None, counter: None }
    }

    /// The same, and how many nodes got it, this one among them. It is a hint: a server of a cluster
    /// of Redis knows only its own, and counts connections that are dead.
    pub fn counted(self) -> (Self, oneshot::Receiver<usize>) {
        let (sender, count) = oneshot::channel();
        let counter = Some(Arc::new(Counter(Mutex::new(Some(sender)))));
        (Self { counter, ..self }, count)
    }

    /// A position, which takes the place of the one that still waits.
    pub fn position(key: PositionKey, data: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Position, data: data.into(), replaces: Some(key), counter: None }
    }
}

// === impl Counter ===

impl Counter {
    /// So many nodes got the event.
    fn tell(&self, count: usize) {
        if let Some(sender) = self.0.lock().take() {
            // The room may not wait any more.
            sender.send(count).ok();
        }
    }
}

// === impl Subscription ===

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(owner) = &self.owner {
            owner.unsubscribe(&self.topic, self.worker);
        }
    }
}

// === impl Confirmation ===

impl Future for Confirmation {
    type Output = Result<(), Unconfirmed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Some(confirmed) => Pin::new(confirmed).poll(context).map_err(|_| Unconfirmed),
            None => Poll::Ready(Ok(())),
        }
    }
}
