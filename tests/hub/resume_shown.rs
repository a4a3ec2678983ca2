//! What a client may not have got beside chat comes again when it is back: the snapshot of a join,
//! and how the order is. What it has got for sure does not.

use serde_json::{Value, json};

use super::support::back_end::put;
use super::support::resume::{ann, at, cut};
use super::support::rooms::{say, seqs};
use super::support::socketio::{RecoveryState, SocketIoClient, place};
use super::support::{Client, Database, Hub, each_database};

const ORDERS: [&str; 2] = ["o1", "o2"];

/// Somebody who talks in both rooms without being in them, and has said three things in the first.
async fn talker(hub: &Hub) -> Client {
    let mut talker = hub.connect("dan", "driver", &ORDERS).await;
    for number in 1..=3 {
        say(&mut talker, "o1", &number.to_string()).await;
    }
    talker
}

/// Back, and recovered.
async fn back(hub: &Hub, before: &RecoveryState) -> SocketIoClient {
    let client = SocketIoClient::again(hub, &ann(), before).await;
    assert!(client.memory().recovered);
    assert_eq!((&client.memory().sid, &client.memory().pid), (&before.sid, &before.pid));
    client
}

/// Whatever comes to it but chat until it hears the next thing that is said in `o1`: the events and
/// what they say, in order.
async fn news(talker: &mut Client, client: &mut SocketIoClient) -> Vec<(String, Value)> {
    news_of(&["o1"], talker, client).await
}

/// The same until it hears the next thing in each of these rooms: they do not wait for each other.
async fn news_of(
    orders: &[&str],
    talker: &mut Client,
    client: &mut SocketIoClient,
) -> Vec<(String, Value)> {
    let mut marks = Vec::new();
    for order in orders {
        let said = say(talker, order, "mark").await;
        marks.push(at(order, said["seq"].as_i64().expect("a seq")));
    }
    let mut news = Vec::new();
    while !marks.is_empty() {
        let packet = client.next().await;
        let name = packet.payload[0].as_str().unwrap_or_default().to_owned();
        match name.as_str() {
            "chat:message" => marks.retain(|mark| *mark != place(packet.data())),
            "" => {}
            _ => news.push((name, packet.data().clone())),
        }
    }
    news
}

#[tokio::test]
async fn a_lost_snapshot_is_sent_again_and_newer_chat_follows_live() {
    each_database(async |database: Database| {
        let hub = database.hub().without_rates().start();
        let mut talker = talker(&hub).await;
        let mut client = SocketIoClient::login(&hub, "ann", "customer", &ORDERS).await;
        client.send("order:join", json!({ "orderId": "o1" })).await;
        client.drain("order:joined").await;
        // On the way to the client when the connection broke: neither is seen.
        say(&mut talker, "o1", "4").await;
        client.drain("nothing").await;
        let before = RecoveryState { offset: None, ..client.memory().clone() };
        cut(&hub, client).await;
        say(&mut talker, "o1", "5").await;
        for _ in 0..3 {
            let mut client = back(&hub, &before).await;
            let joined = client.next().await;
            assert!(joined.is_event("order:joined"), "{joined:?}");
            let (messages, last) = (&joined.data()["messages"], &joined.data()["lastSeq"]);
            assert_eq!((seqs(messages), last), (vec![1, 2, 3], &json!(3)));
            assert_eq!(client.hear(2).await, [at("o1", 4), at("o1", 5)]);
            assert_eq!(client.drain("order:joined").await, [] as [Value; 0]);
            cut(&hub, client).await;
        }
        // Once it says that it has heard what came behind, it is not shown the room again.
        let offset = Some("o1:4".to_owned());
        let mut client = back(&hub, &RecoveryState { offset, ..before.clone() }).await;
        assert_eq!(client.hear(1).await, [at("o1", 5)]);
        assert_eq!(news(&mut talker, &mut client).await, []);
    })
    .await;
}

#[tokio::test]
async fn only_an_unconfirmed_snapshot_is_sent_again_with_its_original_since_seq_and_limit() {
    let hub = Hub::without_rates();
    let mut talker = talker(&hub).await;
    let mut client = SocketIoClient::login(&hub, "ann", "customer", &ORDERS).await;
    client.join("o2").await;
    say(&mut talker, "o2", "heard").await;
    assert_eq!(client.hear(1).await, [at("o2", 1)]);
    client.request("order:join", json!({ "orderId": "o1", "sinceSeq": 1 })).await;
    let before = cut(&hub, client).await;
    say(&mut talker, "o1", "4").await;
    say(&mut talker, "o2", "2").await;
    let mut client = back(&hub, &before).await;
    let mut heard = client.hear(2).await;
    heard.sort();
    assert_eq!(heard, [at("o1", 4), at("o2", 2)]);
    let joined = client.expect("order:joined").await;
    assert_eq!(joined["orderId"], "o1");
    assert_eq!((seqs(&joined["messages"]), &joined["recovered"]), (vec![2, 3], &json!(true)));
    assert_eq!(news(&mut talker, &mut client).await, []);
}

