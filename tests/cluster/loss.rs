//! Chat while Redis or a node is lost: nothing is lost, nothing comes twice, everything comes soon.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use super::room::place_of;
use super::support::{Client, Hub, back_end};
use super::test_cluster::{TestCluster, know_each_other};

/// How often each member says something.
const EVERY: Duration = Duration::from_millis(50);
/// How late a message may be on a busy machine. On one that is not it is a second or two.
const LATEST: Duration = Duration::from_secs(8);

/// What a member has written and seen.
#[derive(Default)]
struct History {
    /// What was acknowledged, with the time of that.
    acknowledged: Vec<(i64, String, Instant)>,
    /// What was shown, in the order in which it came.
    shown: Vec<(i64, String, Instant)>,
}

/// What the members are to do: say something, or only read up to this message.
type Phase = watch::Receiver<Option<usize>>;

/// Talks and reads until it has read so many messages as the phase says at last.
async fn talk(mut client: Client, name: &'static str, mut phase: Phase) -> History {
    let (mut history, mut asked) = (History::default(), Vec::<(u64, String)>::new());
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        let last = *phase.borrow();
        if last.is_some_and(|count| history.shown.len() >= count) {
            return history;
        }
        tokio::select! {
            _ = ticks.tick(), if last.is_none() => {
                let content = format!("{name}{}", asked.len());
                let id = client
                    .ask("chat:message", json!({ "orderId": "o1", "content": content }))
                    .await;
                asked.push((id, content));
            }
            message = client.next() => history.note(&message, &asked),
            changed = phase.changed() => changed.expect("a phase"),
        }
    }
}

impl History {
    fn note(&mut self, message: &Value, asked: &[(u64, String)]) {
        let data = &message["data"];
        if message["event"] == "chat:message" {
            let (seq, content) = place_of(data);
            self.shown.push((seq, content, Instant::now()));
        } else if message["event"] == "ack" {
            assert_eq!(data["ok"], true, "{message}");
            let id = message["id"].as_u64().expect("an id");
            let (_, content) = asked.iter().find(|(known, _)| *known == id).expect("asked");
            let seq = data["seq"].as_i64().expect("a number");
            self.acknowledged.push((seq, content.clone(), Instant::now()));
        }
    }
}

/// The members of one room, each on a node of its own, who talk all the time.
struct Talk {
    members: Vec<JoinHandle<History>>,
    phase: watch::Sender<Option<usize>>,
}

impl Talk {
    async fn begin(nodes: &[&Hub]) -> Self {
        back_end::put(nodes[0], "o1", json!({ "status": "NEW" })).await;
        let (phase, told) = watch::channel(None);
        let mut clients = Vec::new();
        for (hub, name) in nodes.iter().zip(["a", "b", "c"]) {
            let mut client = hub.connect(name, "customer", &["o1"]).await;
            client.join("o1").await;
            clients.push((client, name));
        }
        let talk = |(client, name)| tokio::spawn(talk(client, name, told.clone()));
        Self { members: clients.into_iter().map(talk).collect(), phase }
    }

    /// Ends it once everybody has seen everything, and checks what each has seen. Gives the latest of
    /// all delays.
    async fn end(self, hub: &Hub) -> Duration {
        // Nobody says anything more; what is under way comes first.
        self.phase.send(Some(usize::MAX)).expect("members");
        tokio::time::sleep(EVERY).await;
        let stored = stored(hub).await;
        self.phase.send(Some(stored.len())).expect("members");
        let mut histories = Vec::new();
        for member in self.members {
            histories.push(member.await.expect("a history"));
        }
        for history in &histories {
            let shown: Vec<_> =
                history.shown.iter().map(|(seq, content, _)| (*seq, content.clone())).collect();
            assert_eq!(shown, stored, "dense, none twice, none missing");
        }
        let acknowledged = histories.iter().flat_map(|history| &history.acknowledged);
        let delays = acknowledged.flat_map(|(seq, content, at)| {
            assert!(stored.contains(&(*seq, content.clone())), "{content} is stored");
            let place = usize::try_from(*seq - 1).expect("a place");
            histories.iter().map(move |history| history.shown[place].2 - *at)
        });
        delays.max().expect("messages")
    }
}

