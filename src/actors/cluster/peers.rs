//! Who the other nodes are, and questions to them. A hub alone has no others, and its questions are
//! answered at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use super::Beat;
use super::question::{Asked, Question, Reply};
use crate::bus::nodes::{Nodes, Present};
use crate::bus::{Bus, Event, Kind, Node, State, Topic};
use protocol::ids::BootId;

/// How many answers to one question may wait for the asker. More nodes than that do not answer.
const MAX_ANSWERS: usize = 1024;

/// A node whose beat over the bus is older than this, and whose row is fresh, is cut off from the
/// bus.
const CUT_OFF_AFTER: Duration = Duration::from_millis(2500);

/// For how long it is known that a node has said that it stops: longer than its row counts.
const LEFT_FOR: Duration = Duration::from_secs(60);

/// The other nodes of this one.
pub struct Peers {
    bus: Arc<dyn Bus>,
    /// Whether there may be others.
    is_cluster: bool,
    known: Mutex<Known>,
    /// Where answers to the questions under way go.
    asking: Mutex<HashMap<u64, mpsc::Sender<RawAnswer>>>,
    next_number: AtomicU64,
}

/// Who answered, and what.
type RawAnswer = (BootId, Box<RawValue>);

#[derive(Default)]
struct Known {
    nodes: Nodes,
    beats: HashMap<BootId, Beat>,
    /// When each was last heard over the bus, or at first.
    over_bus: HashMap<BootId, Instant>,
    /// When nodes have said that they stop. What was read of them before does not bring them back.
    left: HashMap<BootId, Instant>,
}

/// A node that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The node.
    pub node: Node,
    /// What it said last.
    pub beat: Beat,
    /// How long ago it was heard, over the bus or through the database.
    pub silent_for: Duration,
}

/// What the other nodes answered.
#[derive(Debug)]
pub struct Answers<A> {
    /// The answers.
    pub answers: Vec<A>,
    /// The names of nodes that are there and did not answer in time, in the order of their starts.
    pub silent: Vec<Arc<str>>,
}

/// A question under way, which no longer takes answers when this is dropped.
struct Asking<'a> {
    peers: &'a Peers,
    number: u64,
    replies: mpsc::Receiver<RawAnswer>,
}

// === impl Peers ===

impl Peers {
    /// The others on this bus, none of whom is known yet.
    pub fn new(bus: Arc<dyn Bus>, is_cluster: bool) -> Self {
        let (known, asking) = (Mutex::default(), Mutex::default());
        Self { bus, is_cluster, known, asking, next_number: 1.into() }
    }

    /// A node has said that it is there, or that it leaves. Whether that is new.
    pub fn heard(&self, node: &Node, beat: Beat, at: Instant) -> bool {
        let mut known = self.known.lock();
        if beat.leaves {
            known.beats.remove(&node.boot);
            known.over_bus.remove(&node.boot);
            known.left.retain(|_, left| at.saturating_duration_since(*left) < LEFT_FOR);
            known.left.insert(node.boot, at);
            return known.nodes.left(node.boot);
        }
        if known.left.contains_key(&node.boot) {
            return false;
        }
        known.beats.insert(node.boot, beat);
        known.over_bus.entry(node.boot).or_insert(at);
        known.nodes.heard(node, at)
    }

    /// A node was heard over the bus.
    pub fn heard_over_bus(&self, boot: BootId, at: Instant) {
        if let Some(last) = self.known.lock().over_bus.get_mut(&boot) {
            *last = at;
        }
    }

    /// Whether a node is there that is not heard over the bus: it goes on storing.
    pub fn has_cut_off(&self, now: Instant) -> bool {
        let known = self.known.lock();
        let is_cut_off = |present: &Present| {
            let heard = known.over_bus.get(&present.node.boot);
            heard.is_some_and(|at| now.saturating_duration_since(*at) > CUT_OFF_AFTER)
        };
        known.nodes.present(now).iter().any(is_cut_off)
    }

    /// Forgets the nodes that are gone, and names them.
    pub fn take_gone(&self, now: Instant) -> Vec<Node> {
        let mut known = self.known.lock();
        let gone = known.nodes.take_gone(now);
        for node in &gone {
            known.beats.remove(&node.boot);
            known.over_bus.remove(&node.boot);
        }
        gone
    }

    /// The nodes that are there, in the order of their starts.
    pub fn present(&self, now: Instant) -> Vec<Peer> {
        let known = self.known.lock();
        let peer = |Present { node, silent_for }: Present| {
            let beat = known.beats.get(&node.boot)?.clone();
            Some(Peer { node, beat, silent_for })
        };
        known.nodes.present(now).into_iter().filter_map(peer).collect()
    }

    /// A question, if there may be anyone to ask.
    pub fn question(&self, question: impl FnOnce() -> Question) -> Option<Question> {
        self.is_cluster.then(question)
    }

