//! A cluster of Redis: three masters that share the channels.

use std::time::Instant;

use orderhub::bus::{Bus as _, State, Topic, Unconfirmed};

use crate::redis_server::{RedisServer, TIMEOUT};
use crate::support::{TestNode, exchange, order};

/// Three masters of one cluster.
struct Cluster {
    servers: Vec<RedisServer>,
}

impl Cluster {
    fn start() -> Option<Self> {
        let options = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--cluster-require-full-coverage",
            "no",
        ];
        let servers: Option<Vec<_>> = (0..3).map(|_| RedisServer::start(&options)).collect();
        let cluster = Self { servers: servers? };
        for (server, slots) in cluster.servers.iter().zip(["0 5460", "5461 10922", "10923 16383"]) {
            let _: String = server.tell(&format!("CLUSTER ADDSLOTSRANGE {slots}"));
        }
        let first = &cluster.servers[0];
        for other in &cluster.servers[1..] {
            let (port, bus) = (other.port, other.cluster_port);
            let _: String = first.tell(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}"));
        }
        cluster.wait_until("the cluster is whole", |server| {
            let info: String = server.tell("CLUSTER INFO");
            info.contains("cluster_state:ok") && info.contains("cluster_size:3")
        });
        Some(cluster)
    }

    /// Waits until something is true of every server.
    fn wait_until(&self, what: &str, holds: impl Fn(&RedisServer) -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        while !self.servers.iter().all(&holds) {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            std::thread::yield_now();
        }
    }

    /// The channel of a topic that is subscribed, and the server that has it.
    fn channel(&self, end: &str) -> (String, usize) {
        let pattern = format!("PUBSUB SHARDCHANNELS *{end}");
        let mut found = Vec::new();
        for (place, server) in self.servers.iter().enumerate() {
            let channels: Vec<String> = server.tell(&pattern);
            found.extend(channels.into_iter().map(|channel| (channel, place)));
        }
        let [(channel, place)] = found.as_slice() else { panic!("{end}: {found:?}") };
        (channel.clone(), *place)
    }

    /// Gives a slot to another server, as a resharding does at its end.
    fn move_slot(&self, slot: u64, from: usize, to: usize) {
        let id = |place: usize| self.servers[place].tell::<String>("CLUSTER MYID");
        let (source, target) = (id(from), id(to));
        let set = |place: usize, rest: &str| {
            let _: String = self.servers[place].tell(&format!("CLUSTER SETSLOT {slot} {rest}"));
        };
        set(to, &format!("IMPORTING {source}"));
        set(from, &format!("MIGRATING {target}"));
        set(to, &format!("NODE {target}"));
        set(from, &format!("NODE {target}"));
    }
}

/// Two nodes that subscribe to twenty orders, which lie on all servers, and to what is for all.
async fn pair(cluster: &Cluster) -> (TestNode, TestNode, Vec<Topic>) {
    let url = cluster.servers[0].url();
    let (one, two) = (TestNode::start(&url).await, TestNode::start(&url).await);
    let orders = (0..20).map(|id| order(&format!("o{id}")));
    let topics: Vec<_> = orders.chain([Topic::All]).collect();
    for node in [&one, &two] {
        for topic in &topics {
            // They last as long as the test.
            std::mem::forget(node.subscribe(topic).await);
        }
    }
    (one, two, topics)
}

#[tokio::test]
async fn channels_are_spread_over_the_servers_and_every_one_carries_events() {
    let Some(cluster) = Cluster::start() else { return };
    let (one, two, topics) = pair(&cluster).await;
    for topic in &topics {
        exchange(&one, &two, topic, "spread").await;
    }
    for server in &cluster.servers {
        let orders: Vec<String> = server.tell("PUBSUB SHARDCHANNELS *:o:*");
        let echoes: Vec<String> = server.tell("PUBSUB SHARDCHANNELS *:echo:*");
        assert!((1..20).contains(&orders.len()), "{orders:?}");
        assert_eq!(echoes.len(), 2, "each node hears itself: {echoes:?}");
    }
    assert_eq!((one.states_told(), two.states_told()), (1, 1));
}

#[tokio::test]
async fn a_slot_that_moves_takes_its_subscriptions_along() {
    let Some(cluster) = Cluster::start() else { return };
    let (one, two, topics) = pair(&cluster).await;
    let (channel, from) = cluster.channel(":o:o7");
    let slot: u64 = cluster.servers[0].send(&[b"CLUSTER", b"KEYSLOT", channel.as_bytes()]);
    let to = (from + 1) % 3;
    cluster.move_slot(slot, from, to);
    one.state_after(1, State::Deaf).await;
    two.state_after(1, State::Deaf).await;
    one.state_after(2, State::Up).await;
    two.state_after(2, State::Up).await;
    for topic in &topics {
        exchange(&one, &two, topic, "moved").await;
    }
    assert_eq!(cluster.channel(":o:o7"), (channel, to));
}

#[tokio::test]
async fn a_master_that_is_down_takes_only_its_own_channels_along() {
    let Some(mut cluster) = Cluster::start() else { return };
    let (one, two, topics) = pair(&cluster).await;
    let is_there = |topic: &Topic| {
        let Topic::Order(id) = topic else { return false };
        let end = format!(":o:{id}");
        cluster.servers[2].tell::<Vec<String>>(&format!("PUBSUB SHARDCHANNELS *{end}")).len() == 1
    };
    let (there, elsewhere): (Vec<_>, Vec<_>) =
        topics.iter().filter(|topic| **topic != Topic::All).partition(|topic| is_there(topic));
    assert!(!there.is_empty() && !elsewhere.is_empty());
    cluster.servers[2].kill();
    one.state_after(1, State::Down).await;
    two.state_after(1, State::Down).await;
    exchange(&one, &two, elsewhere[0], "meanwhile").await;
    one.publish(there[0], "lost");
    assert!(one.bus.take_dropped().topics.contains(there[0]));
    assert_eq!(one.bus.subscribe(there[0].clone(), 0).1.await, Err(Unconfirmed));
    let told = (one.states_told(), two.states_told());
    cluster.servers[2].start_again();
    one.state_after(told.0, State::Up).await;
    two.state_after(told.1, State::Up).await;
    for topic in &topics {
        exchange(&one, &two, topic, "again").await;
    }
}

#[tokio::test]
async fn a_hanging_master_is_noticed_and_recovers() {
    let Some(cluster) = Cluster::start() else { return };
    let (one, two, topics) = pair(&cluster).await;
    cluster.servers[1].freeze();
    let frozen = Instant::now();
    let noticed = one.fails_after(1).await.duration_since(frozen);
    assert!(noticed.as_secs() < 2, "{noticed:?}");
    two.fails_after(1).await;
    let told = (one.states_told(), two.states_told());
    cluster.servers[1].thaw();
    one.state_after(told.0, State::Up).await;
    two.state_after(told.1, State::Up).await;
    for topic in &topics {
        exchange(&one, &two, topic, "again").await;
    }
}

#[tokio::test]
async fn a_user_needs_the_rights_of_a_cluster() {
    let Some(cluster) = Cluster::start() else { return };
    for server in &cluster.servers {
        let rights = "+hello +cluster|slots +spublish +ssubscribe +sunsubscribe &orderhub:*";
        let _: String = server.tell(&format!("ACL SETUSER hub reset on >secret {rights}"));
    }
    TestNode::start(&cluster.servers[0].url_of("hub:secret")).await;
}
