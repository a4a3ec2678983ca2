//! What an admin or a back end decides about a user holds on every node: before the call is answered
//! where all is well, and within two seconds where it is not.

use std::time::{Duration, Instant};

use diesel::RunQueryDsl as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::back_end::call;
use super::support::raw::UpgradeRequest;
use super::support::{Hub, token, until};
use super::test_cluster::{TestCluster, know_each_other};

/// How late a decision may reach a node that reads the log by itself.
const AT_MOST: Duration = Duration::from_secs(2);

const SESSIONS: &str = "/admin/v1/users/eve/sessions";

async fn is_barred(hub: &Hub) -> bool {
    UpgradeRequest::bearer(&token("eve", "customer", &["o1"])).ask(hub).await.status == 403
}

#[tokio::test]
async fn a_ban_ends_sessions_on_every_node_before_the_call_is_answered() {
    let Some(cluster) = TestCluster::create() else { return };
    let [first, second, third] = cluster.nodes();
    know_each_other(&[&first, &second, &third]).await;
    let mut here = first.connect("eve", "customer", &["o1"]).await;
    let mut there = second.connect("eve", "customer", &["o1"]).await;
    let mut bystander = third.connect("ann", "customer", &["o1"]).await;
    let (status, answer) = first.admin(Method::DELETE, SESSIONS).await;
    assert_eq!((status, answer), (200, json!({ "closed": 2 })));
    for hub in [&first, &second, &third] {
        assert!(is_barred(hub).await);
    }
    for client in [&mut here, &mut there] {
        assert_eq!(client.closed().await.code, 4403);
    }
    assert_eq!(bystander.join("o1").await["ok"], true);
    // A ban that has ended lifts it, everywhere.
    third.admin(Method::DELETE, &format!("{SESSIONS}?banSecs=0")).await;
    for hub in [&first, &second, &third] {
        assert!(!is_barred(hub).await);
    }
}

#[tokio::test]
async fn a_user_who_is_removed_from_a_room_leaves_it_on_every_node() {
    let Some(cluster) = TestCluster::create() else { return };
    let [first, second] = cluster.nodes();
    know_each_other(&[&first, &second]).await;
    let mut eve = second.connect("eve", "customer", &["o1"]).await;
    eve.join("o1").await;
    let path = "/admin/v1/rooms/o1/members/eve";
    assert_eq!(first.admin(Method::DELETE, path).await, (200, json!({ "removed": true })));
    assert_eq!(eve.expect("order:left").await["reason"], "removed");
    let again = eve.request("order:join", json!({ "orderId": "o1" })).await;
    assert_eq!(again["error"]["code"], "forbidden");
}

