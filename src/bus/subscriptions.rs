//! Which topics a node wants, which of them the servers have confirmed, and which workers they are
//! for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::Topic;
use super::topic::{PARTITIONS, Partition};

/// All topics of a node, by channel.
#[derive(Debug)]
pub(super) struct Subscriptions {
    entries: HashMap<Arc<[u8]>, Entry>,
    /// The channels of each partition that are wanted and not confirmed, or the other way round.
    changed: Vec<HashSet<Arc<[u8]>>>,
}

#[derive(Debug)]
struct Entry {
    topic: Topic,
    partition: Partition,
    /// The worker of each subscription. With none the topic is not wanted.
    workers: SmallVec<[usize; 2]>,
    status: Status,
    /// Who waits for the confirmation.
    waiting: Vec<oneshot::Sender<()>>,
}

/// What the server knows of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    /// It is not subscribed.
    Off,
    /// The server was told to subscribe it.
    Asked,
    /// The server has confirmed it.
    On,
    /// The server was told to unsubscribe it.
    Leaving,
}

/// What the servers of some partitions are to be told next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) subscribe: Vec<Arc<[u8]>>,
    pub(super) unsubscribe: Vec<Arc<[u8]>>,
}

// === impl Subscriptions ===

impl Subscriptions {
    pub(super) fn new() -> Self {
        Self { entries: HashMap::new(), changed: vec![HashSet::new(); PARTITIONS] }
    }

    /// A worker wants a topic. The receiver is told when the server has confirmed it, and is
    /// dropped if the connection is lost before.
    pub(super) fn add(
        &mut self,
        channel: &str,
        topic: Topic,
        worker: usize,
    ) -> oneshot::Receiver<()> {
        let (confirm, confirmed) = oneshot::channel();
        let channel: Arc<[u8]> = Arc::from(channel.as_bytes());
        let partition = topic.partition();
        let entry = self.entries.entry(Arc::clone(&channel)).or_insert_with(|| Entry {
            topic,
            partition,
            workers: SmallVec::new(),
            status: Status::Off,
            waiting: Vec::new(),
        });
        entry.workers.push(worker);
        if entry.status == Status::On {
            // A receiver that is gone wants no answer.
            let _ = confirm.send(());
        } else {
            entry.waiting.push(confirm);
        }
        self.look_at(&channel);
        confirmed
    }

    /// A worker does not want a topic any more.
    pub(super) fn remove(&mut self, channel: &str, worker: usize) {
        let Some((channel, entry)) = self.entries.get_key_value(channel.as_bytes()) else { return };
        let channel = Arc::clone(channel);
        let Some(place) = entry.workers.iter().position(|known| *known == worker) else { return };
        if let Some(entry) = self.entries.get_mut(&channel) {
            entry.workers.swap_remove(place);
        }
        self.look_at(&channel);
    }

    /// Notes whether a channel is to be changed, and forgets one that is not wanted and not
    /// subscribed.
    fn look_at(&mut self, channel: &Arc<[u8]>) {
        let Some(entry) = self.entries.get(channel) else { return };
        let place = entry.partition.index();
        match (entry.workers.is_empty(), entry.status) {
            (false, Status::Off) | (true, Status::On) => {
                self.changed[place].insert(Arc::clone(channel));
            }
            (true, Status::Off) => {
                self.changed[place].remove(channel);
                self.entries.remove(channel);
            }
            // What the server was told is looked at again when it has answered.
            (false, Status::On) | (_, Status::Asked | Status::Leaving) => {
                self.changed[place].remove(channel);
            }
        }
    }

    /// What the server of these partitions is to be told next, at most `most` channels.
    pub(super) fn take_changes(&mut self, partitions: &[Partition], most: usize) -> Changes {
        let mut changes = Changes::default();
        for partition in partitions {
            let noted = &mut self.changed[partition.index()];
            let room = most - changes.subscribe.len() - changes.unsubscribe.len();
            let taken: Vec<_> = noted.iter().take(room).map(Arc::clone).collect();
            for channel in taken {
                noted.remove(&channel);
                let Some(entry) = self.entries.get_mut(&channel) else { continue };
                if entry.workers.is_empty() {
                    entry.status = Status::Leaving;
                    changes.unsubscribe.push(channel);
                } else {
                    entry.status = Status::Asked;
                    changes.subscribe.push(channel);
                }
            }
        }
        changes
    }

