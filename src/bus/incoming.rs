//! What came in: bounded, read, and sorted by worker.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::envelope::{Envelope, Ignored};
use super::subscriptions::Subscriptions;
use super::{Kind, Node, Topic};
use crate::metrics::BusMetrics;
use crate::permits::{Permit, Permits};
use protocol::ids::BootId;

/// How many events may wait for the workers of a node.
const MAX_EVENTS: usize = 16_384;
/// How many bytes of data they may have.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// An event of another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The topic that it was published to.
    pub topic: Topic,
    /// Who published it.
    pub from: Node,
    /// Its number: later ones of the same boot id have higher ones.
    pub number: u64,
    /// What it is about.
    pub kind: Kind,
    /// Its data. Another node wrote it, so it is checked like that of a client.
    pub data: Bytes,
}

/// Events for one worker. They count as waiting until this, and every part of it, is dropped.
#[derive(Debug)]
pub struct Batch {
    /// The events.
    pub events: Vec<Received>,
    permits: Arc<(Permit, Permit)>,
}

/// A message as a server handed it over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) channel: Vec<u8>,
    pub(super) message: Vec<u8>,
}

/// How much may wait for the workers of a node.
#[derive(Debug)]
pub(super) struct IncomingLimit {
    events: Permits,
    bytes: Permits,
}

/// Sorts messages by the workers that want them.
pub(super) struct Sorter<'a> {
    /// This node, whose own messages come back to it.
    pub(super) own: BootId,
    pub(super) metrics: &'a BusMetrics,
    pub(super) batches: BTreeMap<usize, Vec<Received>>,
}

// === impl IncomingLimit ===

impl IncomingLimit {
    pub(super) fn new() -> Self {
        Self { events: Permits::new(MAX_EVENTS), bytes: Permits::new(MAX_BYTES) }
    }

    /// Makes a batch of events; without a place for them they come back.
    pub(super) fn admit(&self, events: Vec<Received>) -> Result<Batch, Vec<Received>> {
        let bytes = events.iter().map(|event| event.data.len()).sum();
        let permits = (self.events.take_many(events.len()), self.bytes.take_many(bytes));
        let (Some(places), Some(bytes)) = permits else { return Err(events) };
        Ok(Batch { events, permits: Arc::new((places, bytes)) })
    }
}

// === impl Batch ===

impl Batch {
    /// A batch for each key, of those events that have one, in their order.
    pub fn split_by<K: Ord>(
        self,
        key: impl Fn(&Received) -> Option<K>,
    ) -> impl Iterator<Item = (K, Self)> {
        let mut parts: BTreeMap<K, Vec<Received>> = BTreeMap::new();
        for event in self.events {
            if let Some(key) = key(&event) {
                parts.entry(key).or_default().push(event);
            }
        }
        let permits = self.permits;
        let batch = move |events| Self { events, permits: Arc::clone(&permits) };
        parts.into_iter().map(move |(key, events)| (key, batch(events)))
    }

    /// A batch for each run of events with the same key, in their order.
    pub fn by<K: PartialEq>(self, key: impl Fn(&Received) -> K) -> impl Iterator<Item = (K, Self)> {
        let mut events = self.events.into_iter().peekable();
        let permits = self.permits;
        std::iter::from_fn(move || {
            let first = events.next()?;
            let of = key(&first);
            let mut run = vec![first];
            run.extend(std::iter::from_fn(|| events.next_if(|next| key(next) == of)));
            Some((of, Self { events: run, permits: Arc::clone(&permits) }))
        })
    }
}

// === impl Sorter ===

impl Sorter<'_> {
    /// Reads a message and gives its events to the workers that want its topic. A message that
    /// cannot be read is counted and has no effect.
    pub(super) fn sort(&mut self, raw: Raw, subscriptions: &Subscriptions) {
        let message = Bytes::from(raw.message);
        let envelope = match Envelope::read(&message) {
            Ok(envelope) => envelope,
            Err(ignored) => return self.metrics.ignored.inc(ignored as usize),
        };
        let Some((topic, workers)) = subscriptions.workers(&raw.channel) else { return };
        if envelope.boot == self.own {
            return;
        }
        let from = Node { name: envelope.node.into(), boot: envelope.boot };
        for (number, event) in (envelope.number..).zip(envelope.events()) {
            let Some((kind, data)) = event else {
                self.metrics.ignored.inc(UNKNOWN_KIND);
                continue;
            };
            self.metrics.received.inc(kind.index());
            for worker in &workers {
                let (topic, from, data) = (topic.clone(), from.clone(), message.slice_ref(data));
                let received = Received { topic, from, number, kind, data };
                self.batches.entry(*worker).or_default().push(received);
            }
        }
    }
}

/// Why messages and events are ignored, for the metrics.
pub(super) const IGNORED: &[&str] = &["malformed", "unknown_version", "unknown_kind"];
const UNKNOWN_KIND: usize = 2;
const _: () = assert!(Ignored::Malformed as usize == 0 && Ignored::Version as usize == 1);

#[cfg(test)]
mod tests {
    use super::super::METRIC_LABELS;
    use super::super::envelope::{add, begin};
    use super::*;
    use crate::metrics::{LabelValues, Metrics};
    use protocol::ids::OrderId;

