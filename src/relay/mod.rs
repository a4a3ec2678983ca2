//! What the nodes of a cluster tell each other of rooms, and what a room makes of it.
//!
//! One file for each kind of event says what travels: `chat`, `order`, `position`, `presence`,
//! `typing`, `receipt`, `hello`. What comes in was written by another node, perhaps by one of
//! another version: a field that is not known is skipped, and what cannot be read has no effect.
//! What is lost on the way is found by comparing with the database ([`comparison`]).

pub mod beat;
pub mod chat;
pub mod commits;
pub mod comparison;
pub mod hello;
pub mod interest;
pub mod order;
pub mod position;
pub mod presence;
pub mod receipt;
pub mod typing;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::beat::BeatContent;
use self::commits::RecentCommits;
use crate::bus::{Bus, Confirmation, Event, Kind, PositionKey, State, Subscription, Topic};
use crate::db::order_changes::{AppliedChange, ChangeNote};
use protocol::chat::ChatMessage;
use protocol::events::location::LocationUpdate;
use protocol::ids::{BootId, OrderId};
use protocol::time::Timestamp;

/// The worker of all subscriptions. One is enough: the bus's thread hands a batch to the supervisor,
/// which sends each room its own events.
pub const WORKER: usize = 0;

/// The data of an event between rooms, as JSON that a newer version may extend.
pub trait RelayedData: Serialize + DeserializeOwned {
    /// Writes it.
    fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads it; none if it is malformed.
    fn read(data: &[u8]) -> Option<Self> {
        serde_json::from_slice(data).ok()
    }
}

/// Publishes what happens in the rooms of this node. There is one if the hub is a node of a
/// cluster.
#[derive(Default)]
pub struct Relay {
    /// The bus and this run of this hub: set once, before the first client comes.
    bus: OnceLock<(Arc<dyn Bus>, BootId)>,
    /// What this node has committed in the last seconds.
    commits: Mutex<RecentCommits>,
}

impl Relay {
    /// Publishes over this bus from now on, as this run of this hub.
    pub fn connect(&self, bus: Arc<dyn Bus>, boot: BootId) {
        self.bus.get_or_init(|| (bus, boot));
    }

    /// This run of this hub.
    pub fn boot(&self) -> Option<BootId> {
        self.bus.get().map(|(_, boot)| *boot)
    }

    /// Publishes an event to the other nodes that subscribe to a topic.
    pub fn publish(&self, topic: &Topic, event: Event) {
        if let Some((bus, _)) = self.bus.get() {
            bus.publish(topic, event);
        }
    }

    /// Subscribes to a topic until the subscription is dropped.
    pub fn subscribe(&self, topic: Topic) -> Option<(Subscription, Confirmation)> {
        self.bus.get().map(|(bus, _)| bus.subscribe(topic, WORKER))
    }

    /// Whether this node hears the others.
    pub fn is_up(&self) -> bool {
        self.bus.get().is_some_and(|(bus, _)| bus.state() == State::Up)
    }

    /// A message was committed, or found again by a retry, which may be what others have missed.
    pub fn chat_committed(&self, message: &ChatMessage) {
        let Ok(data) = serde_json::to_vec(message) else { return };
        self.publish(&Topic::Order(message.order_id.clone()), Event::new(Kind::Chat, data));
        self.note(&message.order_id, message.seq, 0);
    }

    /// This node has taken a position for an order and has no room of it.
    pub fn position_taken(&self, update: &LocationUpdate<'_>, rev: i64) {
        let (order, driver) = (update.order_id.clone(), update.position.driver_id.clone());
        let data = position::write(update, rev, false, Timestamp::now());
        let event = Event::position(PositionKey { order: order.clone(), driver }, data);
        self.publish(&Topic::Order(order), event);
    }

    /// A change of an order was committed, or repeated, which may be what others have missed. The
    /// users whom it concerns are told on the nodes that they are on.
    pub fn order_committed(&self, changed: &AppliedChange, note: &ChangeNote, at: Timestamp) {
        let Some(data) = order::write(changed, note, at).map(Bytes::from) else { return };
        let event = Event::new(Kind::Order, data);
        self.publish(&Topic::Order(changed.order.id.clone()), event.clone());
        self.note(&changed.order.id, changed.order.last_seq, changed.order.rev);
        if changed.raised {
            let (before, now) = (&changed.before, &changed.order.facts);
            let users: BTreeSet<_> = before.involved_users().chain(now.involved_users()).collect();
            for user in users {
                self.publish(&Topic::User(user.clone()), event.clone());
            }
        }
    }

    /// What the next beat of this node says of its rooms.
    pub fn beat_content(&self) -> BeatContent {
        let commits = self.commits.lock().recent(Instant::now());
        BeatContent::new(
            commits,
            self.bus.get().map(|(bus, _)| bus.take_dropped()).unwrap_or_default(),
        )
    }

    fn note(&self, order: &OrderId, last_seq: i64, rev: i64) {
        self.commits.lock().note(order, last_seq, rev, Instant::now());
    }
}