/// All messages of the order, once there are no new ones.
async fn stored(hub: &Hub) -> Vec<(i64, String)> {
    let mut all = Vec::new();
    loop {
        let after = all.last().map_or(0, |(seq, _)| *seq);
        let path = format!("/orders/o1/messages?afterSeq={after}&limit=200");
        let (status, page) = back_end::call(hub, reqwest::Method::GET, &path, json!(null)).await;
        assert_eq!(status, 200, "{page}");
        let messages = page["messages"].as_array().expect("messages");
        if messages.is_empty() {
            return all;
        }
        all.extend(messages.iter().map(place_of));
    }
}

#[tokio::test]
async fn redis_is_killed_and_back_empty_while_all_talk() {
    let Some(mut cluster) = TestCluster::create() else { return };
    let nodes: [Hub; 3] = cluster.nodes();
    let talk = Talk::begin(&[&nodes[0], &nodes[1], &nodes[2]]).await;
    let pause = async || tokio::time::sleep(Duration::from_secs(2)).await;
    pause().await;
    cluster.redis.kill();
    pause().await;
    cluster.redis.start_again();
    pause().await;
    let latest = talk.end(&nodes[0]).await;
    assert!(latest < LATEST, "{latest:?}");
}

#[tokio::test]
async fn redis_stands_still_and_is_flushed_while_all_talk() {
    let Some(cluster) = TestCluster::create() else { return };
    let nodes: [Hub; 3] = cluster.nodes();
    let talk = Talk::begin(&[&nodes[0], &nodes[1], &nodes[2]]).await;
    let pause = async || tokio::time::sleep(Duration::from_secs(2)).await;
    pause().await;
    cluster.redis.freeze();
    pause().await;
    cluster.redis.thaw();
    pause().await;
    let _: i64 = cluster.redis.tell("CLIENT KILL TYPE pubsub");
    pause().await;
    let latest = talk.end(&nodes[0]).await;
    assert!(latest < LATEST, "{latest:?}");
}

/// Talks until the connection breaks, and gives what was acknowledged before.
async fn talk_until_the_end(mut client: Client) -> Vec<(i64, String)> {
    let mut acknowledged = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    for n in 0_u64.. {
        ticks.tick().await;
        let data = json!({ "orderId": "o1", "content": format!("doomed{n}") });
        let text = json!({ "event": "chat:message", "data": data, "id": n }).to_string();
        if client.socket.send(Message::text(text)).await.is_err() {
            break;
        }
        let ack = loop {
            match client.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).expect("JSON");
                    if message["event"] == "ack" && message["id"] == n {
                        break message;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return acknowledged,
            }
        };
        assert_eq!(ack["data"]["ok"], true, "{ack}");
        let seq = ack["data"]["seq"].as_i64().expect("a number");
        acknowledged.push((seq, format!("doomed{n}")));
    }
    acknowledged
}

#[tokio::test]
async fn a_node_is_killed_while_all_talk() {
    let Some(cluster) = TestCluster::create() else { return };
    let nodes: [Hub; 3] = cluster.nodes();
    know_each_other(&[&nodes[0], &nodes[1], &nodes[2]]).await;
    let talk = Talk::begin(&[&nodes[0], &nodes[1]]).await;
    let mut client = nodes[2].connect("c", "customer", &["o1"]).await;
    client.join("o1").await;
    let doomed = tokio::spawn(talk_until_the_end(client));
    tokio::time::sleep(Duration::from_secs(2)).await;
    nodes[2].signal("KILL");
    let acknowledged = doomed.await.expect("what was acknowledged");
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stored = stored(&nodes[0]).await;
    for message in &acknowledged {
        assert!(stored.contains(message), "{message:?}");
    }
    let latest = talk.end(&nodes[0]).await;
    assert!(latest < LATEST, "{latest:?}");
}
