//! What writers and rooms need to know to tell endpoints, shared with the dispatcher that sends: who
//! listens to what, whether there is room for more rows, and the events that are in no table.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::endpoints::{Endpoint, Endpoints};
use super::event::{EventKind, EventSet};
use super::momentary::{MomentaryEvent, MomentaryQueue};
use super::payload;
use super::unread::{Note, NoteBook, UnreadRules};
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;

/// Which endpoints hear of what.
#[derive(Debug, Default)]
pub struct Listeners {
    endpoints: Vec<Listener>,
    /// All that any of them hears.
    any: EventSet,
    /// After how long an unread message is told.
    unread_after: Duration,
}

/// An endpoint that hears of something.
#[derive(Debug)]
pub struct Listener {
    /// The endpoint's name.
    pub name: Arc<str>,
    events: EventSet,
    queue: Arc<EndpointQueue>,
    /// `WEBHOOK_MAX_ROWS`.
    max_rows: i64,
}

/// What waits for an endpoint, and what wakes the task that sends it.
#[derive(Debug, Default)]
pub struct EndpointQueue {
    /// There is a new row. A call is not lost where the task is busy.
    pub news: Notify,
    /// There is a new event that is in no table.
    pub moments: Notify,
    /// What is stored of the endpoint may have changed.
    pub look: Notify,
    /// Events that are in no table.
    momentary: Mutex<MomentaryQueue>,
    /// Rows that wait, by the last count, and those that this hub has written and sent since.
    waiting: AtomicI64,
}

/// What an outbox is made with.
#[derive(Debug, Clone)]
pub struct OutboxSettings {
    /// `WEBHOOK_MAX_ROWS`.
    pub max_rows: i64,
    /// When unread messages are told.
    pub unread: UnreadRules,
    /// The name of this machine.
    pub node: String,
}

/// The handle of writers and rooms.
pub struct Outbox {
    listeners: ArcSwap<Listeners>,
    settings: OutboxSettings,
    /// What is new of who was shown what, for `chat.unread`.
    unread: NoteBook,
    /// Another one at each start.
    boot_id: String,
}

// === impl Listeners ===

impl Listeners {
    /// The listeners among these endpoints. Those that were there `before` keep their queues.
    fn new(endpoints: &Endpoints, settings: &OutboxSettings, before: &Self) -> Self {
        let listens = |endpoint: &Arc<Endpoint>| Listener {
            name: Arc::clone(&endpoint.name),
            events: endpoint.events,
            queue: before.queue_of(&endpoint.name).unwrap_or_default(),
            max_rows: settings.max_rows,
        };
        let endpoints: Vec<_> = endpoints.iter().map(listens).collect();
        let any = endpoints.iter().fold(EventSet::default(), |any, one| any.union(one.events));
        Self { endpoints, any, unread_after: settings.unread.after }
    }

    /// All that any endpoint hears.
    pub fn any(&self) -> EventSet {
        self.any
    }

    /// When a message of now is to be looked at again: whether everyone was shown it. `None` if that
    /// is not told.
    pub fn unread_due(&self, now: Timestamp) -> Option<Timestamp> {
        let is_told = self.any.contains(EventKind::ChatUnread) && !self.unread_after.is_zero();
        is_told.then(|| now.plus(self.unread_after))
    }

    /// The endpoints that hear of this kind.
    pub fn of(&self, kind: EventKind) -> impl Iterator<Item = &Listener> {
        self.endpoints.iter().filter(move |listener| listener.events.contains(kind))
    }

    fn queue_of(&self, endpoint: &str) -> Option<Arc<EndpointQueue>> {
        let listener = self.endpoints.iter().find(|listener| &*listener.name == endpoint);
        listener.map(|listener| Arc::clone(&listener.queue))
    }
}

// === impl Listener ===

impl Listener {
    /// Counts a row that is written for it. False if as many wait as may: then it is dead. A row that
    /// is rolled back is counted until the next count.
    pub fn admit_row(&self) -> bool {
        let has_room = self.queue.waiting.load(Ordering::Relaxed) < self.max_rows;
        self.queue.change_waiting(i64::from(has_room));
        has_room
    }
}

// === impl EndpointQueue ===

impl EndpointQueue {
    /// Notes that more rows wait, or fewer.
    pub fn change_waiting(&self, rows: i64) {
        self.waiting.fetch_add(rows, Ordering::Relaxed);
    }

    /// Notes how many rows wait.
    pub fn set_waiting(&self, rows: i64) {
        self.waiting.store(rows, Ordering::Relaxed);
    }

    /// Runs `work` on the events that are in no table.
    pub fn with_momentary<T>(&self, work: impl FnOnce(&mut MomentaryQueue) -> T) -> T {
        work(&mut self.momentary.lock())
    }
}

// === impl Outbox ===

impl Outbox {
    /// An outbox for these endpoints.
    pub fn new(endpoints: &Endpoints, settings: OutboxSettings) -> Self {
        let listeners = Listeners::new(endpoints, &settings, &Listeners::default());
        Self {
            listeners: ArcSwap::from_pointee(listeners),
            settings,
            unread: NoteBook::default(),
            boot_id: uuid::Uuid::new_v4().to_string(),
        }
    }

    /// The endpoints that listen now.
    pub fn listeners(&self) -> Arc<Listeners> {
        self.listeners.load_full()
    }

    /// Replaces the endpoints.
    pub fn set_endpoints(&self, endpoints: &Endpoints) {
        let listeners = Listeners::new(endpoints, &self.settings, &self.listeners.load());
        self.listeners.store(Arc::new(listeners));
    }

    /// The queue of an endpoint.
    pub fn queue_of(&self, endpoint: &str) -> Option<Arc<EndpointQueue>> {
        self.listeners.load().queue_of(endpoint)
    }

    /// Wakes those who send events of these kinds, after a commit that may have written rows of them.
    pub fn announce(&self, kinds: &[EventKind]) {
        for listener in &self.listeners.load().endpoints {
            if kinds.iter().any(|kind| listener.events.contains(*kind)) {
                listener.queue.news.notify_one();
            }
        }
    }

    /// How many rows may wait for an endpoint.
    pub fn max_rows(&self) -> i64 {
        self.settings.max_rows
    }

    /// The id of this life of the hub.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// The name of this machine.
    pub fn node(&self) -> &str {
        &self.settings.node
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
        self.put(MomentaryEvent {
            id: uuid::Uuid::now_v7().to_string(),
            kind,
            order: order.clone(),
            user: user.clone(),
            data: data(at),
            seq: 0,
            at,
        });
    }

    /// Tells an event that is in no table.
    pub fn put(&self, event: MomentaryEvent) {
        for listener in self.listeners.load().of(event.kind) {
            let put = |queue: &mut MomentaryQueue| queue.put(event.clone(), Instant::now());
            listener.queue.with_momentary(put);
            listener.queue.moments.notify_one();
        }
    }

    /// When unread messages are told.
    pub fn unread_rules(&self) -> &UnreadRules {
        &self.settings.unread
    }

    /// What is new of who was shown what.
    pub fn unread(&self) -> &NoteBook {
        &self.unread
    }

    /// Notes that a user of an order joined by a token, or what a joined connection was sent.
    pub fn note_unread(&self, order: &OrderId, user: &UserId, note: impl FnOnce() -> Note) {
        if self.listeners.load().unread_due(Timestamp::default()).is_some() {
            self.unread.note(order, user, note());
        }
    }
}
