//! Who is here: told once per user, and a lost signal is forgiven for a while.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::support::rooms::say;
use super::support::socketio::{RecoveryState, SocketIoClient};
use super::support::{Client, Hub, token};

/// A hub with this grace and a client in the room who hears of the others.
async fn watched(grace_secs: u32) -> (Hub, Client) {
    let hub = Hub::builder().env("PRESENCE_GRACE_SECS", grace_secs).start();
    let mut watcher = hub.connect("watcher", "customer", &["o1"]).await;
    watcher.join("o1").await;
    watcher.drain("presence:joined").await;
    (hub, watcher)
}

async fn member(hub: &Hub, user: &str) -> Client {
    let mut client = hub.connect(user, "driver", &["o1"]).await;
    client.join("o1").await;
    client
}

fn user(presence: &Value) -> &str {
    presence["userId"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_user_with_several_connections_comes_and_goes_once() {
    let (hub, mut watcher) = watched(15).await;
    let mut first = member(&hub, "ann").await;
    let second = member(&hub, "ann").await;
    first.join("o1").await;
    let joined = watcher.drain("presence:joined").await;
    let ann = json!({ "orderId": "o1", "userId": "ann", "name": "Name of ann", "role": "driver" });
    assert_eq!(joined, std::slice::from_ref(&ann));
    second.close().await;
    let gone = first.request("order:leave", json!({ "orderId": "o1" })).await;
    assert_eq!(gone["remaining"], 1);
    assert_eq!(watcher.drain("presence:left").await.len(), 0, "one of them is still here");
    first.request("order:leave", json!({ "orderId": "o1" })).await;
    assert_eq!(watcher.drain("presence:left").await, [ann]);
}

#[tokio::test]
async fn a_user_who_closes_or_leaves_is_absent_at_once() {
    let (hub, mut watcher) = watched(3600).await;
    member(&hub, "ann").await.close().await;
    assert_eq!(user(&watcher.expect("presence:left").await), "ann");
    let mut dan = member(&hub, "dan").await;
    dan.request("order:leave", json!({ "orderId": "o1" })).await;
    assert_eq!(user(&watcher.expect("presence:left").await), "dan");
}

/// A member on Socket.IO that ends with this close frame, and says nothing before.
async fn closes_with(hub: &Hub, user: &str, code: Option<CloseCode>) -> RecoveryState {
    let mut client = SocketIoClient::login(hub, user, "driver", &["o1"]).await;
    client.join("o1").await;
    let frame = code.map(|code| CloseFrame { code, reason: "".into() });
    client.socket().close(frame).await.expect("sent");
    client.ending().await;
    client.cut()
}

#[tokio::test]
async fn a_socketio_close_with_1000_is_a_leave_and_can_be_resumed() {
    let (hub, mut watcher) = watched(3600).await;
    let memory = closes_with(&hub, "ann", Some(CloseCode::Normal)).await;
    assert_eq!(user(&watcher.expect("presence:joined").await), "ann");
    assert_eq!(user(&watcher.expect("presence:left").await), "ann");
    say(&mut watcher, "o1", "meanwhile").await;
    let mut back = SocketIoClient::again(&hub, &token("ann", "driver", &["o1"]), &memory).await;
    assert!(back.memory().recovered);
    assert_eq!(user(&watcher.expect("presence:joined").await), "ann");
    assert_eq!(back.hear(1).await, [("o1".to_owned(), 1)]);
    // A page that is loaded anew, a proxy that restarts, and a client that missed a ping close as well.
    for (name, code) in [("dan", Some(CloseCode::Away)), ("eve", None)] {
        closes_with(&hub, name, code).await;
    }
    hub.until_admin("/admin/v1/rooms/o1", |_, room| room["sessions"] == 2).await;
    assert_eq!(watcher.drain("presence:left").await.len(), 0);
}

#[tokio::test]
async fn a_lost_connection_is_announced_after_the_grace() {
    let (hub, mut watcher) = watched(1).await;
    let lost = member(&hub, "ann").await;
    let since = Instant::now();
    drop(lost);
    assert_eq!(user(&watcher.expect("presence:left").await), "ann");
    let waited = since.elapsed();
    assert!(waited >= Duration::from_millis(990), "told after {waited:?}");
}

#[tokio::test]
async fn a_reconnect_within_the_grace_is_not_announced() {
    let (hub, mut watcher) = watched(2).await;
    let ann = member(&hub, "ann").await;
    let dan = member(&hub, "dan").await;
    watcher.drain("presence:joined").await;
    drop(ann);
    // Only the server's word for it that the first connection has ended makes this a return.
    hub.until_admin("/admin/v1/rooms/o1", |_, room| room["sessions"] == 2).await;
    let mut back = member(&hub, "ann").await;
    drop(dan);
    // Whoever was lost before is told of before.
    assert_eq!(user(&watcher.expect("presence:left").await), "dan");
    assert_eq!(watcher.drain("presence:left").await.len(), 0);
    assert_eq!(watcher.drain("presence:joined").await.len(), 0);
    let members = back.join("o1").await["members"].as_array().map(Vec::len);
    assert_eq!(members, Some(2));
}

#[tokio::test]
async fn a_snapshot_lists_a_user_during_the_grace() {
    let (hub, mut watcher) = watched(3600).await;
    drop(member(&hub, "ann").await);
    hub.until_admin("/admin/v1/rooms/o1", |_, room| room["sessions"] == 1).await;
    let shown = watcher.join("o1").await;
    let members = shown["members"].as_array().expect("members");
    assert_eq!(members.iter().map(user).collect::<Vec<_>>(), ["ann", "watcher"]);
}

#[tokio::test]
async fn a_user_is_absent_when_the_last_of_three_devices_is_gone() {
    let (hub, mut watcher) = watched(1).await;
    let phone = member(&hub, "ann").await;
    let mut tablet = SocketIoClient::login(&hub, "ann", "driver", &["o1"]).await;
    tablet.join("o1").await;
    let mut desk = member(&hub, "ann").await;
    assert_eq!(watcher.drain("presence:joined").await.len(), 1);
    counted(&hub, 2, 4).await;
    // One breaks, one takes its leave: she is still here, also when the grace of the first is over.
    drop(phone);
    counted(&hub, 2, 3).await;
    tablet.disconnect().await;
    counted(&hub, 2, 2).await;
    let mut dan = member(&hub, "dan").await;
    drop(dan.join("o1").await);
    drop(dan);
    assert_eq!(user(&watcher.expect("presence:left").await), "dan", "whose grace began later");
    assert_eq!(watcher.drain("presence:left").await.len(), 0);
    desk.request("order:leave", json!({ "orderId": "o1" })).await;
    assert_eq!(user(&watcher.expect("presence:left").await), "ann");
    counted(&hub, 1, 1).await;
    assert_eq!(watcher.drain("presence:left").await.len(), 0, "once");
}

/// Waits until admins see so many users and connections in the room.
async fn counted(hub: &Hub, users: usize, sessions: usize) {
    hub.until_admin("/admin/v1/rooms/o1", |_, room| {
        (&room["users"], &room["sessions"]) == (&json!(users), &json!(sessions))
    })
    .await;
}