    /// The server has confirmed a subscription.
    pub(super) fn confirmed(&mut self, channel: &[u8]) {
        let Some((channel, _)) = self.entries.get_key_value(channel) else { return };
        let channel = Arc::clone(channel);
        if let Some(entry) = self.entries.get_mut(&channel) {
            entry.status = Status::On;
            for confirm in entry.waiting.drain(..) {
                let _ = confirm.send(());
            }
        }
        self.look_at(&channel);
    }

    /// The server has unsubscribed a channel. Whether that is right: it was told to, or nothing is
    /// known of the channel.
    pub(super) fn left(&mut self, channel: &[u8]) -> bool {
        let Some((channel, entry)) = self.entries.get_key_value(channel) else { return true };
        let (channel, was_asked) = (Arc::clone(channel), entry.status == Status::Leaving);
        if let Some(entry) = self.entries.get_mut(&channel) {
            entry.status = Status::Off;
        }
        self.look_at(&channel);
        was_asked
    }

    /// The connection of these partitions is lost: nothing there is subscribed, and no one waits
    /// for it any longer.
    pub(super) fn lost(&mut self, partitions: &[Partition]) {
        let is_lost = |entry: &Entry| partitions.contains(&entry.partition);
        let lost = self.entries.iter().filter(|(_, entry)| is_lost(entry));
        for channel in lost.map(|(channel, _)| Arc::clone(channel)).collect::<Vec<_>>() {
            if let Some(entry) = self.entries.get_mut(&channel) {
                entry.status = Status::Off;
                entry.waiting.clear();
            }
            self.look_at(&channel);
        }
    }

