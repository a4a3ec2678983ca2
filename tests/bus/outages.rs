//! A server that dies, stands still, cuts connections or becomes a replica: noticed, told, healed.

use std::time::{Duration, Instant};

use orderhub::bus::{Bus as _, State, Topic, Unconfirmed};

use crate::redis_server::RedisServer;
use crate::support::{TestNode, exchange, order};

/// Two nodes that subscribe to the same topics.
async fn pair(server: &RedisServer) -> (TestNode, TestNode) {
    let (one, two) = (TestNode::start(&server.url()).await, TestNode::start(&server.url()).await);
    for node in [&one, &two] {
        for topic in [order("o1"), Topic::All] {
            // They last as long as the test.
            std::mem::forget(node.subscribe(&topic).await);
        }
    }
    exchange(&one, &two, &order("o1"), "before").await;
    (one, two)
}

/// Waits until both nodes are up again, and shows that they hear each other.
async fn healed(one: &TestNode, two: &TestNode, told: (usize, usize)) {
    one.state_after(told.0, State::Up).await;
    two.state_after(told.1, State::Up).await;
    for topic in [order("o1"), Topic::All] {
        exchange(one, two, &topic, "after").await;
    }
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_empty_is_used_again() {
    let Some(mut server) = RedisServer::start(&[]) else { return };
    let (one, two) = pair(&server).await;
    server.kill();
    one.state_after(1, State::Down).await;
    two.state_after(1, State::Down).await;
    one.bus.take_dropped();
    one.publish(&order("o1"), "lost");
    one.publish(&order("o2"), "lost");
    let dropped = one.bus.take_dropped();
    assert_eq!((dropped.topics, dropped.more), ([order("o1"), order("o2")].into(), false));
    assert_eq!(one.bus.take_dropped().topics.len(), 0, "named once");
    let (subscription, confirmation) = two.bus.subscribe(order("o2"), 0);
    assert_eq!(confirmation.await, Err(Unconfirmed));
    assert_eq!(one.count("orderhub_bus_up"), 0);

    let told = (one.states_told(), two.states_told());
    server.start_again();
    let back = Instant::now();
    let up = one.state_after(told.0, State::Up).await;
    assert!(up.duration_since(back) < Duration::from_secs(2), "{:?}", up.duration_since(back));
    healed(&one, &two, told).await;
    assert_eq!(one.count("orderhub_bus_up"), 1);
    one.publish(&order("o2"), "on the topic of meanwhile");
    two.events_until("on the topic of meanwhile").await;
    drop(subscription);
}

#[tokio::test]
async fn a_server_that_stands_still_is_noticed_within_two_seconds() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (one, two) = pair(&server).await;
    server.freeze();
    let frozen = Instant::now();
    for node in [&one, &two] {
        let noticed = node.state_after(1, State::Deaf).await.duration_since(frozen);
        assert!(noticed < Duration::from_secs(2), "{noticed:?}");
        assert_eq!(node.failures("deaf"), 1);
    }
    one.publish(&order("o1"), "lost");
    assert!(one.bus.take_dropped().topics.contains(&order("o1")));
    one.state_after(2, State::Down).await;
    let told = (one.states_told(), two.states_told());
    server.thaw();
    healed(&one, &two, told).await;
}

#[tokio::test]
async fn cut_connections_are_opened_again() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (one, two) = pair(&server).await;
    for kind in ["pubsub", "normal"] {
        let told = (one.states_told(), two.states_told());
        let _: u64 = server.tell(&format!("CLIENT KILL TYPE {kind}"));
        one.fails_after(told.0).await;
        two.fails_after(told.1).await;
        healed(&one, &two, told).await;
    }
    assert!(one.failures("lost") >= 2);
}

#[tokio::test]
async fn a_node_whose_output_buffer_overran_is_not_deaf_for_long() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (one, two) = pair(&server).await;
    let told = (one.states_told(), two.states_told());
    let limit = b"pubsub 65536 0 0";
    let _: String = server.send(&[b"CONFIG", b"SET", b"client-output-buffer-limit", limit]);
    let channels: Vec<String> = server.tell("PUBSUB CHANNELS *:o:o1");
    let _: u64 = server.send(&[b"PUBLISH", channels[0].as_bytes(), &vec![7; 16 * 1024 * 1024]]);
    one.fails_after(told.0).await;
    two.fails_after(told.1).await;
    healed(&one, &two, told).await;
}

#[tokio::test]
async fn a_user_whose_rights_are_taken_away_is_cut_off_until_it_has_them_again() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let _: String = server.tell("ACL SETUSER hub on >secret +@all allchannels");
    let node = TestNode::start(&server.url_of("hub:secret")).await;
    let _subscription = node.subscribe(&order("o1")).await;
    let _: String = server.tell("ACL SETUSER hub resetchannels");
    node.state_after(1, State::Down).await;
    node.reaches("orderhub_bus_failures_total{reason=\"refused\"}", 1).await;
    let told = node.states_told();
    let _: String = server.tell("ACL SETUSER hub allchannels");
    node.state_after(told, State::Up).await;
}

#[tokio::test]
async fn a_master_that_becomes_a_replica_is_not_used() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (one, two) = pair(&server).await;
    let _: String = server.tell("REPLICAOF 127.0.0.1 1");
    one.state_after(1, State::Down).await;
    two.state_after(1, State::Down).await;
    assert!(one.failures("replica") >= 1);
    let told = (one.states_told(), two.states_told());
    let _: String = server.tell("REPLICAOF NO ONE");
    healed(&one, &two, told).await;
}
