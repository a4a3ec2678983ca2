//! The outbox under `kill -9`: what was acknowledged is told, what was not stored is not, and each
//! order is told in its order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::Text;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use super::support::hooks::{endpoint_is, telling};
use super::support::receiver::{Reaction, Received, Receiver, WebhooksFile};
use super::support::{Database, Hub, each_database, token, until};

const KILLS: usize = 50;
/// How much is acknowledged between two kills.
const ACKS_BETWEEN: usize = 60;
/// Back ends that write at once, two in each order.
const WRITERS: usize = 8;

/// A back end that writes messages and changes the status of its order, one call after the other.
struct Writer {
    order: String,
    name: String,
    next: usize,
    /// The ids of messages that were acknowledged.
    messages: BTreeSet<String>,
    /// The statuses that were acknowledged.
    statuses: BTreeSet<String>,
}

impl Writer {
    fn new(number: usize) -> Self {
        let (order, name) = (format!("o{}", number / 2), format!("W{number}"));
        Self { order, name, next: 0, messages: BTreeSet::new(), statuses: BTreeSet::new() }
    }

    /// Writes until the hub is gone. What was not acknowledged is not written again.
    async fn write(mut self, hub: SocketAddr, acks: Arc<AtomicUsize>) -> Self {
        let client = Client::builder().timeout(Duration::from_secs(10)).build().expect("a client");
        let order = format!("http://{hub}/api/v1/orders/{}", self.order);
        loop {
            self.next += 1;
            let number = self.next;
            let (path, body) = if number.is_multiple_of(5) {
                let status = format!("{}_{number}", self.name);
                (format!("{order}/status"), json!({"status": status}))
            } else {
                let content = format!("{} {number}", self.name);
                (format!("{order}/messages"), json!({"senderId": self.name, "content": content}))
            };
            let Some(answer) = ask(client.post(path).json(&body)).await else { return self };
            match &body["status"] {
                Value::String(status) => self.statuses.insert(status.clone()),
                _ => self.messages.insert(answer["id"].as_str().expect("an id").to_owned()),
            };
            acks.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The answer, if the call was acknowledged.
async fn ask(request: RequestBuilder) -> Option<Value> {
    let answer = request.bearer_auth(token("shop", "service", &[])).send().await.ok()?;
    let is_done = answer.status().is_success();
    let body = answer.json().await.ok()?;
    is_done.then_some(body)
}

/// Lets all of them write until the hub is killed.
async fn write_until_killed(hub: &Hub, writers: Vec<Writer>) -> Vec<Writer> {
    let acks = Arc::<AtomicUsize>::default();
    let tasks = writers.into_iter().map(|one| tokio::spawn(one.write(hub.addr, Arc::clone(&acks))));
    let tasks: Vec<_> = tasks.collect();
    until("acks", async || acks.load(Ordering::Relaxed) >= ACKS_BETWEEN).await;
    hub.signal("KILL");
    let ended = futures_util::future::join_all(tasks).await;
    ended.into_iter().map(|one| one.expect("no panic")).collect()
}

/// The number by which what is told of an order is ordered: messages by their own, changes by theirs.
fn place(received: &Received) -> (bool, i64) {
    let number = |field: &str| received.data[field].as_i64().expect("a number");
    match received.kind.as_str() {
        "chat.message" => (true, number("seq")),
        _ => (false, number("rev")),
    }
}

fn check(received: &[Received], stored: &BTreeSet<String>, writers: &[Writer]) {
    let mut first: BTreeMap<&str, &Received> = BTreeMap::new();
    let mut last: BTreeMap<(&str, bool), i64> = BTreeMap::new();
    for one in received {
        assert!(one.is_signed);
        let known = first.entry(&one.id).or_insert(one);
        assert_eq!((&known.kind, &known.data), (&one.kind, &one.data), "told twice as it was");
        if std::ptr::eq(*known, one) {
            let order = one.data["orderId"].as_str().expect("an order");
            let (is_chat, number) = place(one);
            let before = last.insert((order, is_chat), number).unwrap_or(0);
            assert!(before < number, "{order}: {number} after {before}");
        }
    }
    let told = |kind: &str, field: &str| -> BTreeSet<String> {
        let of_kind = first.values().filter(|one| one.kind == kind);
        of_kind.map(|one| one.data[field].as_str().expect("a text").to_owned()).collect()
    };
    let (messages, statuses) = (told("chat.message", "id"), told("order.status", "status"));
    assert_eq!(&messages, stored, "what is told is what is stored");
    for writer in writers {
        assert!(writer.messages.is_subset(&messages), "{}: a message was not told", writer.name);
        assert!(writer.statuses.is_subset(&statuses), "{}: a status was not told", writer.name);
    }
}

/// The ids of all stored messages.
fn stored(database: &Database, hub: &Hub) -> BTreeSet<String> {
    let ids = diesel::dsl::sql::<Text>("SELECT id FROM messages");
    let ids: Vec<String> = ids.load(&mut database.connection(hub)).expect("read");
    ids.into_iter().collect()
}

#[tokio::test]
async fn webhooks_of_acknowledged_changes_are_sent_after_a_kill() {
    each_database(async |database: Database| {
        let receiver = Receiver::start();
        // Now and then an answer is lost, or it is an error.
        receiver.react(|one| match one.timestamp % 7 {
            0 => Reaction::Status(500),
            1 => Reaction::Close,
            _ => Reaction::Status(204),
        });
        let events = "chat.message\", \"order.*";
        let file = WebhooksFile::new(&receiver.entry("shop", events, "timeout_ms = 100"));
        let schedule = vec!["20ms"; 50].join(",");
        let builder = telling(database.hub(), &file).env("WEBHOOK_RETRY_SCHEDULE", schedule);
        let mut hub = builder.start();
        let mut writers: Vec<_> = (0..WRITERS).map(Writer::new).collect();
        for number in 0..WRITERS / 2 {
            let order = hub.url(&format!("/api/v1/orders/o{number}"));
            ask(Client::new().put(order).json(&json!({"status": "NEW"}))).await.expect("an order");
        }
        for _ in 0..KILLS {
            writers = write_until_killed(&hub, writers).await;
            hub = hub.start_again();
        }
        receiver.react(|_| Reaction::Status(204));
        endpoint_is(&hub, "shop", |shop| shop["waiting"] == 0).await;
        let acked: usize = writers.iter().map(|one| one.messages.len() + one.statuses.len()).sum();
        assert!(acked >= KILLS * ACKS_BETWEEN, "{acked}");
        check(&receiver.received(), &stored(&database, &hub), &writers);
    })
    .await;
}
