//! Events that wait to be published through one connection, and those whose answer is awaited.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::envelope::Kind;
use super::{Counter, Event, PositionKey, Topic};

/// How many events may wait for one server of Redis, those under way included.
const MAX_EVENTS: usize = 8192;
/// How many bytes of data they may have.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// What one write takes, so that answers come before too much is under way.
const WRITE_EVENTS: usize = 1024;
const WRITE_BYTES: usize = 256 * 1024;
/// What one message holds, so that no receiver has to take a huge one at once.
const MESSAGE_EVENTS: usize = 256;
const MESSAGE_BYTES: usize = 64 * 1024;

/// Events that wait to be published through one connection.
#[derive(Debug, Default)]
pub(super) struct Pending {
    queue: VecDeque<Waiting>,
    /// The number of the first event in `queue`; the next ones follow.
    first: u64,
    /// The numbers of the positions in `queue`.
    positions: HashMap<(Topic, PositionKey), u64>,
    /// What was written and is not answered, oldest first.
    under_way: VecDeque<Vec<Lost>>,
    /// How many events wait or are under way.
    events: usize,
    /// The size of their data.
    bytes: usize,
    /// Whether the connection is lost, so that nothing finds a place any more.
    closed: bool,
}

#[derive(Debug)]
struct Waiting {
    topic: Topic,
    event: Event,
}

/// What became of an event that was to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits for the next write.
    Waits,
    /// It waits in the place of an older position of the same driver and order.
    Replaced,
    /// There was no place for it.
    NoPlace,
}

/// An event that may not have been published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) topic: Topic,
    pub(super) kind: Kind,
    bytes: usize,
}

/// One message of the next write: events of one topic in their order.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: Topic,
    pub(super) events: Vec<(Kind, Bytes)>,
    /// Who wants to know how many nodes got it.
    pub(super) counters: Vec<Arc<Counter>>,
    bytes: usize,
}

// === impl Pending ===

impl Pending {
    /// Takes an event, if it finds a place.
    pub(super) fn push(&mut self, topic: Topic, event: Event) -> Pushed {
        let key = event.replaces.clone().map(|key| (topic.clone(), key));
        if self.closed {
            return Pushed::NoPlace;
        }
        let older = key.as_ref().and_then(|key| self.positions.get(key)).copied();
        if let Some(older) = older.and_then(|number| self.waiting(number)) {
            let (before, after) = (older.event.data.len(), event.data.len());
            older.event = event;
            self.bytes = self.bytes - before + after;
            return Pushed::Replaced;
        }
        if self.events >= MAX_EVENTS || self.bytes + event.data.len() > MAX_BYTES {
            return Pushed::NoPlace;
        }
        if let Some(key) = key {
            self.positions.insert(key, self.first + self.queue.len() as u64);
        }
        self.events += 1;
        self.bytes += event.data.len();
        self.queue.push_back(Waiting { topic, event });
        Pushed::Waits
    }

    fn waiting(&mut self, number: u64) -> Option<&mut Waiting> {
        let place = number.checked_sub(self.first)?;
        self.queue.get_mut(usize::try_from(place).ok()?)
    }

    /// The messages of the next write. Each topic's events are in their order, many to a message.
    pub(super) fn next_write(&mut self) -> Vec<Message> {
        let mut messages: Vec<Message> = Vec::new();
        let mut latest: HashMap<Topic, usize> = HashMap::new();
        let mut under_way = Vec::new();
        let mut bytes = 0;
        while under_way.len() < WRITE_EVENTS && bytes < WRITE_BYTES {
            let Some(Waiting { topic, event }) = self.queue.pop_front() else { break };
            self.first += 1;
            if let Some(key) = &event.replaces {
                self.positions.remove(&(topic.clone(), key.clone()));
            }
            let (kind, size) = (event.kind, event.data.len());
            bytes += size;
            under_way.push(Lost { topic: topic.clone(), kind, bytes: size });
            let open = latest.get(&topic).and_then(|place| messages.get_mut(*place));
            if let Some(message) = open.filter(|message| message.has_place(size)) {
                message.add(event);
            } else {
                latest.insert(topic.clone(), messages.len());
                let mut message =
                    Message { topic, events: Vec::new(), counters: Vec::new(), bytes: 0 };
                message.add(event);
                messages.push(message);
            }
        }
        if !under_way.is_empty() {
            self.under_way.push_back(under_way);
        }
        messages
    }

    /// Whether the next write did not take all.
    pub(super) fn more_waits(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The oldest write was answered.
    pub(super) fn answered(&mut self) {
        let published = self.under_way.pop_front().unwrap_or_default();
        self.events -= published.len();
        self.bytes -= published.iter().map(|lost| lost.bytes).sum::<usize>();
    }

    /// The connection is lost: everything that waits or is not answered. Nothing finds a place from
    /// now on.
    pub(super) fn close(&mut self) -> Vec<Lost> {
        let closed = Self { closed: true, ..Self::default() };
        let Self { queue, under_way, .. } = std::mem::replace(self, closed);
        let waiting = queue.into_iter().map(|Waiting { topic, event }| {
            let bytes = event.data.len();
            Lost { topic, kind: event.kind, bytes }
        });
        under_way.into_iter().flatten().chain(waiting).collect()
    }

    /// Whether nothing waits and everything is answered.
    pub(super) fn is_empty(&self) -> bool {
        self.events == 0
    }
}

// === impl Message ===

impl Message {
    fn has_place(&self, size: usize) -> bool {
        self.events.len() < MESSAGE_EVENTS && self.bytes + size <= MESSAGE_BYTES
    }

