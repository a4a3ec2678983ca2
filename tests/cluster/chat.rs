//! Chat between members on different nodes.

use serde_json::json;

use super::room::{Room, shown};
use super::support::{Hub, back_end, rooms};
use super::test_cluster::TestCluster;

/// The numbers and contents of so many messages that are called m0, m1, ….
fn dense(count: usize) -> Vec<(i64, String)> {
    (1..).zip((0..count).map(|n| format!("m{n}"))).collect()
}

#[tokio::test]
async fn what_is_written_on_one_node_is_shown_on_all_in_one_order() {
    let Some(cluster) = TestCluster::create() else { return };
    let nodes: [Hub; 3] = cluster.nodes();
    let mut room = Room::enter(&nodes, "o1").await;
    for n in 0..30 {
        room.say(n % 3, "o1", &format!("m{n}")).await;
    }
    assert_eq!(room.shown(30).await, [dense(30), dense(30), dense(30)]);
}

#[tokio::test]
async fn a_back_ends_message_is_shown_on_all_nodes_and_a_retry_is_shown_once() {
    let Some(cluster) = TestCluster::create() else { return };
    let nodes: [Hub; 3] = cluster.nodes();
    back_end::put(&nodes[2], "o1", json!({ "status": "NEW" })).await;
    let mut driver = nodes[0].connect("dan", "driver", &["o1"]).await;
    driver.join("o1").await;
    let mut customer = nodes[1].connect("ann", "customer", &["o1"]).await;
    customer.join("o1").await;
    // The node that takes the message has no room.
    for n in ["m0", "m1", "m0"] {
        let body = json!({ "type": "SYSTEM", "content": n, "clientMsgId": n });
        let path = "/orders/o1/messages";
        let (status, answer) = back_end::call(&nodes[2], reqwest::Method::POST, path, body).await;
        assert_eq!(status, 201, "{answer}");
    }
    rooms::say(&mut driver, "o1", "m2").await;
    assert_eq!(shown(&mut driver, 3).await, dense(3));
    assert_eq!(shown(&mut customer, 3).await, dense(3));
}

#[tokio::test]
async fn a_message_is_judged_by_what_another_node_has_changed() {
    let Some(cluster) = TestCluster::create() else { return };
    let nodes: [Hub; 2] = cluster.nodes();
    let people = json!([{ "userId": "ann", "role": "customer" }]);
    back_end::put(&nodes[0], "o1", json!({ "participants": people })).await;
    let mut ann = nodes[1].connect("ann", "customer", &[]).await;
    ann.join("o1").await;
    // Redis passes nothing on, so the room of the second node does not hear of it in time.
    cluster.redis.freeze();
    let path = "/orders/o1/participants/ann";
    let (status, answer) =
        back_end::call(&nodes[0], reqwest::Method::DELETE, path, json!(null)).await;
    assert!(status < 300, "{answer}");
    let refused = ann.request("chat:message", json!({ "orderId": "o1", "content": "x" })).await;
    assert_eq!(refused["ok"], false, "{refused}");
    assert_eq!(ann.expect("order:left").await["reason"], "removed");
    let (_, page) =
        back_end::call(&nodes[0], reqwest::Method::GET, "/orders/o1/messages", json!(null)).await;
    assert_eq!(page["messages"], json!([]));
    cluster.redis.thaw();
}