    /// The topic of a channel, and the workers that want it, each once.
    pub(super) fn workers(&self, channel: &[u8]) -> Option<(&Topic, SmallVec<[usize; 2]>)> {
        let entry = self.entries.get(channel)?;
        let mut workers = entry.workers.clone();
        workers.sort_unstable();
        workers.dedup();
        Some((&entry.topic, workers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::OrderId;

    fn topic(id: &str) -> Topic {
        Topic::Order(OrderId::new(id).expect("an id"))
    }

    /// What the server is told: `+` for a subscription, `-` for its end.
    fn told(subscriptions: &mut Subscriptions) -> Vec<String> {
        let partitions: Vec<_> = Partition::all().collect();
        let changes = subscriptions.take_changes(&partitions, 100);
        let sign = |sign: &str, channels: Vec<Arc<[u8]>>| -> Vec<String> {
            let name = |name: &Arc<[u8]>| format!("{sign}{}", String::from_utf8_lossy(name));
            channels.iter().map(name).collect()
        };
        let mut all = sign("+", changes.subscribe);
        all.extend(sign("-", changes.unsubscribe));
        all.sort();
        all
    }

    fn workers(subscriptions: &Subscriptions, channel: &str) -> Vec<usize> {
        let found = subscriptions.workers(channel.as_bytes());
        found.map(|(_, workers)| workers.to_vec()).unwrap_or_default()
    }

    #[test]
    fn a_subscription_is_confirmed_once_the_server_says_so() {
        let mut subscriptions = Subscriptions::new();
        let mut first = subscriptions.add("a", topic("a"), 0);
        let mut second = subscriptions.add("a", topic("a"), 1);
        assert_eq!(told(&mut subscriptions), ["+a"]);
        assert!(first.try_recv().is_err() && told(&mut subscriptions).is_empty());
        subscriptions.confirmed(b"a");
        assert!(first.try_recv().is_ok() && second.try_recv().is_ok());
        assert!(subscriptions.add("a", topic("a"), 1).try_recv().is_ok(), "it is known already");
        assert_eq!(workers(&subscriptions, "a"), [0, 1]);
        assert!(told(&mut subscriptions).is_empty());
    }

    #[test]
    fn the_last_worker_that_leaves_ends_the_subscription() {
        let mut subscriptions = Subscriptions::new();
        for worker in [0, 0, 1] {
            drop(subscriptions.add("a", topic("a"), worker));
        }
        told(&mut subscriptions);
        subscriptions.confirmed(b"a");
        subscriptions.remove("a", 0);
        subscriptions.remove("a", 2);
        assert_eq!(workers(&subscriptions, "a"), [0, 1], "another subscription of worker 0");
        subscriptions.remove("a", 0);
        subscriptions.remove("a", 1);
        assert_eq!(told(&mut subscriptions), ["-a"]);
        assert!(subscriptions.left(b"a"));
        assert!(subscriptions.workers(b"a").is_none(), "it is forgotten");
    }

    #[test]
    fn a_change_of_mind_is_carried_out_after_the_answer() {
        let mut subscriptions = Subscriptions::new();
        drop(subscriptions.add("a", topic("a"), 0));
        subscriptions.remove("a", 0);
        assert!(told(&mut subscriptions).is_empty() && subscriptions.workers(b"a").is_none());
        drop(subscriptions.add("a", topic("a"), 0));
        assert_eq!(told(&mut subscriptions), ["+a"]);
        subscriptions.remove("a", 0);
        assert!(told(&mut subscriptions).is_empty(), "the server has not answered");
        subscriptions.confirmed(b"a");
        assert_eq!(told(&mut subscriptions), ["-a"]);
        let mut confirmed = subscriptions.add("a", topic("a"), 0);
        assert!(told(&mut subscriptions).is_empty() && confirmed.try_recv().is_err());
        assert!(subscriptions.left(b"a"));
        assert_eq!(told(&mut subscriptions), ["+a"]);
        subscriptions.confirmed(b"a");
        assert!(confirmed.try_recv().is_ok());
    }

    #[test]
    fn after_a_loss_everything_wanted_is_subscribed_anew() {
        let mut subscriptions = Subscriptions::new();
        for name in ["a", "b", "c"] {
            drop(subscriptions.add(name, topic(name), 0));
        }
        told(&mut subscriptions);
        subscriptions.confirmed(b"a");
        subscriptions.confirmed(b"b");
        let mut waits = subscriptions.add("c", topic("c"), 0);
        subscriptions.remove("b", 0);
        let all: Vec<_> = Partition::all().collect();
        subscriptions.lost(&all);
        assert_eq!(waits.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(told(&mut subscriptions), ["+a", "+c"], "b is not wanted any more");
        subscriptions.confirmed(b"a");
        subscriptions.lost(&[topic("c").partition()]);
        assert_eq!(told(&mut subscriptions), ["+c"]);
    }

    #[test]
    fn a_server_that_ends_a_subscription_by_itself_is_noticed() {
        let mut subscriptions = Subscriptions::new();
        drop(subscriptions.add("a", topic("a"), 0));
        told(&mut subscriptions);
        subscriptions.confirmed(b"a");
        assert!(!subscriptions.left(b"a"));
        assert!(subscriptions.left(b"unknown"));
    }

    #[test]
    fn a_server_gets_only_its_partitions_and_a_bounded_number_at_once() {
        let mut subscriptions = Subscriptions::new();
        let here = topic("a").partition();
        let elsewhere = (0..100).map(|n| n.to_string()).find(|id| topic(id).partition() != here);
        let elsewhere = elsewhere.expect("another partition");
        drop(subscriptions.add("a", topic("a"), 0));
        drop(subscriptions.add(&elsewhere, topic(&elsewhere), 0));
        let changes = subscriptions.take_changes(&[here], 100);
        assert_eq!(changes.subscribe, [Arc::from(b"a".as_slice())]);
        let all: Vec<_> = Partition::all().collect();
        assert_eq!(subscriptions.take_changes(&all, 0), Changes::default());
        assert_eq!(subscriptions.take_changes(&all, 1).subscribe.len(), 1);
    }
}
