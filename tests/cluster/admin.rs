//! What an admin sees of a cluster, and events of back ends that reach users on any node.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::support::back_end::call;
use super::support::hooks::{put, say, telling};
use super::support::receiver::{Receiver, WebhooksFile};
use super::support::{Hub, until};
use super::test_cluster::{TestCluster, know_each_other, names};

async fn get(hub: &Hub, path: &str) -> Value {
    let (status, answer) = hub.admin(Method::GET, path).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test]
async fn every_node_lists_all_and_forgets_those_that_are_gone() {
    let Some(cluster) = TestCluster::create() else { return };
    let [first, mut second, third] = cluster.nodes();
    know_each_other(&[&first, &second, &third]).await;
    let _eve = second.connect("eve", "customer", &["o1"]).await;
    until("the session to be counted", async || {
        get(&first, "/admin/v1/nodes").await["nodes"][1]["connections"] == 1
    })
    .await;
    let nodes = get(&first, "/admin/v1/nodes").await;
    let own: Vec<bool> = nodes["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| {
            assert!(node["bootId"].as_str().is_some_and(|id| id.len() == 32), "{node}");
            assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
            assert!(node["heardMsAgo"].as_u64().expect("a number") < 5000);
            node["self"].as_bool().expect("a flag")
        })
        .collect();
    assert_eq!(own, [true, false, false]);
    // One that drains says so; one that is killed is missed after five seconds.
    second.signal("TERM");
    second.wait();
    until("the drained node to be gone", async || names(&first).await == ["node-0", "node-2"])
        .await;
    let killed = Instant::now();
    third.signal("KILL");
    until("the killed node to be gone", async || names(&first).await == ["node-0"]).await;
    assert!(killed.elapsed() > Duration::from_secs(3));
    until("it to be counted no more", async || {
        let metrics = reqwest::get(first.url("/metrics")).await.expect("an answer");
        metrics.text().await.expect("text").contains("orderhub_nodes 1\n")
    })
    .await;
}

#[tokio::test]
async fn a_hub_alone_lists_itself() {
    let hub = Hub::builder().env("NODE_NAME", "the-only").start();
    assert_eq!(names(&hub).await, ["the-only"]);
}

#[tokio::test]
async fn rooms_and_numbers_are_those_of_all_nodes() {
    let Some(cluster) = TestCluster::create() else { return };
    let [first, second] = cluster.nodes();
    know_each_other(&[&first, &second]).await;
    let mut ann = first.connect("ann", "customer", &["o1"]).await;
    let mut bob = second.connect("bob", "customer", &["o1", "o2", "o3"]).await;
    ann.join("o1").await;
    for order in ["o1", "o2", "o3"] {
        bob.join(order).await;
    }
    let rooms = |page: &Value| -> Vec<(String, u64)> {
        let rooms = page["rooms"].as_array().expect("rooms").iter();
        rooms
            .map(|room| {
                let order = room["orderId"].as_str().expect("an id").to_owned();
                (order, room["sessions"].as_u64().expect("a number"))
            })
            .collect()
    };
    for hub in [&first, &second] {
        let page = get(hub, "/admin/v1/rooms?limit=2").await;
        assert_eq!(rooms(&page), [("o1".into(), 2), ("o2".into(), 1)]);
        assert_eq!((&page["nextCursor"], page.get("partial")), (&json!("o2"), None));
        let page = get(hub, "/admin/v1/rooms?limit=2&cursor=o2").await;
        assert_eq!((rooms(&page), &page["nextCursor"]), (vec![("o3".into(), 1)], &Value::Null));
        let top = get(hub, "/admin/v1/rooms?limit=1&sort=sessions").await;
        assert_eq!(rooms(&top), [("o1".into(), 2)]);
        let room = get(hub, "/admin/v1/rooms/o1").await;
        assert_eq!(room["sessionsDetail"].as_array().map(Vec::len), Some(2), "{room}");
        assert_eq!(get(hub, "/admin/v1/rooms/o3").await["sessions"], 1);
        assert_eq!(hub.admin(Method::GET, "/admin/v1/rooms/none").await.0, 404);
        let stats = get(hub, "/admin/v1/stats").await;
        assert_eq!((&stats["connections"]["open"], &stats["rooms"]), (&json!(2), &json!(4)));
        assert_eq!(stats["connections"]["by"]["plain"]["customer"], 2, "{stats}");
    }
    second.signal("STOP");
    let stats = get(&first, "/admin/v1/stats").await;
    let page = get(&first, "/admin/v1/rooms").await;
    second.signal("CONT");
    assert_eq!((&stats["partial"], &stats["rooms"]), (&json!(["node-1"]), &json!(1)));
    assert_eq!((&page["partial"], rooms(&page)), (&json!(["node-1"]), vec![("o1".into(), 1)]));
}

#[tokio::test]
async fn an_event_of_a_back_end_reaches_rooms_and_users_on_every_node() {
    let Some(cluster) = TestCluster::create() else { return };
    let [first, second] = cluster.nodes();
    know_each_other(&[&first, &second]).await;
    let mut ann = first.connect("ann", "customer", &["o1"]).await;
    let mut bob = second.connect("bob", "customer", &["o1"]).await;
    ann.join("o1").await;
    bob.join("o1").await;
    let event = json!({ "event": "eta", "data": { "minutes": 4 } });
    let delivered = |count: u64| (200, json!({ "delivered": count }));
    let sent = call(&first, Method::POST, "/orders/o1/events", event.clone()).await;
    assert_eq!(sent, delivered(2));
    for client in [&mut ann, &mut bob] {
        assert_eq!(client.expect("eta").await, event["data"]);
    }
    let sent = call(&first, Method::POST, "/users/bob/events", event.clone()).await;
    assert_eq!(sent, delivered(1));
    assert_eq!(bob.expect("eta").await, event["data"]);
    let to_many = json!({ "userIds": ["ann", "bob", "eve"], "event": "eta", "data": {} });
    assert_eq!(call(&second, Method::POST, "/users:events", to_many).await, delivered(2));
    assert_eq!(call(&second, Method::POST, "/users/eve/events", event).await, delivered(0));
}

#[tokio::test]
async fn a_webhook_knows_who_is_online_on_any_node_and_names_its_own() {
    let Some(cluster) = TestCluster::create() else { return };
    let receiver = Receiver::start();
    let file = WebhooksFile::new(&receiver.entry("all", "chat.message\", \"hub.started", ""));
    let sender = telling(cluster.node("sender"), &file).start();
    let [other] = cluster.nodes();
    know_each_other(&[&sender, &other]).await;
    assert_eq!(receiver.expect("hub.started").await.data["node"], "sender");
    let part = |user| json!({ "userId": user, "role": "customer" });
    put(&sender, "o1", json!({ "participants": [part("bob"), part("eve")] })).await;
    let mut ann = sender.connect("ann", "driver", &["o1"]).await;
    ann.join("o1").await;
    let _bob = other.connect("bob", "customer", &["o1"]).await;
    say(&mut ann, "o1", "hello").await;
    let told = receiver.expect("chat.message").await;
    assert_eq!(told.data["offlineUserIds"], json!(["eve"]), "{}", told.data);
}
