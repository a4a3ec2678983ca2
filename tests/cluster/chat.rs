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

#[tokio::test]
async fn a_client_that_has_seen_more_on_another_node_gets_nothing_twice() {
    let Some(mut cluster) = TestCluster::create() else { return };
    let nodes: [Hub; 2] = cluster.nodes();
    let mut driver = nodes[0].connect("dan", "driver", &["o1"]).await;
    driver.join("o1").await;
    rooms::say(&mut driver, "o1", "m0").await;
    let mut support = nodes[1].connect("sue", "support", &["o1"]).await;
    assert_eq!(support.join("o1").await["lastSeq"], 1);
    // The room of the second node does not hear of what follows.
    cluster.redis.kill();
    for n in 1..5 {
        rooms::say(&mut driver, "o1", &format!("m{n}")).await;
    }
    let mut customer = nodes[1].connect("ann", "customer", &["o1"]).await;
    let snapshot = customer.request("order:join", json!({ "orderId": "o1", "sinceSeq": 4 })).await;
    assert_eq!((&snapshot["lastSeq"], &snapshot["recovered"]), (&json!(5), &json!(true)));
    assert_eq!(rooms::seqs(&snapshot["messages"]), [5]);
    assert_eq!(customer.drain("chat:message").await, [json!(null); 0]);
    rooms::say(&mut customer, "o1", "m5").await;
    assert_eq!(shown(&mut customer, 1).await, [(6, "m5".to_owned())]);
    assert_eq!(shown(&mut support, 5).await, dense(6)[1..]);
    cluster.redis.start_again();
}

#[tokio::test]
async fn messages_keep_their_order_when_another_node_changes_the_order_meanwhile() {
    let Some(cluster) = TestCluster::create() else { return };
    let nodes: [Hub; 2] = cluster.nodes();
    back_end::put(&nodes[0], "o1", json!({ "status": "S" })).await;
    let mut ann = nodes[1].connect("ann", "customer", &["o1"]).await;
    ann.join("o1").await;
    let mut expected = Vec::new();
    for round in 0..10 {
        let status = json!({ "status": format!("S{round}") });
        let change = back_end::put(&nodes[0], "o1", status);
        let talk = async {
            let mut asked = Vec::new();
            for n in 0..20 {
                let content = format!("m{}", 20 * round + n);
                let data = json!({ "orderId": "o1", "content": content });
                asked.push(ann.ask("chat:message", data).await);
            }
            for id in asked {
                let ack = ann.reply(id).await;
                assert_eq!(ack["ok"], true, "{ack}");
            }
        };
        tokio::join!(change, talk);
        expected = dense(20 * (round + 1));
    }
    assert_eq!(shown(&mut ann, expected.len()).await, expected);
}
