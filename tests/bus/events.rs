//! What is published comes, to whom it is for, in order; and nothing else has an effect.

use orderhub::bus::redis::RedisOptions;
use orderhub::bus::{Bus as _, Dropped, Event, Kind, PositionKey, State, Topic, Unconfirmed};
use protocol::ids::{OrderId, UserId};

use crate::redis_server::RedisServer;
use crate::support::{TestNode, exchange, options, order, try_start, user};

#[tokio::test]
async fn an_event_reaches_the_nodes_that_subscribe_to_its_topic_and_not_its_sender() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (one, two) = (TestNode::start(&server.url()).await, TestNode::start(&server.url()).await);
    let topics = [order("o1"), user("auth0|ann"), Topic::All, Topic::Node(two.node.boot)];
    let mut subscriptions = Vec::new();
    for topic in &topics {
        subscriptions.push(two.subscribe(topic).await);
        subscriptions.push(one.subscribe(topic).await);
    }
    one.publish(&order("o2"), "nobody wants this");
    for (number, topic) in topics.iter().enumerate() {
        one.publish(topic, &number.to_string());
        let received = two.events_until(&number.to_string()).await;
        let [event] = received.as_slice() else { panic!("{received:?}") };
        assert_eq!((&event.topic, &event.from), (topic, &one.node));
        assert_eq!((event.kind, event.number), (Kind::Chat, number as u64 + 2));
    }
    two.publish(&topics[0], "the other way");
    let received = one.events_until("the other way").await;
    assert_eq!(received.len(), 1, "its own events came back: {received:?}");
    // It counts when the server has answered, which may be after the others have received it.
    one.reaches("orderhub_bus_published_total{kind=\"chat\"}", 5).await;
    assert_eq!(two.count("orderhub_bus_received_total{kind=\"chat\"}"), 4);
    assert_eq!((one.bus.state(), one.bus.take_dropped()), (State::Up, Dropped::default()));
}

#[tokio::test]
async fn the_events_of_a_topic_keep_their_order_and_come_in_batches() {
    const EVENTS: usize = 5000;
    let Some(server) = RedisServer::start(&[]) else { return };
    let (one, two) = (TestNode::start(&server.url()).await, TestNode::start(&server.url()).await);
    let topics = [order("o1"), order("o2"), order("o3")];
    let mut subscriptions = Vec::new();
    for topic in &topics {
        subscriptions.push(two.subscribe(topic).await);
    }
    for number in 0..EVENTS {
        one.publish(&topics[number % 3], &number.to_string());
    }
    let (mut next, mut seen, mut batches) = ([0, 1, 2], 0, 0);
    while seen < EVENTS {
        let batch = two.batch(0).await;
        (seen, batches) = (seen + batch.len(), batches + 1);
        for event in batch {
            let place = topics.iter().position(|topic| *topic == event.topic).expect("a topic");
            assert_eq!(event.data, next[place].to_string().as_bytes());
            next[place] += 3;
        }
    }
    assert!(batches < EVENTS / 4, "{batches} batches");
}

#[tokio::test]
async fn a_worker_gets_the_topics_that_it_wants_as_long_as_it_wants_them() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (one, two) = (TestNode::start(&server.url()).await, TestNode::start(&server.url()).await);
    let ours = two.subscribe(&order("ours")).await;
    let (theirs, confirmation) = two.bus.subscribe(order("ours"), 3);
    assert_eq!(confirmation.await, Ok(()));
    let mark = two.subscribe(&order("mark")).await;
    one.publish(&order("ours"), "for both");
    assert_eq!(two.batch(3).await.len(), 1);
    two.events_until("for both").await;
    drop(ours);
    one.publish(&order("ours"), "for one");
    assert_eq!(two.batch(3).await[0].data, "for one");
    drop(theirs);
    // The end of the subscription is behind the one of another topic.
    let _later = two.subscribe(&order("later")).await;
    let channels: Vec<String> = server.tell("PUBSUB CHANNELS *:o:*");
    assert_eq!(channels.len(), 2, "{channels:?}");
    one.publish(&order("ours"), "for none");
    one.publish(&order("mark"), "mark");
    assert_eq!(two.events_until("mark").await.len(), 1);
    drop(mark);
}

#[tokio::test]
async fn a_topic_that_is_left_and_wanted_again_at_once_is_confirmed() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (one, two) = (TestNode::start(&server.url()).await, TestNode::start(&server.url()).await);
    for round in 0..200 {
        let first = two.subscribe(&order("o1")).await;
        let (second, _) = two.bus.subscribe(order("o2"), 0);
        drop((first, second));
        let _third = two.subscribe(&order("o1")).await;
        one.publish(&order("o1"), &round.to_string());
        two.events_until(&round.to_string()).await;
    }
}