    /// Asks all nodes that are there, and waits until each has answered, at most for this time. While
    /// the bus is down none of them is asked.
    pub async fn ask<A: DeserializeOwned>(
        &self,
        question: Option<Question>,
        within: Duration,
    ) -> Answers<A> {
        self.ask_also(question, &[], within).await
    }

    /// The same, where these nodes must answer too, whether they are known to this one or not.
    pub async fn ask_also<A: DeserializeOwned>(
        &self,
        question: Option<Question>,
        also: &[Node],
        within: Duration,
    ) -> Answers<A> {
        let Some(question) = question else {
            return Answers { answers: Vec::new(), silent: Vec::new() };
        };
        let deadline = Instant::now() + within;
        let mut silent = self.all_with(also);
        let mut answers = Vec::new();
        let name = |nodes: Vec<Node>| nodes.into_iter().map(|node| node.name).collect();
        if silent.is_empty() || self.bus.state() != State::Up {
            return Answers { answers, silent: name(silent) };
        }
        let mut asking = self.open(question);
        while !silent.is_empty()
            && let Ok(Some((boot, answer))) =
                timeout_at(deadline.into(), asking.replies.recv()).await
        {
            // What another version answers may be no answer to this one.
            if let Some(place) = silent.iter().position(|node| node.boot == boot)
                && let Ok(answer) = serde_json::from_str(answer.get())
            {
                silent.remove(place);
                answers.push(answer);
            }
        }
        Answers { answers, silent: name(silent) }
    }

    /// The nodes that are there and these, in the order of their starts.
    fn all_with(&self, also: &[Node]) -> Vec<Node> {
        let known = self.known.lock();
        let present = known.nodes.present(Instant::now()).into_iter().map(|present| present.node);
        let also = also.iter().filter(|node| !known.left.contains_key(&node.boot)).cloned();
        let mut all: Vec<Node> = present.chain(also).collect();
        all.sort_by_key(|node| node.boot);
        all.dedup_by_key(|node| node.boot);
        all
    }