#[tokio::test]
async fn revoked_tokens_are_revoked_on_every_node_before_the_call_is_answered() {
    let Some(cluster) = TestCluster::create() else { return };
    let [first, second] = cluster.nodes();
    know_each_other(&[&first, &second]).await;
    let old = token("eve", "customer", &["o1"]);
    let mut eve = second.connect_with(&old).await;
    eve.expect("connected").await;
    let (status, answer) = call(&first, Method::POST, "/users/eve/revoke", json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(answer.get("pendingNodes"), None, "{answer}");
    assert_eq!(UpgradeRequest::bearer(&old).ask(&second).await.status, 401);
    assert_eq!(eve.closed().await.code, 4401);
}

#[tokio::test]
async fn a_node_that_stands_still_is_named_and_obeys_when_it_goes_on() {
    let Some(cluster) = TestCluster::create() else { return };
    let [first, second] = cluster.nodes();
    know_each_other(&[&first, &second]).await;
    let mut eve = second.connect("eve", "customer", &["o1"]).await;
    second.signal("STOP");
    let begun = Instant::now();
    let (status, answer) = first.admin(Method::DELETE, SESSIONS).await;
    second.signal("CONT");
    let goes_on = Instant::now();
    assert_eq!((status, answer), (200, json!({ "closed": 0, "pendingNodes": ["node-1"] })));
    assert!(begun.elapsed() < AT_MOST, "the caller waits for a second at most");
    assert_eq!(eve.closed().await.code, 4403);
    assert!(goes_on.elapsed() < AT_MOST, "{:?}", goes_on.elapsed());
    assert!(is_barred(&second).await);
}

#[tokio::test]
async fn without_redis_decisions_hold_everywhere_within_two_seconds() {
    let Some(mut cluster) = TestCluster::create() else { return };
    let [first, second] = cluster.nodes();
    know_each_other(&[&first, &second]).await;
    let mut eve = second.connect("eve", "customer", &["o1"]).await;
    cluster.redis.kill();
    for hub in [&first, &second] {
        until("the bus to be down", async || readiness(hub).await["status"] == "degraded").await;
        assert_eq!(readiness(hub).await["reasons"], json!(["bus"]));
    }
    let begun = Instant::now();
    let (status, answer) = first.admin(Method::DELETE, SESSIONS).await;
    assert_eq!((status, answer), (200, json!({ "closed": 0, "pendingNodes": ["node-1"] })));
    assert_eq!(eve.closed().await.code, 4403);
    assert!(begun.elapsed() < AT_MOST, "{:?}", begun.elapsed());
    cluster.redis.start_again();
    for hub in [&first, &second] {
        until("the bus to be up", async || readiness(hub).await["status"] == "ready").await;
    }
    let mut ann = second.connect("ann", "customer", &["o1"]).await;
    let (_, answer) = first.admin(Method::DELETE, "/admin/v1/users/ann/sessions").await;
    assert_eq!(answer, json!({ "closed": 1 }));
    assert_eq!(ann.closed().await.code, 4403);
}

async fn readiness(hub: &Hub) -> Value {
    let answer = reqwest::get(hub.url("/readyz")).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.json().await.expect("JSON")
}

#[tokio::test]
async fn of_decisions_at_the_same_time_the_same_one_counts_on_every_node() {
    let Some(cluster) = TestCluster::create() else { return };
    let [first, second] = cluster.nodes();
    know_each_other(&[&first, &second]).await;
    for _ in 0..10 {
        let lift = format!("{SESSIONS}?banSecs=0");
        let decisions = tokio::join!(
            first.admin(Method::DELETE, SESSIONS),
            second.admin(Method::DELETE, &lift),
            second.admin(Method::DELETE, SESSIONS),
            first.admin(Method::DELETE, &lift),
        );
        for (status, answer) in [decisions.0, decisions.1, decisions.2, decisions.3] {
            assert_eq!((status, answer), (200, json!({ "closed": 0 })));
        }
        assert_eq!(is_barred(&first).await, is_barred(&second).await);
    }
}

#[tokio::test]
async fn without_redis_too_the_later_decision_counts_on_every_node() {
    let Some(mut cluster) = TestCluster::create() else { return };
    let [first, second] = cluster.nodes();
    know_each_other(&[&first, &second]).await;
    cluster.redis.kill();
    for hub in [&first, &second] {
        until("the bus to be down", async || readiness(hub).await["status"] == "degraded").await;
    }
    let lift = format!("{SESSIONS}?banSecs=0");
    // Neither node has read what the other has decided just before.
    for (one, other, barred) in [(lift.as_str(), SESSIONS, true), (SESSIONS, &lift, false)] {
        first.admin(Method::DELETE, one).await;
        second.admin(Method::DELETE, other).await;
        let read = Instant::now() + AT_MOST;
        while Instant::now() < read {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(is_barred(&second).await, barred, "the node of the later decision");
        }
        assert_eq!(is_barred(&first).await, barred);
    }
}

#[tokio::test]
async fn a_node_that_only_the_database_knows_is_named() {
    let Some(cluster) = TestCluster::create() else { return };
    let [first] = cluster.nodes();
    // As one that has just started and was not heard yet.
    let row = "INSERT INTO nodes (boot_id, name, prefix, version, started_at, beat_at) VALUES \
               ('01a232a1158f750aa943a9c8b7a4d392', 'new', 'orderhub', '1', now(), now() - interval '6 seconds')";
    diesel::sql_query(row).execute(&mut cluster.database.connection(&first)).expect("written");
    let (status, answer) = first.admin(Method::DELETE, SESSIONS).await;
    assert_eq!((status, answer), (200, json!({ "closed": 0, "pendingNodes": ["new"] })));
}
