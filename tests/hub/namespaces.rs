//! Two namespaces on one connection: two sessions to rooms, one connection to limits.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::rooms::say;
use super::support::socketio::{EVENTS, ROOT, SocketIoClient};
use super::support::{Client, Hub, Kind, token};

/// A client in both namespaces.
async fn in_both(hub: &Hub, token: &str) -> SocketIoClient {
    let mut client = SocketIoClient::open(hub).await;
    for namespace in [ROOT, EVENTS] {
        client.at(namespace).connect(json!({ "token": token })).await.expect("let in");
    }
    client
}

/// A hub, one who watches the room of `o1`, and a client who is in it in both namespaces.
async fn twice() -> (Hub, Client, SocketIoClient) {
    let hub = Hub::start();
    let mut watcher = hub.connect("watcher", "customer", &["o1"]).await;
    watcher.join("o1").await;
    let mut client = in_both(&hub, &token("ann", "driver", &["o1"])).await;
    for namespace in [ROOT, EVENTS] {
        client.at(namespace).join("o1").await;
    }
    (hub, watcher, client)
}

fn users(presence: &[Value]) -> Vec<&str> {
    presence.iter().map(|event| event["userId"].as_str().expect("a user")).collect()
}

#[tokio::test]
async fn each_namespace_is_a_session_and_the_user_is_present_once() {
    let (hub, mut watcher, mut client) = twice().await;
    let sids = [ROOT, EVENTS].map(|namespace| client.at(namespace).memory().sid.clone());
    assert_ne!(sids[0], sids[1]);
    assert_eq!(users(&watcher.drain("presence:joined").await), ["ann"]);
    let (_, room) = hub.admin(reqwest::Method::GET, "/admin/v1/rooms/o1").await;
    assert_eq!((&room["sessions"], &room["users"]), (&json!(3), &json!(2)));
    say(&mut watcher, "o1", "to both").await;
    for namespace in [ROOT, EVENTS] {
        assert_eq!(client.at(namespace).expect("chat:message").await["content"], "to both");
    }
    // The answer comes where the question was asked.
    let ack = client.at(ROOT).say("o1", "from one").await;
    assert_eq!(ack["seq"], 2);
    client.at(EVENTS).expect("chat:message").await;
    assert_eq!(client.drain("exception").await.len(), 0);
    assert!(client.seen.iter().all(|packet| packet.kind != Kind::Ack));
}

#[tokio::test]
async fn a_leave_in_one_namespace_keeps_the_room_in_the_other() {
    let (_hub, mut watcher, mut client) = twice().await;
    let left = client.at(ROOT).request("order:leave", json!({ "orderId": "o1" })).await;
    assert_eq!(left["remaining"], 0);
    say(&mut watcher, "o1", "still there?").await;
    assert_eq!(client.at(EVENTS).expect("chat:message").await["seq"], 1);
    assert_eq!(client.at(ROOT).drain("chat:message").await.len(), 0);
    assert_eq!(watcher.drain("presence:left").await.len(), 0, "the user is still there");
    client.at(EVENTS).request("order:leave", json!({ "orderId": "o1" })).await;
    assert_eq!(users(&watcher.drain("presence:left").await), ["ann"]);
}

#[tokio::test]
async fn a_disconnect_ends_one_namespace_and_the_other_goes_on() {
    let (_hub, mut watcher, mut client) = twice().await;
    client.at(ROOT).disconnect().await;
    say(&mut watcher, "o1", "still there?").await;
    assert_eq!(client.at(EVENTS).expect("chat:message").await["seq"], 1);
    client.drain("nothing").await;
    assert!(client.seen.iter().all(|packet| packet.namespace == EVENTS), "{:?}", client.seen);
    assert_eq!(watcher.drain("presence:left").await.len(), 0);
    // And back again.
    let token = token("ann", "driver", &["o1"]);
    client.at(ROOT).connect(json!({ "token": token })).await.expect("let in");
    client.at(ROOT).join("o1").await;
    for namespace in [ROOT, EVENTS] {
        client.at(namespace).disconnect().await;
    }
    assert_eq!(watcher.expect("presence:left").await["userId"], "ann", "at once");
    // The connection is still there for the next one.
    client.at(EVENTS).connect(json!({ "token": token })).await.expect("let in");
    client.join("o1").await;
}

#[tokio::test]
async fn both_namespaces_have_the_rates_of_their_user() {
    let hub = Hub::builder().env("EVENTS_PER_SECOND", 20).env("EVENTS_BURST", 30).start();
    let mut client = in_both(&hub, &token("ann", "driver", &[])).await;
    let pings = (0..30).flat_map(|id| {
        [ROOT, EVENTS].map(|namespace| {
            let prefix = if namespace == ROOT { "" } else { "/events," };
            format!("42{prefix}{id}[\"ping\"]")
        })
    });
    let pings: Vec<_> = pings.collect();
    let began = Instant::now();
    client.send_all(pings).await;
    for namespace in [ROOT, EVENTS] {
        for id in 0..30 {
            assert_eq!(client.at(namespace).reply(id).await["ok"], true);
        }
    }
    // Thirty of them waited. Each namespace with its own rate, none would have.
    assert!(began.elapsed() >= Duration::from_millis(29 * 50), "{:?}", began.elapsed());
}

#[tokio::test]
async fn two_namespaces_are_one_connection_to_the_limit_of_a_user() {
    let hub = Hub::builder().env("MAX_CONNECTIONS_PER_USER", 1).start();
    let token = token("ann", "driver", &["o1"]);
    let mut first = in_both(&hub, &token).await;
    for namespace in [ROOT, EVENTS] {
        first.at(namespace).join("o1").await;
    }
    let mut second = in_both(&hub, &token).await;
    let ending = first.ending().await;
    for namespace in [ROOT, EVENTS] {
        assert_eq!(ending.announced(namespace), (4409, true), "{namespace}");
    }
    for namespace in [ROOT, EVENTS] {
        second.at(namespace).join("o1").await;
    }
    let (_, room) = hub.admin(reqwest::Method::GET, "/admin/v1/rooms/o1").await;
    assert_eq!(room["sessions"], 2);
}
