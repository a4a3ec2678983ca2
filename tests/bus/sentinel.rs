//! A master that Sentinels replace.

use std::time::Instant;

use orderhub::bus::State;

use crate::redis_server::{RedisServer, TIMEOUT};
use crate::support::{TestNode, exchange, order};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_new_master_is_used_after_a_failover() {
    let Some(mut master) = RedisServer::start(&["--repl-diskless-sync-delay", "0"]) else { return };
    let port = master.port.to_string();
    let Some(replica) = RedisServer::start(&["--replicaof", "127.0.0.1", &port]) else { return };
    let Some(sentinel) = RedisServer::sentinel(master.port) else { return };
    // Only a replica that has its master's data becomes the master.
    let deadline = Instant::now() + TIMEOUT;
    while !replica.tell::<String>("INFO replication").contains("master_link_status:up")
        || !sentinel.tell::<String>("INFO sentinel").contains("slaves=1")
    {
        assert!(Instant::now() < deadline, "there is no replica to take over");
        tokio::task::yield_now().await;
    }
    for server in [&master, &replica] {
        let rights = "+hello +publish +subscribe +unsubscribe +role &orderhub:*";
        let _: String = server.tell(&format!("ACL SETUSER hub on >secret {rights}"));
    }
    let url = format!("redis+sentinel://hub:secret@127.0.0.1:{}/mymaster", sentinel.port);
    let (one, two) = (TestNode::start(&url).await, TestNode::start(&url).await);
    let _there = one.subscribe(&order("o1")).await;
    let _back = two.subscribe(&order("o1")).await;
    exchange(&one, &two, &order("o1"), "before").await;
    master.kill();
    one.state_after(1, State::Down).await;
    two.state_after(1, State::Down).await;
    one.state_after(2, State::Up).await;
    two.state_after(2, State::Up).await;
    exchange(&one, &two, &order("o1"), "after").await;
    let channels: Vec<String> = replica.tell("PUBSUB CHANNELS *:o:o1");
    assert_eq!(channels.len(), 1, "it is the master now");
}