    fn metrics() -> BusMetrics {
        Metrics::new(&LabelValues { bus: METRIC_LABELS, ..LabelValues::default() }).bus
    }

    fn order(id: &str) -> Topic {
        Topic::Order(OrderId::new(id).expect("an id"))
    }

    fn message(boot: u8, number: u64, events: &[&str]) -> Vec<u8> {
        let mut bytes = begin(BootId::from_bytes([boot; 16]), "hub", number);
        for data in events {
            add(&mut bytes, Kind::Chat, data.as_bytes());
        }
        bytes
    }

    /// What each worker gets of these messages, where worker 0 wants a, and 0 and 1 want b. The
    /// channels are called like their topics.
    fn sorted(metrics: &BusMetrics, raw: Vec<(&str, Vec<u8>)>) -> Vec<(usize, Vec<Received>)> {
        let mut subscriptions = Subscriptions::new();
        for (name, worker) in [("a", 0), ("b", 0), ("b", 1), ("b", 1)] {
            drop(subscriptions.add(name, order(name), worker));
        }
        let own = BootId::from_bytes([0xff; 16]);
        let batches = BTreeMap::new();
        let mut sorter = Sorter { own, metrics, batches };
        for (channel, message) in raw {
            let channel = channel.as_bytes().to_vec();
            sorter.sort(Raw { channel, message }, &subscriptions);
        }
        sorter.batches.into_iter().collect()
    }

    #[test]
    fn each_worker_gets_its_topics_in_one_batch() {
        let metrics = metrics();
        let raw = vec![("a", message(1, 5, &["x", "y"])), ("b", message(2, 9, &["z"]))];
        let batches = sorted(&metrics, raw);
        let short = |events: &[Received]| -> Vec<(String, u64, u8)> {
            let text = |event: &Received| String::from_utf8_lossy(&event.data).into_owned();
            events.iter().map(|e| (text(e), e.number, e.from.boot.as_bytes()[0])).collect()
        };
        let z = ("z".to_owned(), 9, 2);
        let [(0, first), (1, second)] = batches.as_slice() else { panic!("{batches:?}") };
        assert_eq!(short(first), [("x".into(), 5, 1), ("y".into(), 6, 1), z.clone()]);
        assert_eq!(short(second), [z]);
        assert_eq!((&first[0].topic, &first[2].topic), (&order("a"), &order("b")));
        assert_eq!(metrics.received.iter().map(|(_, count)| count).sum::<u64>(), 3);
    }

    #[test]
    fn garbage_unknown_kinds_and_own_messages_have_no_effect() {
        let metrics = metrics();
        let (mut newer, mut kind) = (message(1, 1, &["x"]), message(1, 1, &["x"]));
        newer[0] = 2;
        let place = kind.len() - 6;
        kind[place] = 99;
        let raw = vec![
            ("a", b"garbage".to_vec()),
            ("a", newer),
            ("a", kind),
            ("a", message(0xff, 1, &["own"])),
            ("unknown", message(1, 1, &["x"])),
        ];
        assert_eq!(sorted(&metrics, raw), []);
        let counts: Vec<_> = metrics.ignored.iter().collect();
        assert_eq!(counts, [("malformed", 1), ("unknown_version", 1), ("unknown_kind", 1)]);
    }

    #[test]
    fn a_batch_is_taken_apart_and_counts_until_its_last_part_is_gone() {
        let metrics = metrics();
        let raw = [("a", 1), ("a", 2), ("b", 3), ("a", 4)];
        let raw = raw.map(|(channel, number)| (channel, message(1, number, &["x"])));
        let events = sorted(&metrics, raw.into()).remove(0).1;
        let limit = IncomingLimit::new();
        let batch = limit.admit(events).expect("a place");
        let parts: Vec<_> = batch.by(|event| event.topic.clone()).collect();
        let numbers = |batch: &Batch| batch.events.iter().map(|e| e.number).collect::<Vec<_>>();
        let shown: Vec<_> = parts.iter().map(|(topic, part)| (topic, numbers(part))).collect();
        let (a, b) = (order("a"), order("b"));
        assert_eq!(shown, [(&a, vec![1, 2]), (&b, vec![3]), (&a, vec![4])]);
        let last = parts.into_iter().last();
        assert_eq!(limit.events.taken(), 4);
        drop(last);
        assert_eq!(limit.events.taken(), 0);
    }

    #[test]
    fn more_than_may_wait_is_refused_until_a_batch_is_done() {
        let received = sorted(&metrics(), vec![("a", message(1, 1, &["x"]))]).remove(0).1;
        let many = |count| vec![received[0].clone(); count];
        let limit = IncomingLimit::new();
        let batch = limit.admit(many(MAX_EVENTS)).expect("a place");
        assert!(limit.admit(many(1)).is_err());
        drop(batch);
        let mut large = many(1);
        large[0].data = vec![0; MAX_BYTES].into();
        let batch = limit.admit(large).expect("a place");
        assert!(limit.admit(many(1)).is_err());
        drop(batch);
        assert!(limit.admit(many(1)).is_ok());
    }
}
