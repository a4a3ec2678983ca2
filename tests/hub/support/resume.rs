//! A Socket.IO session of Ann's in two rooms, whose connection breaks.

use reqwest::Method;
use serde_json::{Value, json};

use super::rooms::say;
use super::socketio::{RecoveryState, SocketIoClient};
use super::{Client, Hub, token};

/// The orders of Ann's token.
pub const ORDERS: [&str; 2] = ["o1", "o2"];

pub fn ann() -> String {
    token("ann", "customer", &ORDERS)
}

/// A hub of Ann's, who is in both rooms and has heard the first message of each, and of somebody
/// else in both rooms who talks.
pub async fn joined(hub: &Hub) -> (SocketIoClient, Client) {
    let mut talker = hub.connect("dan", "driver", &ORDERS).await;
    let mut client = SocketIoClient::open(hub).await;
    client.connect(json!({ "token": ann() })).await.expect("let in");
    for order in ORDERS {
        talker.join(order).await;
        client.join(order).await;
        say(&mut talker, order, "before").await;
    }
    assert_eq!(client.hear(2).await, [at("o1", 1), at("o2", 1)]);
    talker.drain("presence:joined").await;
    (client, talker)
}

/// A place in an order's chat.
pub fn at(order: &str, seq: i64) -> (String, i64) {
    (order.to_owned(), seq)
}

/// Waits until the hub knows of so many sessions only.
pub async fn until_open(hub: &Hub, sessions: u64) {
    hub.until_admin("/admin/v1/stats", |_, stats| stats["connections"]["open"] == sessions).await;
}

/// Loses the connection, and waits until the hub knows.
pub async fn cut(hub: &Hub, client: SocketIoClient) -> RecoveryState {
    let (_, stats) = hub.admin(Method::GET, "/admin/v1/stats").await;
    let open = stats["connections"]["open"].as_u64().expect("a number");
    let memory = client.cut();
    until_open(hub, open - 1).await;
    memory
}

/// That nobody came or went.
pub async fn unnoticed(talker: &mut Client) {
    for event in ["presence:joined", "presence:left"] {
        assert_eq!(talker.drain(event).await, [] as [Value; 0], "{event}");
    }
}
