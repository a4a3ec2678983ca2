//! One room on several nodes: positions, members, typing, receipts, the order's status.

use std::time::Duration;

use serde_json::json;

use super::room::{Room, members};
use super::support::rooms::fix;
use super::support::{Hub, back_end, rooms, until};
use super::test_cluster::TestCluster;

#[tokio::test]
async fn positions_of_the_driver_are_shown_on_all_nodes_and_in_the_snapshot_of_another_one() {
    let Some(cluster) = TestCluster::create() else { return };
    let nodes: [Hub; 3] = cluster.nodes();
    back_end::put(&nodes[1], "o1", json!({ "status": "NEW" })).await;
    let mut driver = nodes[0].connect("dan", "driver", &["o1"]).await;
    driver.join("o1").await;
    let mut customer = nodes[1].connect("ann", "customer", &["o1"]).await;
    customer.join("o1").await;
    // For longer than it takes until the nodes know of each other's rooms.
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for n in 0..20 {
        ticks.tick().await;
        let lng = 13.0 + f64::from(n) / 100.0;
        let accepted = driver.request("driver:location", fix("o1", lng)).await;
        assert_eq!(accepted["accepted"], 1, "{accepted}");
        let shown = customer.expect("location:updated").await;
        assert_eq!((&shown["lng"], &shown["driverId"]), (&json!(lng), &json!("dan")));
    }
    let mut support = nodes[2].connect("sue", "support", &[]).await;
    let snapshot = support.join("o1").await;
    assert_eq!(snapshot["lastLocation"]["lng"], json!(13.19), "{snapshot}");
    assert!(snapshot["lastLocation"]["ageMs"].as_u64().expect("an age") < 5000);
    assert_eq!(members(&snapshot), ["ann", "dan", "sue"]);
    // The node that has the room only shows it.
    let only_once = customer.drain("location:updated").await;
    assert_eq!(only_once.len(), 0, "{only_once:?}");
}

#[tokio::test]
async fn a_user_is_present_once_on_however_many_nodes() {
    let Some(cluster) = TestCluster::create() else { return };
    let nodes: [Hub; 2] = cluster.nodes();
    let mut ann = nodes[0].connect("ann", "customer", &["o1"]).await;
    ann.join("o1").await;
    let mut dan = nodes[1].connect("dan", "driver", &["o1"]).await;
    assert_eq!(members(&dan.join("o1").await), ["ann", "dan"]);
    assert_eq!(ann.expect("presence:joined").await["userId"], "dan");
    let mut second = nodes[0].connect("dan", "driver", &["o1"]).await;
    assert_eq!(members(&second.join("o1").await), ["ann", "dan"]);
    let left = dan.request("order:leave", json!({ "orderId": "o1" })).await;
    assert_eq!(left["ok"], true, "{left}");
    dan.join("o1").await;
    // What a node tells comes in its order.
    rooms::say(&mut dan, "o1", "here").await;
    ann.expect("chat:message").await;
    second.request("order:leave", json!({ "orderId": "o1" })).await;
    dan.request("order:leave", json!({ "orderId": "o1" })).await;
    assert_eq!(ann.expect("presence:left").await["userId"], "dan");
    let seen = ann.drain("presence:joined").await;
    assert_eq!(seen.len(), 0, "{seen:?}");
    assert_eq!(ann.drain("presence:left").await.len(), 0);
}

#[tokio::test]
async fn typing_and_receipts_go_to_the_other_nodes() {
    let Some(cluster) = TestCluster::create() else { return };
    let nodes: [Hub; 3] = cluster.nodes();
    let mut room = Room::enter(&nodes, "o1").await;
    room.driver.request("chat:typing", json!({ "orderId": "o1", "typing": true })).await;
    let expected = json!({ "orderId": "o1", "userId": "dan", "typing": true });
    assert_eq!(room.customer.expect("chat:typing").await, expected);
    assert_eq!(room.support.expect("chat:typing").await, expected);
    room.say(0, "o1", "hello").await;
    assert_eq!(room.customer.expect("chat:typing").await["typing"], false, "it is sent");
    room.customer.expect("chat:message").await;
    room.customer.request("chat:read", json!({ "orderId": "o1", "seq": 1 })).await;
    for client in [&mut room.driver, &mut room.support] {
        let read = client.expect("chat:read").await;
        assert_eq!((&read["userId"], &read["seq"]), (&json!("ann"), &json!(1)));
    }
    let mut late = nodes[2].connect("sam", "support", &[]).await;
    let snapshot = late.join("o1").await;
    let marks = json!([{ "userId": "ann", "seq": 1 }, { "userId": "dan", "seq": 1 }]);
    assert_eq!(snapshot["readMarks"], marks);
}