    fn add(&mut self, event: Event) {
        self.bytes += event.data.len();
        self.events.push((event.kind, event.data));
        self.counters.extend(event.counter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::{OrderId, UserId};

    fn order(id: usize) -> Topic {
        Topic::Order(OrderId::new(&format!("o{id}")).expect("an id"))
    }

    fn chat(data: impl Into<Bytes>) -> Event {
        Event::new(Kind::Chat, data)
    }

    fn position(driver: &str, data: &'static str) -> Event {
        let order = OrderId::new("o").expect("an id");
        let driver = UserId::new(driver).expect("an id");
        Event::position(PositionKey { order, driver }, data)
    }

    /// The data of each message, with its topic.
    fn written(pending: &mut Pending) -> Vec<(Topic, Vec<String>)> {
        let text = |data: &Bytes| String::from_utf8_lossy(data).into_owned();
        let messages = pending.next_write();
        let texts = |message: &Message| message.events.iter().map(|(_, data)| text(data)).collect();
        messages.iter().map(|message| (message.topic.clone(), texts(message))).collect()
    }

    #[test]
    fn the_events_of_a_topic_keep_their_order_and_share_a_message() {
        let mut pending = Pending::default();
        for (topic, data) in [(1, "a"), (2, "b"), (1, "c"), (1, "d"), (2, "e")] {
            assert_eq!(pending.push(order(topic), chat(data)), Pushed::Waits);
        }
        let expected = [(order(1), vec!["a", "c", "d"]), (order(2), vec!["b", "e"])];
        let expected =
            expected.map(|(topic, data)| (topic, data.into_iter().map(String::from).collect()));
        assert_eq!(written(&mut pending), expected);
        assert!(!pending.is_empty(), "what is under way counts");
        pending.answered();
        assert!(pending.is_empty() && written(&mut pending).is_empty());
    }

    #[test]
    fn a_newer_position_takes_the_place_of_the_one_that_waits() {
        let mut pending = Pending::default();
        assert_eq!(pending.push(order(1), position("ann", "1")), Pushed::Waits);
        assert_eq!(pending.push(order(1), position("bob", "2")), Pushed::Waits);
        assert_eq!(pending.push(order(1), position("ann", "3")), Pushed::Replaced);
        assert_eq!(pending.push(order(2), position("ann", "4")), Pushed::Waits, "another topic");
        assert_eq!(written(&mut pending)[0].1, ["3", "2"]);
        assert_eq!(pending.push(order(1), position("ann", "5")), Pushed::Waits, "3 is under way");
        pending.answered();
        assert_eq!(written(&mut pending), [(order(1), vec!["5".to_owned()])]);
        pending.answered();
        assert!(pending.is_empty());
    }

    #[test]
    fn beyond_the_bounds_only_replacements_find_a_place() {
        let mut pending = Pending::default();
        assert_eq!(pending.push(order(1), position("ann", "1")), Pushed::Waits);
        for _ in 1..MAX_EVENTS {
            assert_eq!(pending.push(order(1), chat("x")), Pushed::Waits);
        }
        assert_eq!(pending.push(order(1), chat("x")), Pushed::NoPlace);
        assert_eq!(pending.push(order(1), position("bob", "1")), Pushed::NoPlace);
        assert_eq!(pending.push(order(1), position("ann", "2")), Pushed::Replaced);
        pending.next_write();
        assert_eq!(pending.push(order(1), chat("x")), Pushed::NoPlace, "not answered yet");
        pending.answered();
        assert_eq!(pending.push(order(1), chat("x")), Pushed::Waits);

        let mut pending = Pending::default();
        assert_eq!(pending.push(order(1), chat(vec![0; MAX_BYTES])), Pushed::Waits);
        assert_eq!(pending.push(order(1), chat("x")), Pushed::NoPlace);
    }

    #[test]
    fn writes_and_messages_have_a_size() {
        let mut pending = Pending::default();
        for _ in 0..=WRITE_EVENTS {
            pending.push(order(1), chat("x"));
        }
        let sizes = |messages: Vec<Message>| -> Vec<usize> {
            messages.iter().map(|message| message.events.len()).collect()
        };
        assert_eq!(sizes(pending.next_write()), [MESSAGE_EVENTS; WRITE_EVENTS / MESSAGE_EVENTS]);
        assert_eq!(sizes(pending.next_write()), [1]);
        for _ in 0..10 {
            pending.push(order(1), chat(vec![0; 60 * 1024]));
        }
        assert_eq!(sizes(pending.next_write()), [1; 5]);
    }

    #[test]
    fn topics_of_a_lost_connection_are_named() {
        let mut pending = Pending::default();
        pending.push(order(1), chat("x"));
        pending.next_write();
        pending.push(order(2), position("ann", "1"));
        pending.push(order(3), chat("x"));
        let lost: Vec<_> =
            pending.close().into_iter().map(|lost| (lost.topic, lost.kind)).collect();
        let expected = [(1, Kind::Chat), (2, Kind::Position), (3, Kind::Chat)];
        assert_eq!(lost, expected.map(|(id, kind)| (order(id), kind)));
        assert!(pending.is_empty());
        assert_eq!(pending.push(order(2), position("ann", "1")), Pushed::NoPlace);
    }
}