#[tokio::test]
async fn many_subscriptions_at_once_are_all_confirmed() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let node = TestNode::start(&server.url()).await;
    let subscribed: Vec<_> =
        (0..3000).map(|id| node.bus.subscribe(order(&format!("o{id}")), 0)).collect();
    let mut kept = Vec::new();
    for (subscription, confirmation) in subscribed {
        assert_eq!(confirmation.await, Ok(()));
        kept.push(subscription);
    }
    assert_eq!(server.tell::<Vec<String>>("PUBSUB CHANNELS *:o:*").len(), 3000);
    drop(kept);
    let _mark = node.subscribe(&order("mark")).await;
    let deadline = std::time::Instant::now() + crate::support::TIMEOUT;
    while server.tell::<Vec<String>>("PUBSUB CHANNELS *:o:*").len() > 1 {
        assert!(std::time::Instant::now() < deadline, "subscriptions stay");
        tokio::task::yield_now().await;
    }
    assert_eq!(node.bus.state(), State::Up);
}

#[tokio::test]
async fn two_clusters_with_one_prefix_do_not_receive_each_others_messages() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let url = server.url();
    let staging = RedisOptions { cluster: "c2".to_owned(), ..options(&url) };
    let shop = RedisOptions { prefix: "shop".to_owned(), ..options(&url) };
    let (one, two) = (TestNode::start(&url).await, TestNode::start(&url).await);
    let strangers =
        [try_start(staging).await.expect("a node"), try_start(shop).await.expect("a node")];
    let mut subscriptions = Vec::new();
    for node in [&one, &two, &strangers[0], &strangers[1]] {
        for topic in [order("o1"), Topic::All] {
            subscriptions.push(node.subscribe(&topic).await);
        }
    }
    for stranger in &strangers {
        stranger.publish(&order("o1"), "of a stranger");
        stranger.publish(&Topic::All, "of a stranger");
    }
    for topic in [order("o1"), Topic::All] {
        one.publish(&topic, "ours");
        let events = two.events_until("ours").await;
        assert_eq!(events.len(), 1, "{events:?}");
    }
    assert_eq!(strangers[0].count("orderhub_bus_received_total{kind=\"chat\"}"), 0);
    assert_eq!(strangers[1].count("orderhub_bus_received_total{kind=\"chat\"}"), 0);
}

#[tokio::test]
async fn garbage_on_every_channel_is_counted_and_has_no_effect() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (one, two) = (TestNode::start(&server.url()).await, TestNode::start(&server.url()).await);
    let mut subscriptions = Vec::new();
    for topic in [order("o1"), user("ann"), Topic::All, Topic::Node(two.node.boot)] {
        subscriptions.push(two.subscribe(&topic).await);
    }
    let _back = one.subscribe(&order("o1")).await;
    let channels: Vec<String> = server.tell("PUBSUB CHANNELS *");
    assert_eq!(channels.len(), 6, "{channels:?}");
    let huge = vec![1; 1024 * 1024];
    let garbage: [&[u8]; 7] = [b"", b"\0", b"\x01", b"\x02", b"{\"a\":1}", &[0xff; 300], &huge];
    for channel in &channels {
        for message in garbage {
            let heard: u64 = server.send(&[b"PUBLISH", channel.as_bytes(), message]);
            assert_eq!(heard, if channel.contains(":o:") { 2 } else { 1 });
        }
    }
    exchange(&one, &two, &order("o1"), "after garbage").await;
    let ignored = |reason: &str| {
        let sample = format!("orderhub_bus_ignored_total{{reason=\"{reason}\"}}");
        one.count(&sample) + two.count(&sample)
    };
    assert_eq!((ignored("malformed"), ignored("unknown_version")), (7 * 6, 7));
    assert_eq!((one.states_told(), two.states_told()), (1, 1), "they were up all the time");
}

#[tokio::test]
async fn a_close_publishes_what_waits_and_drops_the_rest() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (one, two) = (TestNode::start(&server.url()).await, TestNode::start(&server.url()).await);
    let _subscription = two.subscribe(&order("o1")).await;
    for number in 0..2000 {
        one.publish(&order("o1"), &number.to_string());
    }
    one.bus.close();
    two.events_until("1999").await;
    one.publish(&order("o1"), "too late");
    let position = || {
        let (order, driver) = (OrderId::new("o2"), UserId::new("ann"));
        Event::position(PositionKey { order: order.expect("id"), driver: driver.expect("id") }, "")
    };
    one.bus.publish(&order("o2"), position());
    assert_eq!(one.bus.take_dropped().topics, [order("o1")].into(), "positions are not named");
    assert_eq!(one.count("orderhub_bus_dropped_total{kind=\"position\"}"), 1);
    assert_eq!(one.bus.subscribe(order("o1"), 0).1.await, Err(Unconfirmed));
    assert_eq!(one.bus.state(), State::Down);
}
