//! A node on a bus, and what it was told.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use orderhub::bus::redis::{RedisBus, RedisOptions, StartError};
use orderhub::bus::{
    Batch, Bus as _, Event, Kind, METRIC_LABELS, Node, Received, Receiver, State, Subscription,
    Topic,
};
use orderhub::metrics::{LabelValues, Metrics};
use protocol::ids::{OrderId, UserId};
use tokio::sync::Notify;

/// How long something may take that must happen.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// A node on a bus.
pub struct TestNode {
    pub bus: RedisBus,
    pub node: Node,
    pub metrics: Arc<Metrics>,
    told: Arc<Told>,
}

/// What a node was told.
#[derive(Default)]
pub struct Told {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    /// Batches that were not looked at, with their worker.
    batches: Vec<(usize, Batch)>,
    /// Every state, with when it was told.
    states: Vec<(State, Instant)>,
}

impl Receiver for Told {
    fn receive(&self, worker: usize, batch: Batch) {
        self.inner.lock().expect("no panic").batches.push((worker, batch));
        self.changed.notify_one();
    }

    fn state_changed(&self, state: State) {
        self.inner.lock().expect("no panic").states.push((state, Instant::now()));
        self.changed.notify_one();
    }
}

impl Told {
    /// Waits until something is found among what was told.
    async fn find<T>(&self, what: &str, mut look: impl FnMut(&mut Inner) -> Option<T>) -> T {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(found) = look(&mut self.inner.lock().expect("no panic")) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let waited = tokio::time::timeout(left, self.changed.notified()).await;
            let states = &self.inner.lock().expect("no panic").states;
            assert!(waited.is_ok(), "waited in vain for {what}; states: {states:?}");
        }
    }
}

/// What a node of the cluster `c1` needs to know.
pub fn options(url: &str) -> RedisOptions {
    RedisOptions {
        url: url.parse().expect("an address of Redis"),
        ca: None,
        prefix: "orderhub".to_owned(),
        cluster: "c1".to_owned(),
        node: Node::new(None),
    }
}

/// Tries to start a node.
pub async fn try_start(options: RedisOptions) -> Result<TestNode, StartError> {
    let labels = LabelValues { bus: METRIC_LABELS, ..LabelValues::default() };
    let (metrics, told) = (Arc::new(Metrics::new(&labels)), Arc::new(Told::default()));
    let node = options.node.clone();
    let receiver: Arc<dyn Receiver> = Arc::clone(&told) as _;
    let bus = RedisBus::start(options, Arc::clone(&metrics), receiver).await?;
    Ok(TestNode { bus, node, metrics, told })
}

/// Why a node does not start, and how long it took to say so.
pub async fn refusal(url: &str, ca: Option<&str>) -> (String, Duration) {
    let begin = Instant::now();
    let options = RedisOptions { ca: ca.map(PathBuf::from), ..options(url) };
    let Err(error) = try_start(options).await else { panic!("{url} was accepted") };
    (error.to_string(), begin.elapsed())
}

impl TestNode {
    /// A node on this Redis.
    pub async fn start(url: &str) -> Self {
        try_start(options(url)).await.unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// Subscribes worker 0 and waits for the confirmation.
    pub async fn subscribe(&self, topic: &Topic) -> Subscription {
        let (subscription, confirmation) = self.bus.subscribe(topic.clone(), 0);
        let confirmed = tokio::time::timeout(TIMEOUT, confirmation).await;
        confirmed.expect("an answer").expect("a confirmation");
        subscription
    }

    /// Publishes a chat message.
    pub fn publish(&self, topic: &Topic, data: &str) {
        self.bus.publish(topic, Event::new(Kind::Chat, data.to_owned()));
    }

    /// Waits for a batch that worker `worker` did not look at yet, and takes its events.
    pub async fn batch(&self, worker: usize) -> Vec<Received> {
        let taken = self.told.find("a batch", |inner| {
            let place = inner.batches.iter().position(|(of, _)| *of == worker)?;
            Some(inner.batches.remove(place).1.events)
        });
        taken.await
    }

    /// Waits for an event with this data, and gives those that came with and before it.
    pub async fn events_until(&self, data: &str) -> Vec<Received> {
        let mut events = Vec::new();
        while events.last().is_none_or(|event: &Received| event.data != data.as_bytes()) {
            let found = self.told.find(data, |inner| {
                let (_, batch) = inner.batches.first_mut()?;
                let event = batch.events.remove(0);
                if batch.events.is_empty() {
                    inner.batches.remove(0);
                }
                Some(event)
            });
            events.push(found.await);
        }
        events
    }

    /// How many states were told so far.
    pub fn states_told(&self) -> usize {
        self.told.inner.lock().expect("no panic").states.len()
    }

    /// Waits for this state among those that were told after the first `after`, and says when that
    /// was.
    pub async fn state_after(&self, after: usize, state: State) -> Instant {
        let told = self.told.find(state.as_str(), |inner| {
            inner.states.iter().skip(after).find(|(told, _)| *told == state).map(|(_, at)| *at)
        });
        told.await
    }

    /// Waits until the bus is not up any more.
    pub async fn fails_after(&self, after: usize) -> Instant {
        let told = self.told.find("a failure", |inner| {
            inner.states.iter().skip(after).find(|(told, _)| *told != State::Up).map(|(_, at)| *at)
        });
        told.await
    }

    /// The value of a counter with this label in the metrics.
    pub fn count(&self, sample: &str) -> u64 {
        let text = self.metrics.encode().expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(sample));
        let value = line.unwrap_or_else(|| panic!("{sample} is not in\n{text}"));
        value.trim().parse().expect("a number")
    }

    /// Waits until a counter has this value.
    pub async fn reaches(&self, sample: &str, value: u64) {
        let deadline = Instant::now() + TIMEOUT;
        while self.count(sample) < value {
            assert!(Instant::now() < deadline, "{sample} stays at {}", self.count(sample));
            tokio::task::yield_now().await;
        }
    }

    /// Takes all batches that are there, and forgets them.
    pub fn drop_batches(&self) {
        self.told.inner.lock().expect("no panic").batches.clear();
    }

    /// How many connections failed for this reason.
    pub fn failures(&self, reason: &str) -> u64 {
        self.count(&format!("orderhub_bus_failures_total{{reason=\"{reason}\"}}"))
    }
}

/// The topic of an order.
pub fn order(id: &str) -> Topic {
    Topic::Order(OrderId::new(id).expect("an id"))
}

/// The topic of a user.
pub fn user(id: &str) -> Topic {
    Topic::User(UserId::new(id).expect("an id"))
}

/// Shows that events go both ways between two nodes on a topic that both subscribe to.
pub async fn exchange(one: &TestNode, other: &TestNode, topic: &Topic, data: &str) {
    let (there, back) = (format!("{data}, there"), format!("{data}, back"));
    one.publish(topic, &there);
    other.events_until(&there).await;
    other.publish(topic, &back);
    one.events_until(&back).await;
}