    fn open(&self, question: Question) -> Asking<'_> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let (sender, replies) = mpsc::channel(MAX_ANSWERS);
        self.asking.lock().insert(number, sender);
        let kind = question.kind();
        match serde_json::to_vec(&Asked { number, question }) {
            Ok(data) => self.bus.publish(&Topic::All, Event::new(kind, data)),
            Err(error) => log::error!("a question cannot be written: {error}"),
        }
        Asking { peers: self, number, replies }
    }

    /// A node has answered.
    pub fn answered(&self, from: BootId, data: &[u8]) {
        let Ok(Reply { number, answer }) = serde_json::from_slice(data) else { return };
        // Perhaps it came too late.
        if let Some(asking) = self.asking.lock().get(&number) {
            asking.try_send((from, answer)).ok();
        }
    }

    /// Answers a question of another node.
    pub fn reply(&self, to: BootId, number: u64, answer: Box<RawValue>) {
        match serde_json::to_vec(&Reply { number, answer }) {
            Ok(data) => self.bus.publish(&Topic::Node(to), Event::new(Kind::Answer, data)),
            Err(error) => log::error!("an answer cannot be written: {error}"),
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.peers.asking.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Confirmation, Dropped, Subscription};
    use crate::relay::beat::BeatContent;
    use protocol::time::Timestamp;

    /// A bus that notes what is published.
    struct TestBus {
        published: Mutex<Vec<Event>>,
        state: State,
    }

    impl Bus for TestBus {
        fn publish(&self, _: &Topic, event: Event) {
            self.published.lock().push(event);
        }

        fn subscribe(&self, topic: Topic, worker: usize) -> (Subscription, Confirmation) {
            crate::bus::none::SingleNode.subscribe(topic, worker)
        }

        fn state(&self) -> State {
            self.state
        }

        fn take_dropped(&self) -> Dropped {
            Dropped::default()
        }

        fn close(&self) {}
    }

    fn peers(state: State) -> (Arc<TestBus>, Peers) {
        let bus = Arc::new(TestBus { published: Mutex::default(), state });
        let peers = Peers::new(Arc::clone(&bus) as Arc<dyn Bus>, true);
        for (name, boot) in [("a", 1), ("b", 2)] {
            peers.heard(&node(name, boot), beat(), Instant::now());
        }
        (bus, peers)
    }

    fn node(name: &str, boot: u8) -> Node {
        Node { name: name.into(), boot: BootId::from_bytes([boot; 16]) }
    }

    fn beat() -> Beat {
        let (version, started_at) = ("1".to_owned(), Timestamp::from_secs(1));
        Beat {
            version,
            started_at,
            connections: 0,
            rooms: 0,
            leaves: false,
            content: BeatContent::default(),
        }
    }

    fn reply(number: u64, answer: &str) -> String {
        format!(r#"{{"number":{number},"answer":{answer}}}"#)
    }

    #[tokio::test]
    async fn each_node_is_waited_for_and_counts_once() {
        let (bus, peers) = peers(State::Up);
        let answer = async {
            let asked: Asked =
                serde_json::from_slice(&bus.published.lock()[0].data).expect("a question");
            let stranger = node("c", 3).boot;
            for (boot, text) in [
                (stranger, reply(asked.number, "100")),
                (node("a", 1).boot, reply(asked.number + 1, "100")),
                (node("a", 1).boot, "no JSON".to_owned()),
                (node("a", 1).boot, reply(asked.number, r#""no number""#)),
                (node("a", 1).boot, reply(asked.number, "3")),
                (node("a", 1).boot, reply(asked.number, "100")),
                (node("b", 2).boot, reply(asked.number, "4")),
            ] {
                peers.answered(boot, text.as_bytes());
            }
        };
        let asked = peers.ask::<u64>(Some(Question::Log(1)), Duration::from_secs(60));
        let (answers, ()) = tokio::join!(asked, answer);
        assert_eq!((answers.answers, answers.silent.len()), (vec![3, 4], 0));
        assert!(peers.asking.lock().is_empty(), "it takes no more answers");
    }

    #[tokio::test]
    async fn a_node_that_does_not_answer_is_named_after_the_time() {
        let (_bus, peers) = peers(State::Up);
        let answer = async { peers.answered(node("b", 2).boot, reply(1, "4").as_bytes()) };
        let (begun, within) = (Instant::now(), Duration::from_millis(50));
        let asked = peers.ask::<u64>(Some(Question::Log(1)), within);
        let (answers, ()) = tokio::join!(asked, answer);
        assert_eq!((answers.answers, answers.silent), (vec![4], vec![Arc::from("a")]));
        assert!(begun.elapsed() >= within);
    }

    #[tokio::test]
    async fn while_the_bus_is_down_all_are_named_at_once() {
        for state in [State::Deaf, State::Down] {
            let (bus, peers) = peers(state);
            let answers = peers.ask::<u64>(Some(Question::Log(1)), Duration::from_secs(60)).await;
            assert_eq!(answers.silent, [Arc::from("a"), Arc::from("b")]);
            assert!(answers.answers.is_empty() && bus.published.lock().is_empty());
        }
    }

    #[tokio::test]
    async fn a_node_that_is_there_and_not_heard_over_the_bus_is_cut_off() {
        let (_bus, peers) = peers(State::Up);
        let start = Instant::now();
        let later = start + Duration::from_secs(3);
        assert!(!peers.has_cut_off(start));
        for (name, boot) in [("a", 1), ("b", 2)] {
            assert!(!peers.heard(&node(name, boot), beat(), later), "by its row");
        }
        assert!(peers.has_cut_off(later));
        peers.heard_over_bus(node("a", 1).boot, later);
        assert!(peers.has_cut_off(later));
        peers.heard_over_bus(node("b", 2).boot, later);
        assert!(!peers.has_cut_off(later));
    }

    #[tokio::test]
    async fn a_node_that_leaves_or_is_silent_is_not_asked() {
        let (_bus, peers) = peers(State::Up);
        let now = Instant::now();
        assert!(peers.heard(&node("a", 1), Beat { leaves: true, ..beat() }, now));
        assert!(!peers.heard(&node("a", 1), Beat { leaves: true, ..beat() }, now), "known");
        assert!(!peers.heard(&node("a", 1), beat(), now), "its row was read before it left");
        assert_eq!(peers.present(now).len(), 1);
        let later = now + Duration::from_secs(6);
        assert_eq!(peers.present(later), []);
        assert_eq!(peers.take_gone(later), [node("b", 2)]);
        let answers = peers.ask::<u64>(Some(Question::Log(1)), Duration::from_secs(60)).await;
        assert!(answers.silent.is_empty());
    }

    #[tokio::test]
    async fn nodes_that_only_the_database_knows_are_named_too_and_those_that_left_are_not() {
        let (_bus, peers) = peers(State::Down);
        peers.heard(&node("b", 2), Beat { leaves: true, ..beat() }, Instant::now());
        let also = [node("a", 1), node("b", 2), node("c", 3)];
        let question = peers.question(|| Question::Log(1));
        let answers = peers.ask_also::<u64>(question, &also, Duration::from_secs(60)).await;
        assert_eq!(answers.silent, [Arc::from("a"), Arc::from("c")]);
    }

    #[tokio::test]
    async fn a_hub_alone_asks_nobody() {
        let peers = Peers::new(Arc::new(crate::bus::none::SingleNode), false);
        assert!(peers.question(|| panic!("it is not made")).is_none());
        let answers = peers.ask::<u64>(None, Duration::from_secs(60)).await;
        assert!(answers.answers.is_empty() && answers.silent.is_empty());
    }
}
