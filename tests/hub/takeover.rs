//! A client that is back before its old connection is known to be dead takes its session over.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::support::resume::{ann, at, joined, unnoticed, until_open};
use super::support::rooms::say;
use super::support::socketio::{EVENTS, ROOT, SocketIoClient, SocketIoEnding, place};
use super::support::{Client, Hub, Kind};

const ORDERS: [&str; 2] = ["o1", "o2"];
/// Messages of the talker, in turn to both rooms.
const MESSAGES: usize = 200;
/// How many of them the client may be behind: well below what a session can be placed in.
const AHEAD: usize = 40;
const TAKEOVERS: usize = 5;

/// That an old connection only ends: no word that a client would take for the end of its session.
fn ended_silently(ending: &SocketIoEnding) {
    let farewell = |packet: &&super::support::Packet| {
        packet.kind == Kind::Disconnect || packet.is_event("session:end")
    };
    assert_eq!(ending.said.iter().find(farewell).map(|packet| &packet.text), None);
}

/// Says all its messages, and never more than the client lets it.
async fn talk(mut talker: Client, allowed: Arc<Semaphore>) -> Client {
    for number in 0..MESSAGES {
        allowed.acquire().await.expect("open").forget();
        say(&mut talker, ORDERS[number % 2], &number.to_string()).await;
    }
    talker
}

#[tokio::test]
async fn a_takeover_during_chat_loses_and_duplicates_nothing() {
    let hub = Hub::without_rates();
    let (mut client, talker) = joined(&hub).await;
    let allowed = Arc::new(Semaphore::new(AHEAD));
    let talking = tokio::spawn(talk(talker, Arc::clone(&allowed)));
    // What the app has seen: in each room every number follows the one before.
    let mut seen: HashMap<String, i64> = ORDERS.map(|order| (order.to_owned(), 1)).into();
    let mut see = |message: (String, i64)| {
        let last = seen.get_mut(&message.0).expect("a room of ours");
        assert_eq!(message.1, *last + 1, "{message:?}");
        *last += 1;
        allowed.add_permits(1);
    };
    for _ in 0..TAKEOVERS {
        for message in client.hear(MESSAGES / (TAKEOVERS + 1)).await {
            see(message);
        }
        let before = client.memory().clone();
        let newer = SocketIoClient::again(&hub, &ann(), &before).await;
        assert!(newer.memory().recovered);
        assert_eq!((&newer.memory().sid, &newer.memory().pid), (&before.sid, &before.pid));
        let ending = client.ending().await;
        ended_silently(&ending);
        client = newer;
    }
    let left = MESSAGES - TAKEOVERS * (MESSAGES / (TAKEOVERS + 1));
    for message in client.hear(left).await {
        see(message);
    }
    let mut talker = talking.await.expect("all said");
    assert_eq!(client.drain("chat:message").await, [] as [Value; 0]);
    let most = i64::try_from(MESSAGES).expect("small") / 2 + 1;
    assert!(seen.values().all(|last| *last == most), "{seen:?}");
    unnoticed(&mut talker).await;
}

#[tokio::test]
async fn chat_after_the_offset_is_sent_again_on_the_new_connection() {
    let hub = Hub::without_rates();
    let (mut old, mut talker) = joined(&hub).await;
    let before = old.memory().clone();
    for order in ["o1", "o2", "o1"] {
        say(&mut talker, order, "seen by the old one only").await;
    }
    old.drain("nothing").await;
    let mut newer = SocketIoClient::again(&hub, &ann(), &before).await;
    assert!(newer.memory().recovered);
    let ending = old.ending().await;
    ended_silently(&ending);
    let chat = ending.said.iter().filter(|packet| packet.is_event("chat:message"));
    let chat: Vec<_> = chat.map(|packet| place(packet.data())).collect();
    assert_eq!(chat, [at("o1", 2), at("o2", 2), at("o1", 3)]);
    let mut again = newer.hear(3).await;
    again.sort();
    assert_eq!(again, [at("o1", 2), at("o1", 3), at("o2", 2)]);
    assert_eq!(newer.drain("chat:message").await, [] as [Value; 0]);
    unnoticed(&mut talker).await;
}

#[tokio::test]
async fn a_message_repeated_on_the_new_connection_is_stored_once() {
    let hub = Hub::without_rates();
    let (mut old, mut talker) = joined(&hub).await;
    for round in 0..20 {
        // On the way when the network changes: the client will say it again.
        let said = json!({ "orderId": "o1", "content": "hi", "clientMsgId": format!("m{round}") });
        old.ask("chat:message", said.clone()).await;
        let before = old.memory().clone();
        let mut newer = SocketIoClient::again(&hub, &ann(), &before).await;
        assert!(newer.memory().recovered, "round {round}");
        let ack = newer.request("chat:message", said).await;
        assert_eq!(ack["seq"], round + 2, "{ack}");
        ended_silently(&old.ending().await);
        assert_eq!(newer.hear(1).await, [at("o1", round + 2)]);
        old = newer;
    }
    assert_eq!(old.drain("chat:message").await, [] as [Value; 0]);
    assert_eq!(talker.drain("chat:message").await.len(), 22);
    unnoticed(&mut talker).await;
}

#[tokio::test]
async fn a_takeover_counts_as_one_connection_of_its_user() {
    let hub = Hub::builder().without_rates().env("MAX_CONNECTIONS_PER_USER", 1).start();
    let (mut client, mut talker) = joined(&hub).await;
    for _ in 0..5 {
        let before = client.memory().clone();
        let newer = SocketIoClient::again(&hub, &ann(), &before).await;
        assert!(newer.memory().recovered);
        ended_silently(&client.ending().await);
        client = newer;
    }
    client.say("o1", "still here").await;
    until_open(&hub, 2).await;
    unnoticed(&mut talker).await;
}

#[tokio::test]
async fn both_namespaces_move_to_the_new_connection() {
    let hub = Hub::without_rates();
    let (mut old, mut talker) = joined(&hub).await;
    old.at(ROOT).connect(json!({ "token": ann() })).await.expect("let in");
    old.at(ROOT).join("o1").await;
    let mut newer = SocketIoClient::open(&hub).await;
    let memories = [EVENTS, ROOT].map(|namespace| old.at(namespace).memory().clone());
    // The first one ends the old connection, and the other is found as one that was cut.
    for (namespace, memory) in [EVENTS, ROOT].into_iter().zip(memories) {
        newer.at(namespace);
        newer = newer.back(&ann(), &memory).await;
        assert!(newer.memory().recovered, "{namespace}");
        assert_eq!((&newer.memory().sid, &newer.memory().pid), (&memory.sid, &memory.pid));
    }
    ended_silently(&old.ending().await);
    say(&mut talker, "o1", "to both").await;
    for namespace in [EVENTS, ROOT] {
        assert_eq!(newer.at(namespace).hear(1).await, [at("o1", 2)]);
        assert_eq!(newer.drain("chat:message").await, [] as [Value; 0]);
    }
    unnoticed(&mut talker).await;
}
