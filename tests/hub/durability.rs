//! What is acknowledged is there: after `kill -9`, after a drain, after everybody was away.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::support::rooms::seqs;
use super::support::{Client, Database, Hub, TIMEOUT, each_database, token, until};

/// Messages that a talker has under way at once.
const WINDOW: usize = 8;
/// How often the hub is killed, and how many acks there are in between.
const KILLS: usize = 3;
const ACKS_BETWEEN: usize = 150;
const ORDERS: [&str; 2] = ["o1", "o2"];

/// A message's id and seq.
type Ack = (String, i64);

/// A client that talks as fast as it is answered, and remembers what it was promised.
struct Talker {
    user: String,
    order: &'static str,
    next: usize,
    /// What the hub acknowledged, by `clientMsgId`.
    acked: BTreeMap<String, Ack>,
    /// What it did not, oldest first: sent again after a restart.
    unacked: Vec<String>,
}

impl Talker {
    fn new(number: usize) -> Self {
        Self {
            user: format!("u{number}"),
            order: ORDERS[number % ORDERS.len()],
            next: 0,
            acked: BTreeMap::new(),
            unacked: Vec::new(),
        }
    }

    /// Sends again what was not acknowledged, and the last that was; then new messages, until the
    /// hub is gone or, where `more` is false, all is acknowledged.
    async fn talk(mut self, hub: std::net::SocketAddr, acks: Arc<AtomicUsize>, more: bool) -> Self {
        let mut client = Client::connect(hub, &token(&self.user, "customer", &ORDERS)).await;
        let mut again: Vec<String> = self.acked.keys().next_back().cloned().into_iter().collect();
        again.append(&mut self.unacked);
        let mut waiting = HashMap::new();
        for key in again {
            self.say(&mut client, &key, &mut waiting).await;
        }
        loop {
            while more && waiting.len() < WINDOW {
                let key = format!("{}-{:05}", self.user, self.next);
                self.next += 1;
                self.say(&mut client, &key, &mut waiting).await;
            }
            if waiting.is_empty() {
                return self;
            }
            let Some(reply) = next(&mut client).await else { break };
            if reply["event"] == "ack" {
                let key = waiting.remove(&reply["id"].as_u64().expect("an id")).expect("asked");
                if reply["data"]["error"]["code"] == "unavailable" {
                    // No promise was made. What the killed process was writing may still hold its
                    // locks in PostgreSQL, and on a slow disk longer than the hub waits for one.
                    self.say(&mut client, &key, &mut waiting).await;
                    continue;
                }
                self.hear(key, &reply["data"]);
                acks.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.unacked = waiting.into_values().collect();
        self.unacked.sort();
        self
    }

    async fn say(&self, client: &mut Client, key: &str, waiting: &mut HashMap<u64, String>) {
        let id = waiting.keys().max().map_or(1, |last| last + 1);
        let said = json!({ "orderId": self.order, "content": content(key), "clientMsgId": key });
        let envelope = json!({ "event": "chat:message", "data": said, "id": id });
        waiting.insert(id, key.to_owned());
        // Where the hub is gone the next read says so, and the message is tried again later.
        client.socket.send(Message::text(envelope.to_string())).await.ok();
    }

    /// Notes a promise; one that was made before must be the same again.
    fn hear(&mut self, key: String, ack: &Value) {
        assert_eq!(ack["ok"], true, "{ack}");
        let id = ack["id"].as_str().expect("an id").to_owned();
        let promise = (id, ack["seq"].as_i64().expect("a seq"));
        if let Some(before) = self.acked.get(&key) {
            assert_eq!((before, &ack["duplicate"]), (&promise, &json!(true)), "{key}");
        }
        self.acked.insert(key, promise);
    }
}

fn content(key: &str) -> String {
    format!("this is {key}")
}

/// The next event; none where the hub is gone.
async fn next(client: &mut Client) -> Option<Value> {
    loop {
        match timeout(TIMEOUT, client.socket.next()).await.expect("an event or an end") {
            Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).ok(),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => return None,
        }
    }
}

/// Listens in a room, from after what it has heard, until the hub is gone; every message must be
/// the next one.
async fn listen(hub: std::net::SocketAddr, order: &str, mut heard: Vec<Value>) -> Vec<Value> {
    let mut client = Client::connect(hub, &token("listener", "customer", &ORDERS)).await;
    let join = json!({ "orderId": order, "sinceSeq": heard.len(), "limit": 200 });
    client.send("order:join", join).await;
    while let Some(mut event) = next(&mut client).await {
        let data = event["data"].take();
        let messages = match event["event"].as_str() {
            Some("order:joined") => {
                assert_eq!(data["recovered"], true, "{data}");
                data["messages"].as_array().expect("messages").clone()
            }
            Some("chat:message") => vec![data],
            Some("exception") => panic!("{data}"),
            _ => continue,
        };
        for message in messages {
            assert_eq!(message["seq"], heard.len() + 1, "the next one");
            heard.push(message);
        }
    }
    heard
}

/// All that an order's history holds.
async fn history(client: &mut Client, order: &str) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    loop {
        let after = found.last().map_or(0, |last| last["seq"].as_i64().expect("a seq"));
        let page = json!({ "orderId": order, "afterSeq": after, "limit": 200 });
        let page = client.request("chat:history", page).await;
        assert_eq!(page["ok"], true, "{page}");
        found.extend(page["messages"].as_array().expect("messages").iter().cloned());
        if page["hasMore"] == false {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_hub_loses_and_duplicates_no_acknowledged_message() {
    each_database(killed_under_load).await;
}

async fn killed_under_load(database: Database) {
    let unlimited = [("CHAT_PER_SECOND", 0), ("EVENTS_PER_SECOND", 0)];
    let hub = unlimited.iter().fold(database.hub(), |hub, (name, value)| hub.env(name, value));
    let mut hub = hub.start();
    let mut talkers: Vec<Talker> = (0..6).map(Talker::new).collect();
    let mut heard: Vec<Vec<Value>> = vec![Vec::new(); ORDERS.len()];
    for round in 0..=KILLS {
        let acks = Arc::new(AtomicUsize::new(0));
        let (addr, more) = (hub.addr, round < KILLS);
        let listeners: Vec<_> = ORDERS
            .iter()
            .zip(heard)
            .map(|(order, heard)| tokio::spawn(listen(addr, order, heard)))
            .collect();
        let talking: Vec<_> = talkers
            .into_iter()
            .map(|talker| tokio::spawn(talker.talk(addr, Arc::clone(&acks), more)))
            .collect();
        if more {
            until("acks", async || acks.load(Ordering::Relaxed) >= ACKS_BETWEEN).await;
            hub = hub.kill_and_restart();
        }
        talkers = joined(talking).await;
        if !more {
            hub = hub.kill_and_restart();
        }
        heard = joined(listeners).await;
    }
    let mut reader = hub.connect("reader", "customer", &ORDERS).await;
    for (order, heard) in ORDERS.iter().zip(&heard) {
        let stored = history(&mut reader, order).await;
        judge(order, &stored, &talkers);
        // What went out live is what is stored; the end may have been missed in the last kill.
        assert_eq!(heard[..], stored[..heard.len()]);
        assert_eq!(reader.join(order).await["lastSeq"], stored.len());
    }
}

async fn joined<T>(tasks: Vec<tokio::task::JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::new();
    for task in tasks {
        results.push(timeout(TIMEOUT * 2, task).await.expect("in time").expect("no panic"));
    }
    results
}

/// Every promise is kept, every message is there once, and the numbers have no gap.
fn judge(order: &str, stored: &[Value], talkers: &[Talker]) {
    let mut by_key = HashMap::new();
    for (place, message) in stored.iter().enumerate() {
        assert_eq!(message["seq"], place + 1, "dense");
        let key = message["clientMsgId"].as_str().expect("a key");
        assert_eq!(message["content"], content(key));
        assert!(by_key.insert(key, message).is_none(), "{key} is there twice");
    }
    let mut said = 0;
    for talker in talkers.iter().filter(|talker| talker.order == order) {
        assert_eq!((talker.unacked.len(), talker.acked.len()), (0, talker.next));
        for (key, (id, seq)) in &talker.acked {
            let message = by_key.get(key.as_str()).unwrap_or_else(|| panic!("{key} is lost"));
            assert_eq!((&message["id"], &message["seq"]), (&json!(id), &json!(seq)), "{key}");
        }
        said += talker.next;
    }
    assert_eq!(stored.len(), said, "nothing else is there");
    assert!(said > ACKS_BETWEEN, "{said}");
}

async fn locate(driver: &mut Client, lat: f64) {
    let taken =
        driver.request("driver:location", json!({ "orderId": "o1", "lat": lat, "lng": 2.0 }));
    assert_eq!(taken.await["accepted"], 1);
}

async fn last_lat(hub: &Hub) -> Value {
    let mut customer = hub.connect("customer", "customer", &["o1"]).await;
    let mut snapshot = customer.join("o1").await;
    customer.close().await;
    snapshot["lastLocation"]["lat"].take()
}

async fn no_rooms(hub: &Hub) {
    until("the room to be forgotten", async || {
        let (_, stats) = hub.admin(reqwest::Method::GET, "/admin/v1/rooms").await;
        stats["rooms"].as_array().expect("rooms").is_empty()
    })
    .await;
}

#[tokio::test]
async fn the_last_position_survives_an_idle_room_and_a_drain() {
    each_database(async |database: Database| {
        let hub = database.hub().env("ROOM_IDLE_SECS", 0).env("PRESENCE_GRACE_SECS", 0).start();
        let mut driver = hub.connect("driver", "driver", &["o1"]).await;
        locate(&mut driver, 1.5).await;
        driver.close().await;
        no_rooms(&hub).await;
        assert_eq!(last_lat(&hub).await, 1.5, "after an idle room");
        no_rooms(&hub).await;
        let hub = hub.kill_and_restart();
        assert_eq!(last_lat(&hub).await, 1.5, "in the database");

        let mut hub = hub;
        let mut driver = hub.connect("driver", "driver", &["o1"]).await;
        driver.join("o1").await;
        locate(&mut driver, 2.5).await;
        hub.signal("TERM");
        assert_eq!(driver.closed().await.code, 1012);
        drop(driver);
        assert!(hub.ended().await.success());
        assert_eq!(last_lat(&hub.start_again()).await, 2.5, "after a drain");
    })
    .await;
}

async fn say(client: &mut Client, numbers: std::ops::RangeInclusive<i64>) {
    for number in numbers {
        let said = json!({ "orderId": "o1", "content": number.to_string() });
        assert_eq!(client.request("chat:message", said).await["seq"], number);
    }
}

#[tokio::test]
async fn members_come_back_with_what_they_missed() {
    each_database(async |database: Database| {
        let hub = database.hub().without_rates().start();
        let mut driver = hub.connect("driver", "driver", &["o1"]).await;
        let mut customer = hub.connect("customer", "customer", &["o1"]).await;
        customer.join("o1").await;
        say(&mut driver, 1..=3).await;
        assert_eq!(customer.drain("chat:message").await.len(), 3);
        let hub = hub.kill_and_restart();
        let mut driver = hub.connect("driver", "driver", &["o1"]).await;
        say(&mut driver, 4..=6).await;

        let mut customer = hub.connect("customer", "customer", &["o1"]).await;
        let back = json!({ "orderId": "o1", "sinceSeq": 3 });
        let snapshot = customer.request("order:join", back.clone()).await;
        assert_eq!((&snapshot["recovered"], &snapshot["lastSeq"]), (&json!(true), &json!(6)));
        assert_eq!(seqs(&snapshot["messages"]), [4, 5, 6]);
        say(&mut driver, 7..=7).await;
        assert_eq!(customer.expect("chat:message").await["seq"], 7, "and goes on from there");

        // After a longer absence the newest page comes, and says that there is more.
        say(&mut driver, 8..=70).await;
        let hub = hub.kill_and_restart();
        let mut customer = hub.connect("customer", "customer", &["o1"]).await;
        let snapshot = customer.request("order:join", back).await;
        assert_eq!((&snapshot["recovered"], &snapshot["lastSeq"]), (&json!(false), &json!(70)));
        assert_eq!(seqs(&snapshot["messages"]), (21..=70).collect::<Vec<_>>());
        let rest = json!({ "orderId": "o1", "beforeSeq": 21, "limit": 17 });
        let rest = customer.request("chat:history", rest).await;
        assert_eq!(seqs(&rest["messages"]), (4..=20).collect::<Vec<_>>());
    })
    .await;
}
