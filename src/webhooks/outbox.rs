//! What writers and rooms need to know to tell endpoints, shared with the dispatcher that sends: who
//! listens to what, whether there is room for more rows, and the events that are in no table.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::endpoints::{Endpoint, Endpoints};
use super::event::{EventKind, EventSet};
use super::momentary::{MomentaryEvent, MomentaryQueue};
use super::payload;
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;

/// Which endpoints hear of what.
#[derive(Debug, Default)]
pub struct Listeners {
    endpoints: Vec<Listener>,
    /// All that any of them hears.
    any: EventSet,
}

/// An endpoint that hears of something.
#[derive(Debug)]
struct Listener {
    name: Arc<str>,
    events: EventSet,
    wake: Arc<Wake>,
}

/// Wakes the task that sends to an endpoint. A call is not lost where the task is busy.
#[derive(Debug, Default)]
pub struct Wake {
    /// There is something new to tell.
    pub news: Notify,
    /// What is stored of the endpoint may have changed.
    pub look: Notify,
}

/// For whom a transaction writes rows.
#[derive(Debug, Clone, Copy)]
pub struct Audience<'a> {
    /// The endpoints.
    pub listeners: &'a Listeners,
    /// Whether too many rows wait: what is written now is dead.
    pub is_full: bool,
}

/// The handle of writers and rooms.
pub struct Outbox {
    listeners: ArcSwap<Listeners>,
    /// Rows that wait, by the last count, and those that this hub has added and sent since.
    waiting: AtomicI64,
    /// `WEBHOOK_MAX_ROWS`.
    max_rows: i64,
    /// Events that are in no table, by endpoint.
    momentary: Mutex<HashMap<Arc<str>, MomentaryQueue>>,
    /// `NODE_NAME`, or the name of this machine.
    node: String,
    /// Another one at each start.
    boot_id: String,
}

// === impl Listeners ===

impl Listeners {
    /// The listeners among these endpoints. Those that were there `before` keep their wakes.
    fn new(endpoints: &Endpoints, before: &Self) -> Self {
        let listens = |endpoint: &Arc<Endpoint>| {
            let known = before.endpoints.iter().find(|known| known.name == endpoint.name);
            Listener {
                name: Arc::clone(&endpoint.name),
                events: endpoint.events,
                wake: known.map(|known| Arc::clone(&known.wake)).unwrap_or_default(),
            }
        };
        let endpoints: Vec<_> = endpoints.iter().map(listens).collect();
        let any = endpoints.iter().fold(EventSet::default(), |any, one| any.union(one.events));
        Self { endpoints, any }
    }

    /// All that any endpoint hears.
    pub fn any(&self) -> EventSet {
        self.any
    }

    /// The endpoints that hear of this kind.
    pub fn of(&self, kind: EventKind) -> impl Iterator<Item = &Arc<str>> {
        self.hearing(kind).map(|listener| &listener.name)
    }

    fn hearing(&self, kind: EventKind) -> impl Iterator<Item = &Listener> {
        self.endpoints.iter().filter(move |listener| listener.events.contains(kind))
    }
}

// === impl Outbox ===

impl Outbox {
    /// An outbox for these endpoints, with room for so many rows.
    pub fn new(endpoints: &Endpoints, max_rows: i64, node: String) -> Self {
        Self {
            listeners: ArcSwap::from_pointee(Listeners::new(endpoints, &Listeners::default())),
            waiting: AtomicI64::new(0),
            max_rows,
            momentary: Mutex::default(),
            node,
            boot_id: uuid::Uuid::new_v4().to_string(),
        }
    }

    /// The endpoints that listen now.
    pub fn listeners(&self) -> Arc<Listeners> {
        self.listeners.load_full()
    }

    /// Replaces the endpoints.
    pub fn set_endpoints(&self, endpoints: &Endpoints) {
        let listeners = Listeners::new(endpoints, &self.listeners.load());
        self.listeners.store(Arc::new(listeners));
        self.momentary().retain(|name, _| endpoints.find(name).is_some());
    }

    /// The wake of an endpoint.
    pub fn wake_of(&self, endpoint: &str) -> Option<Arc<Wake>> {
        let listeners = self.listeners.load();
        let listener = listeners.endpoints.iter().find(|listener| &*listener.name == endpoint);
        listener.map(|listener| Arc::clone(&listener.wake))
    }

    /// Whether as many rows wait as may.
    pub fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= self.max_rows
    }

    /// Notes that rows of these kinds were committed, so many at most.
    pub fn committed(&self, kinds: &[EventKind], rows: usize) {
        self.change_waiting(i64::try_from(rows).unwrap_or(i64::MAX));
        self.announce(kinds);
    }

    /// Notes that more rows wait, or fewer.
    pub fn change_waiting(&self, rows: i64) {
        self.waiting.fetch_add(rows, Ordering::Relaxed);
    }

    /// Notes how many rows wait.
    pub fn set_waiting(&self, rows: i64) {
        self.waiting.store(rows, Ordering::Relaxed);
    }

    fn announce(&self, kinds: &[EventKind]) {
        for listener in &self.listeners.load().endpoints {
            if kinds.iter().any(|kind| listener.events.contains(*kind)) {
                listener.wake.news.notify_one();
            }
        }
    }

    /// The id of this life of the hub.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// The name of this machine.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Tells that a user is in a room, or is not any more.
    pub fn tell_member(&self, kind: EventKind, order: &OrderId, who: (&UserId, &str, Role)) {
        self.tell(kind, order, who.0, |at| payload::member(order, who, at, &self.boot_id));
    }

    /// Tells of an order's driver.
    pub fn tell_driver(&self, kind: EventKind, order: &OrderId, driver: &UserId) {
        self.tell(kind, order, driver, |at| payload::driver(order, driver, at, &self.boot_id));
    }

    fn tell(
        &self,
        kind: EventKind,
        order: &OrderId,
        user: &UserId,
        data: impl FnOnce(Timestamp) -> String,
    ) {
        let listeners = self.listeners.load();
        if !listeners.any().contains(kind) {
            return;
        }
        let at = Timestamp::now();
        let event = MomentaryEvent {
            id: uuid::Uuid::now_v7().to_string(),
            kind,
            order: order.clone(),
            user: user.clone(),
            data: data(at),
            at,
        };
        let mut queues = self.momentary();
        for endpoint in listeners.of(kind) {
            let queue = queues.entry(Arc::clone(endpoint)).or_default();
            queue.put(event.clone(), Instant::now());
        }
        drop(queues);
        self.announce(&[kind]);
    }

    /// Runs `work` on the events in no table that wait for an endpoint.
    pub fn with_momentary<T>(
        &self,
        endpoint: &Arc<str>,
        work: impl FnOnce(&mut MomentaryQueue) -> T,
    ) -> T {
        work(self.momentary().entry(Arc::clone(endpoint)).or_default())
    }

    fn momentary(&self) -> MutexGuard<'_, HashMap<Arc<str>, MomentaryQueue>> {
        self.momentary.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
