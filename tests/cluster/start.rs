//! Which hubs may start together.

use diesel::RunQueryDsl as _;

use super::support::rooms::say;
use super::support::{Hub, StartingHub, until};
use super::test_cluster::TestCluster;

/// Waits until it has ended with an error, and gives what it said.
async fn refused(mut hub: StartingHub) -> String {
    assert_eq!(hub.ended().await.code(), Some(1), "{}", hub.log());
    hub.log()
}

#[tokio::test]
async fn two_nodes_run_on_one_database_and_one_redis() {
    let Some(cluster) = TestCluster::create() else { return };
    let [first, second] = cluster.nodes();
    for hub in [&first, &second] {
        assert_eq!(hub.status("/readyz").await, 200);
        let metrics = reqwest::get(hub.url("/metrics")).await.expect("an answer");
        assert!(metrics.text().await.expect("text").contains("orderhub_bus_up 1\n"));
        assert!(hub.log().contains("is a node of a cluster"), "{}", hub.log());
    }
}

#[tokio::test]
async fn a_hub_without_redis_waits_for_the_nodes_and_they_for_it() {
    let Some(cluster) = TestCluster::create() else { return };
    let mut node = cluster.node("node-0").start();
    let alone = cluster.database.hub().launch();
    until("the second hub to wait", async || alone.log().contains("another hub uses")).await;
    node.signal("TERM");
    assert!(node.ended().await.success());
    let mut alone = alone.listening();
    let node = cluster.node("node-0").launch();
    until("the node to wait", async || node.log().contains("another hub uses")).await;
    alone.signal("TERM");
    assert!(alone.ended().await.success());
    assert_eq!(node.listening().status("/readyz").await, 200);
}

#[tokio::test]
async fn redis_with_a_file_is_refused_and_the_setting_named() {
    let hub = Hub::builder().env("REDIS_URL", "redis://127.0.0.1:1").launch();
    let log = refused(hub).await;
    assert!(log.contains("REDIS_URL: hubs share a PostgreSQL"), "{log}");
}

#[tokio::test]
async fn a_redis_that_does_not_answer_is_refused_and_the_setting_named() {
    let Some(cluster) = TestCluster::create() else { return };
    let log = refused(cluster.node("n").env("REDIS_URL", "redis://127.0.0.1:1").launch()).await;
    assert!(log.contains("REDIS_URL: "), "{log}");
}

#[tokio::test]
async fn a_node_with_another_prefix_waits_until_the_others_have_ended() {
    let Some(cluster) = TestCluster::create() else { return };
    let mut first = cluster.node("node-0").start();
    let other = cluster.node("node-1").env("REDIS_PREFIX", "staging").launch();
    let said = "the node node-0 has REDIS_PREFIX=orderhub; waiting for its end";
    until("the other node to wait", async || other.log().contains(said)).await;
    first.signal("TERM");
    assert!(first.ended().await.success());
    assert_eq!(other.listening().status("/readyz").await, 200);
}

#[tokio::test]
async fn a_node_with_another_prefix_gives_up_and_names_the_setting() {
    let Some(cluster) = TestCluster::create() else { return };
    let _first = cluster.node("node-0").start();
    let other = cluster.node("node-1").env("REDIS_PREFIX", "staging").env("DRAIN_SECS", 1);
    let log = refused(other.launch()).await;
    assert!(log.contains("REDIS_PREFIX: the node node-0 of this database has orderhub"), "{log}");
}

#[tokio::test]
async fn a_hub_without_redis_does_not_take_the_database_of_nodes_that_have_lost_the_lock() {
    let Some(cluster) = TestCluster::create() else { return };
    let node = cluster.node("node-0").start();
    let alone = cluster.database.hub().launch();
    until("the other hub to wait", async || alone.log().contains("another hub uses")).await;
    // As after a failover: the session that has the lock is gone.
    let end = format!(
        "SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a JOIN pg_locks l \
         ON l.pid = a.pid WHERE a.application_name LIKE 'orderhub {}@%' AND l.classid = 1869768821",
        node.pid()
    );
    let mut connection = cluster.database.connection(&node);
    let said = "another hub uses the database (the nodes of a cluster)";
    until("the other hub to see the nodes", async || {
        diesel::sql_query(&end).execute(&mut connection).expect("ended");
        alone.log().contains(said)
    })
    .await;
    let mut ann = node.connect("ann", "customer", &["o1"]).await;
    ann.join("o1").await;
    say(&mut ann, "o1", "still here").await;
    assert_eq!(node.status("/readyz").await, 200);
}
