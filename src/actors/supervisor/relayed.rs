//! What came from other nodes: given to the rooms of this node, and changes of orders to the users
//! whom they concern.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use actix::{Context, Handler};

use super::Supervisor;
use crate::actors::cluster::{BusBatch, BusStateChanged};
use crate::actors::order_room::BusEvents;
use crate::actors::store::{AppliedChange, CommittedChange, OrderChanged};
use crate::bus::{Batch, Kind, Received, State, Subscription, Topic};
use crate::relay;
use protocol::ids::{BootId, OrderId, UserId};

/// Of how many orders the changes are known that were told lately. The copies of one change come
/// within moments.
const MAX_KNOWN: usize = 4096;

/// The subscriptions to users with a session on this node, and what they were told.
#[derive(Default)]
pub(super) struct RelayedUsers {
    subscriptions: HashMap<UserId, Subscription>,
    known: KnownChanges,
    /// The last nodes that were taken for gone.
    gone: VecDeque<BootId>,
}

/// How many nodes that were taken for gone are remembered.
const MAX_GONE: usize = 256;
/// How many revisions of an order are remembered that were told.
const MAX_REVS: usize = 16;

impl RelayedUsers {
    /// A node was taken for gone.
    pub(super) fn note_gone(&mut self, node: BootId) {
        if self.gone.len() >= MAX_GONE {
            self.gone.pop_front();
        }
        self.gone.push_back(node);
    }

    /// Whether a node was taken for gone, and is there again.
    pub(super) fn take_gone(&mut self, node: BootId) -> bool {
        let before = self.gone.len();
        self.gone.retain(|gone| *gone != node);
        self.gone.len() < before
    }
}

/// Which changes of orders were told. Each comes by the topic of its order and by that of each user
/// whom it concerns.
#[derive(Default)]
struct KnownChanges {
    by_order: HashMap<OrderId, KnownChange>,
    /// The orders, oldest first.
    queue: VecDeque<OrderId>,
}

struct KnownChange {
    /// Revisions that were told.
    revs: Vec<i64>,
    /// The newest change.
    newest: Arc<CommittedChange>,
}

// === impl KnownChanges ===

impl KnownChanges {
    /// Notes a change. Returns what is to be told of it: nothing if it is known. Of one that was
    /// overtaken by a newer one the newer state is told.
    fn note(&mut self, change: Arc<CommittedChange>) -> Option<Arc<CommittedChange>> {
        let (order, rev) = (&change.changed.order.id, change.changed.order.rev);
        if let Some(known) = self.by_order.get_mut(order) {
            if known.revs.contains(&rev) {
                return None;
            }
            if known.revs.len() >= MAX_REVS {
                known.revs.remove(0);
            }
            known.revs.push(rev);
            if known.newest.changed.order.rev > rev {
                return Some(Arc::new(overtaken(&change, &known.newest)));
            }
            known.newest = Arc::clone(&change);
            return Some(change);
        }
        if self.queue.len() >= MAX_KNOWN
            && let Some(oldest) = self.queue.pop_front()
        {
            self.by_order.remove(&oldest);
        }
        self.queue.push_back(order.clone());
        let known = KnownChange { revs: vec![rev], newest: Arc::clone(&change) };
        self.by_order.insert(order.clone(), known);
        Some(change)
    }
}

/// What an older change has changed, with the values that hold now.
fn overtaken(change: &CommittedChange, newest: &CommittedChange) -> CommittedChange {
    let changed = AppliedChange { order: newest.changed.order.clone(), ..change.changed.clone() };
    CommittedChange { changed, note: newest.note.clone(), at: newest.at }
}

// === impl Supervisor ===

impl Supervisor {
    /// Listens to what concerns a user with a session on this node.
    pub(super) fn subscribe_user(&mut self, user: &UserId) {
        let Some(relay) = &self.shared.relay else { return };
        if self.relayed.subscriptions.contains_key(user) {
            return;
        }
        if let Some((subscription, _)) = relay.subscribe(Topic::User(user.clone())) {
            self.relayed.subscriptions.insert(user.clone(), subscription);
        }
    }

    /// A user's last session on this node has ended.
    pub(super) fn unsubscribe_user(&mut self, user: &UserId) {
        self.relayed.subscriptions.remove(user);
    }

    /// Notes a change that this node has committed, so that users are told no older state later.
    pub(super) fn note_change(&mut self, change: &Arc<CommittedChange>) {
        if self.shared.relay.is_some() {
            drop(self.relayed.known.note(Arc::clone(change)));
        }
    }

