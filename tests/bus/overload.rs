//! More than can be published or taken: bounded, counted, named.

use orderhub::bus::{Bus as _, State};

use crate::redis_server::RedisServer;
use crate::support::{TestNode, exchange, order};

#[tokio::test]
async fn messages_without_a_place_are_named_and_the_rest_is_published() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (one, two) = (TestNode::start(&server.url()).await, TestNode::start(&server.url()).await);
    let _subscription = two.subscribe(&order("o1")).await;
    // A server that is silent for less than an echo may take takes nothing meanwhile.
    server.freeze();
    for number in 0..8192 {
        one.publish(&order("o1"), &number.to_string());
    }
    one.publish(&order("o2"), "too much");
    server.thaw();
    assert_eq!(one.bus.take_dropped().topics, [order("o2")].into());
    let events = two.events_until("8191").await;
    assert_eq!(events.len(), 8192);
    assert_eq!(one.count("orderhub_bus_dropped_total{kind=\"chat\"}"), 1);
}

#[tokio::test]
async fn a_node_that_does_not_read_is_deaf_until_it_reads_again() {
    const ROUND: u64 = 4096;
    let Some(server) = RedisServer::start(&[]) else { return };
    let (one, two) = (TestNode::start(&server.url()).await, TestNode::start(&server.url()).await);
    let _there = two.subscribe(&order("o1")).await;
    let _back = one.subscribe(&order("o1")).await;
    let publish = || (0..ROUND).for_each(|_| one.publish(&order("o1"), "x"));
    for round in 1..=4 {
        publish();
        // Batches that nothing looks at go on waiting: 16,384 may.
        two.reaches("orderhub_bus_received_total{kind=\"chat\"}", round * ROUND).await;
    }
    assert_eq!(two.states_told(), 1);
    one.publish(&order("o1"), "one too many");
    two.state_after(1, State::Deaf).await;
    assert_eq!(two.failures("overflow"), 1);
    assert_eq!(two.count("orderhub_bus_incoming_dropped_total{kind=\"chat\"}"), 1);
    two.drop_batches();
    two.state_after(2, State::Up).await;
    exchange(&one, &two, &order("o1"), "after").await;
    assert_eq!(one.states_told(), 1, "the others are not concerned");
}