#[tokio::test]
async fn a_change_of_an_order_is_told_on_all_nodes_once() {
    let Some(cluster) = TestCluster::create() else { return };
    let nodes: [Hub; 3] = cluster.nodes();
    let people =
        json!([{ "userId": "ann", "role": "customer" }, { "userId": "bob", "role": "customer" }]);
    back_end::put(&nodes[0], "o1", json!({ "status": "NEW", "participants": people })).await;
    let mut ann = nodes[1].connect("ann", "customer", &[]).await;
    ann.join("o1").await;
    // Bob is in no room, and neither is the node that takes the change.
    let mut bob = nodes[2].connect("bob", "customer", &[]).await;
    bob.drain("none").await;
    for status in ["TAKEN", "DONE"] {
        back_end::put(&nodes[0], "o1", json!({ "status": status })).await;
        for client in [&mut ann, &mut bob] {
            assert_eq!(client.expect("order:status").await["status"], status);
        }
    }
    let path = "/orders/o1/participants/ann";
    back_end::call(&nodes[0], reqwest::Method::DELETE, path, json!(null)).await;
    assert_eq!(ann.expect("order:left").await["reason"], "removed");
    assert_eq!(bob.drain("order:status").await.len(), 0);
    assert_eq!(ann.drain("order:status").await.len(), 0);
}

#[tokio::test]
async fn a_node_that_ends_takes_its_users_along() {
    let Some(cluster) = TestCluster::create() else { return };
    let node = |name: &str| cluster.node(name).env("PRESENCE_GRACE_SECS", 1).start();
    let (first, mut second) = (node("node-0"), node("node-1"));
    let mut ann = first.connect("ann", "customer", &["o1"]).await;
    ann.join("o1").await;
    let mut dan = second.connect("dan", "driver", &["o1"]).await;
    dan.join("o1").await;
    rooms::say(&mut dan, "o1", "hello").await;
    assert_eq!(ann.expect("presence:joined").await["userId"], "dan");
    second.signal("TERM");
    assert!(second.ended().await.success());
    assert_eq!(ann.expect("presence:left").await["userId"], "dan");
    until("the messages", async || ann.expect("chat:message").await["seq"] == 1).await;
}

/// A position as another node publishes it for the order o1, judged by this revision.
fn forged(rev: i64, number: u8, lng: f64) -> Vec<u8> {
    let position = json!({ "orderId": "o1", "driverId": "dan", "lat": 45.0, "lng": lng });
    let json = json!({ "rev": rev, "ageMs": 0, "data": position }).to_string();
    let data = [b"\x02o1", json.as_bytes()].concat();
    let length = u32::try_from(data.len()).expect("it is short");
    let head = [&[1][..], &[9; 16], &[0, 0, 0, 0, 0, 0, 0, number], b"\x05other\x01"].concat();
    [head, length.to_be_bytes().to_vec(), data].concat()
}

#[tokio::test]
async fn a_position_judged_by_a_state_that_the_room_does_not_know_is_not_shown_by_the_known_one() {
    let Some(cluster) = TestCluster::create() else { return };
    let [hub]: [Hub; 1] = cluster.nodes();
    back_end::put(&hub, "o1", json!({ "status": "NEW", "driverId": "dan" })).await;
    let mut ann = hub.connect("ann", "customer", &["o1"]).await;
    ann.join("o1").await;
    let channels: Vec<String> = cluster.redis.tell("PUBSUB CHANNELS *o:o1");
    let publish = |message: Vec<u8>| {
        let words: [&[u8]; 3] = [b"PUBLISH", channels[0].as_bytes(), &message];
        let _: i64 = cluster.redis.send(&words);
    };
    for (rev, number, lng) in [(1, 1, 13.1), (99, 2, 13.2), (1, 3, 13.3)] {
        publish(forged(rev, number, lng));
    }
    assert_eq!(ann.expect("location:updated").await["lng"], 13.1);
    assert_eq!(ann.expect("location:updated").await["lng"], 13.3);
}