    /// Gives events of one topic to those whom they concern.
    fn relay_events(&mut self, topic: &Topic, events: Batch) {
        if events.events.iter().any(|event| event.kind == Kind::Order) {
            events.events.iter().for_each(|event| self.on_relayed_change(event));
        }
        match topic {
            Topic::Order(order) => self.give_to_room(order, events),
            Topic::Node(_) => self.give_positions(events),
            Topic::User(_) | Topic::All => {}
        }
    }

    fn give_to_room(&self, order: &OrderId, events: Batch) {
        if let Some(entry) = self.rooms.get(order) {
            entry.handle.addr.do_send(BusEvents(events));
        }
    }

    /// Gives positions, which come many at once from one node, to their rooms.
    fn give_positions(&self, events: Batch) {
        for (order, positions) in events.split_by(|event| relay::position::order(&event.data)) {
            self.give_to_room(&order, positions);
        }
    }

    /// Tells the room of a change, and then the users whom it concerns.
    fn on_relayed_change(&mut self, event: &Received) {
        let read = (event.kind == Kind::Order).then(|| relay::order::read(&event.data));
        let Some(change) = read.flatten() else { return };
        let (changed, note, at) = (change.changed, change.note, change.at);
        let change = Arc::new(CommittedChange { changed, note, at });
        let order = &change.changed.order.id;
        self.shared.hooks.forget_order(order);
        if matches!(&event.topic, Topic::Order(topic) if topic != order) {
            return;
        }
        if let Some(entry) = self.rooms.get(order) {
            entry.handle.addr.do_send(OrderChanged(Arc::clone(&change)));
        }
        if change.changed.raised
            && let Some(change) = self.relayed.known.note(change)
        {
            self.notify_involved(&change);
        }
    }
}

impl Handler<BusBatch> for Supervisor {
    type Result = ();

    /// Events that follow each other and are of one topic are one message to its room.
    fn handle(&mut self, BusBatch(batch): BusBatch, _: &mut Context<Self>) {
        for (topic, events) in batch.by(|event| event.topic.clone()) {
            self.relay_events(&topic, events);
        }
    }
}

impl Handler<BusStateChanged> for Supervisor {
    type Result = ();

    fn handle(&mut self, changed: BusStateChanged, _: &mut Context<Self>) {
        self.comparison.set_up(changed.0 == State::Up, Instant::now());
        for entry in self.rooms.values() {
            entry.handle.addr.do_send(changed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::store::{ChangeNote, StoredOrder};
    use crate::room::order::OrderFacts;
    use protocol::time::Timestamp;

    fn change(order: &str, rev: i64, before: &str, status: &str) -> Arc<CommittedChange> {
        let facts =
            |status: &str| OrderFacts { status: Some(status.to_owned()), ..OrderFacts::default() };
        let at = Timestamp::from_secs(rev);
        let order = StoredOrder {
            id: order.parse().expect("an id"),
            facts: facts(status),
            version: None,
            rev,
            last_seq: 0,
            last_position: None,
            created_at: at,
            updated_at: at,
        };
        let before = facts(before);
        let changed = AppliedChange { before, order, created: false, raised: true, answer: None };
        Arc::new(CommittedChange { changed, note: ChangeNote::default(), at })
    }

    fn told(change: Option<Arc<CommittedChange>>) -> Option<(String, String)> {
        let change = change?;
        let status = |facts: &OrderFacts| facts.status.clone().unwrap_or_default();
        Some((status(&change.changed.before), status(&change.changed.order.facts)))
    }

    #[test]
    fn each_change_is_told_once_and_an_overtaken_one_with_the_newest_state() {
        let mut known = KnownChanges::default();
        let pair = |before: &str, now: &str| Some((before.to_owned(), now.to_owned()));
        assert_eq!(told(known.note(change("o", 1, "A", "B"))), pair("A", "B"));
        assert_eq!(told(known.note(change("o", 1, "A", "B"))), None);
        assert_eq!(told(known.note(change("o", 3, "C", "D"))), pair("C", "D"));
        assert_eq!(told(known.note(change("o", 2, "B", "C"))), pair("B", "D"));
        assert_eq!(told(known.note(change("o", 2, "B", "C"))), None);
    }

    #[test]
    fn the_number_of_known_orders_is_bounded() {
        let mut known = KnownChanges::default();
        for n in 0..=MAX_KNOWN {
            known.note(change(&format!("o{n}"), 1, "A", "B"));
        }
        assert_eq!((known.by_order.len(), known.queue.len()), (MAX_KNOWN, MAX_KNOWN));
    }
}