#[tokio::test]
async fn a_pong_confirms_everything_sent_before_its_ping() {
    let hub = Hub::builder()
        .without_rates()
        .env("PING_INTERVAL_MS", 1000)
        .env("PONG_TIMEOUT_MS", 1000)
        .start();
    put(&hub, "o1", json!({ "status": "NEW" })).await;
    let mut client = SocketIoClient::login(&hub, "ann", "customer", &ORDERS).await;
    client.join("o1").await;
    put(&hub, "o1", json!({ "status": "PICKED_UP" })).await;
    let answered = client.answered;
    while client.answered < answered + 2 {
        client.drain("nothing").await;
    }
    client.drain("order:status").await;
    let before = cut(&hub, client).await;
    let mut talker = talker(&hub).await;
    let mut client = back(&hub, &before).await;
    assert_eq!(news(&mut talker, &mut client).await, []);
}

/// What one hears who was away while the order changed.
fn changed() -> Vec<(String, Value)> {
    let of = |name: &str, data: Value| (name.to_owned(), data);
    vec![
        of("order:unassigned", json!({ "orderId": "o1", "driverId": "dan" })),
        of("order:status", json!({ "orderId": "o1", "status": "C", "previousStatus": "A" })),
        of("order:assigned", json!({ "orderId": "o1", "driverId": "eve", "driverName": "Eve" })),
    ]
}

/// The same without what it has of a time.
fn without_time(news: Vec<(String, Value)>) -> Vec<(String, Value)> {
    let strip = |(name, mut data): (String, Value)| {
        let fields = data.as_object_mut().expect("an object");
        assert!(fields.remove("at").is_some_and(|at| at.is_string()), "{name} {fields:?}");
        fields.retain(|_, value| !value.is_null());
        (name, data)
    };
    news.into_iter().map(strip).collect()
}

/// Ann, who knows that `o1` is in status A and dan's.
async fn knows_of_a(hub: &Hub) -> (SocketIoClient, Client) {
    put(hub, "o1", json!({ "status": "A", "driverId": "dan" })).await;
    let mut talker = talker(hub).await;
    let mut client = SocketIoClient::login(hub, "ann", "customer", &ORDERS).await;
    client.join("o1").await;
    say(&mut talker, "o1", "4").await;
    assert_eq!(client.hear(1).await, [at("o1", 4)]);
    (client, talker)
}

async fn change(hub: &Hub) {
    put(hub, "o1", json!({ "status": "B" })).await;
    put(hub, "o1", json!({ "status": "C", "driverId": "eve", "driverName": "Eve" })).await;
}

#[tokio::test]
async fn changes_of_the_order_are_sent_once_after_a_resume() {
    let hub = Hub::without_rates();
    let (client, mut talker) = knows_of_a(&hub).await;
    let before = cut(&hub, client).await;
    change(&hub).await;
    // As long as it does not say that it has heard it,
    let mut memory = before.clone();
    for _ in 0..3 {
        let mut client = back(&hub, &before).await;
        assert_eq!(without_time(news(&mut talker, &mut client).await), changed());
        memory = cut(&hub, client).await;
    }
    // and then no more. A change that is none any more is no news.
    put(&hub, "o1", json!({ "status": "D" })).await;
    put(&hub, "o1", json!({ "status": "C" })).await;
    let mut client = back(&hub, &memory).await;
    assert_eq!(news(&mut talker, &mut client).await, []);
}

#[tokio::test]
async fn order_events_sent_into_a_dead_connection_are_sent_again() {
    let hub = Hub::without_rates();
    let (mut client, mut talker) = knows_of_a(&hub).await;
    change(&hub).await;
    client.drain("nothing").await;
    let before = client.memory().clone();
    // Taken over, as by a phone that has changed networks.
    let mut newer = back(&hub, &before).await;
    assert_eq!(without_time(news(&mut talker, &mut newer).await), changed());
}

#[tokio::test]
async fn order_changes_during_a_deploy_are_sent_by_the_next_process() {
    each_database(async |database: Database| {
        let mut hub = database.hub().without_rates().start();
        let (mut client, talker) = knows_of_a(&hub).await;
        client.join("o2").await;
        drop(talker);
        hub.signal("TERM");
        client.ending().await;
        let before = client.cut();
        assert_eq!(hub.ended().await.code(), Some(0));
        let hub = hub.start_again();
        change(&hub).await;
        let mut talker = hub.connect("dan", "driver", &ORDERS).await;
        let mut client = back(&hub, &before).await;
        let (joined, news): (Vec<_>, Vec<_>) = news_of(&ORDERS, &mut talker, &mut client)
            .await
            .into_iter()
            .partition(|(name, _)| name == "order:joined");
        assert_eq!(joined.len(), 1, "{joined:?}");
        assert_eq!(joined[0].1["orderId"], "o2");
        assert_eq!(without_time(news), changed());
    })
    .await;
}
