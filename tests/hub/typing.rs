//! Who is typing: heard by the others, not too often, and it ends.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::support::back_end::call;
use super::support::rooms::{code, say};
use super::support::socketio::SocketIoClient;
use super::support::{Client, Hub};

async fn typing(client: &mut Client, typing: bool) {
    let result = client.request("chat:typing", json!({ "orderId": "o1", "typing": typing })).await;
    assert_eq!(result, json!({ "ok": true }));
}

fn of(user: &str, typing: bool) -> Value {
    json!({ "orderId": "o1", "userId": user, "typing": typing })
}

async fn member(hub: &Hub, user: &str) -> Client {
    let mut client = hub.connect(user, "customer", &["o1"]).await;
    client.join("o1").await;
    client
}

#[tokio::test]
async fn typing_reaches_other_users_in_both_framings_and_no_device_of_the_typist() {
    let hub = Hub::without_rates();
    let mut ann = member(&hub, "ann").await;
    let mut phone = member(&hub, "bob").await;
    let mut tablet = member(&hub, "bob").await;
    let mut ian = SocketIoClient::login(&hub, "ian", "driver", &["o1"]).await;
    ian.join("o1").await;
    typing(&mut phone, true).await;
    assert_eq!(ann.expect("chat:typing").await, of("bob", true));
    let packet = ian.find(|packet| packet.is_event("chat:typing")).await;
    assert_eq!((packet.data(), packet.last_string()), (&of("bob", true), None));
    typing(&mut phone, false).await;
    assert_eq!(ann.expect("chat:typing").await, of("bob", false));
    ian.send("chat:typing", json!({ "orderId": "o1", "typing": true })).await;
    assert_eq!(phone.expect("chat:typing").await, of("ian", true));
    for device in [&mut phone, &mut tablet] {
        let heard = device.drain("chat:typing").await;
        assert!(heard.iter().all(|event| event["userId"] == "ian"), "{heard:?}");
    }
}

#[tokio::test]
async fn typing_ends_by_itself() {
    let hub = Hub::without_rates();
    let mut ann = member(&hub, "ann").await;
    // Who only sends, and does nothing more.
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    typing(&mut bob, true).await;
    assert_eq!(ann.expect("chat:typing").await, of("bob", true));
    let since = Instant::now();
    assert_eq!(ann.expect("chat:typing").await, of("bob", false));
    let lasted = since.elapsed();
    assert!(lasted > Duration::from_secs(4), "after {lasted:?}");
}

#[tokio::test]
async fn typing_is_relayed_at_most_once_a_second() {
    let hub = Hub::without_rates();
    let mut ann = member(&hub, "ann").await;
    let mut bob = member(&hub, "bob").await;
    let since = Instant::now();
    for number in 0..60 {
        typing(&mut bob, number % 2 == 0).await;
    }
    typing(&mut bob, false).await;
    // The last word is the one that counts.
    let mut heard = vec![ann.expect("chat:typing").await];
    while heard.last() != Some(&of("bob", false)) {
        heard.push(ann.expect("chat:typing").await);
    }
    let (lasted, count) = (since.elapsed(), u32::try_from(heard.len()).expect("few"));
    assert!(lasted >= Duration::from_secs(1) * (count - 1), "{count} in {lasted:?}");
    assert_eq!(ann.drain("chat:typing").await.len(), 0);
}

#[tokio::test]
async fn a_message_ends_typing_before_it_is_relayed() {
    let hub = Hub::without_rates();
    let mut ann = member(&hub, "ann").await;
    let mut bob = member(&hub, "bob").await;
    call(&hub, Method::PUT, "/orders/o1", json!({})).await;
    typing(&mut bob, true).await;
    assert_eq!(ann.expect("chat:typing").await, of("bob", true));
    say(&mut bob, "o1", "here I am").await;
    for expected in ["chat:typing", "chat:message"] {
        let next = ann.find(|message| message["event"] != "presence:joined").await;
        assert_eq!(next["event"], expected, "{next}");
        assert!(next["data"]["typing"] != true, "{next}");
    }
    // The same for what comes by HTTP.
    typing(&mut bob, true).await;
    assert_eq!(ann.expect("chat:typing").await, of("bob", true));
    let body = json!({ "content": "by SMS", "senderId": "bob" });
    assert_eq!(call(&hub, Method::POST, "/orders/o1/messages", body).await.0, 201);
    assert_eq!(ann.expect("chat:typing").await, of("bob", false));
    // A system message is nobody's.
    typing(&mut bob, true).await;
    assert_eq!(ann.expect("chat:typing").await, of("bob", true));
    let body = json!({ "content": "x", "type": "SYSTEM" });
    assert_eq!(call(&hub, Method::POST, "/orders/o1/messages", body).await.0, 201);
    assert_eq!(ann.drain("chat:typing").await.len(), 0);
}

#[tokio::test]
async fn typing_ends_when_the_device_leaves_is_lost_or_is_thrown_out() {
    let hub = Hub::without_rates();
    let mut ann = member(&hub, "ann").await;
    let mut leaves = member(&hub, "bob").await;
    let _stays = member(&hub, "bob").await;
    typing(&mut leaves, true).await;
    assert_eq!(ann.expect("chat:typing").await, of("bob", true));
    leaves.request("order:leave", json!({ "orderId": "o1" })).await;
    assert_eq!(ann.expect("chat:typing").await, of("bob", false));
    let mut lost = hub.connect("carl", "customer", &["o1"]).await;
    typing(&mut lost, true).await;
    assert_eq!(ann.expect("chat:typing").await, of("carl", true));
    drop(lost);
    assert_eq!(ann.expect("chat:typing").await, of("carl", false));
    let mut removed = member(&hub, "dora").await;
    typing(&mut removed, true).await;
    assert_eq!(ann.expect("chat:typing").await, of("dora", true));
    call(&hub, Method::PUT, "/orders/o1", json!({})).await;
    call(&hub, Method::DELETE, "/orders/o1/participants/dora", Value::Null).await;
    assert_eq!(ann.expect("chat:typing").await, of("dora", false));
}

#[tokio::test]
async fn typing_in_a_closed_chat_is_refused() {
    let hub = Hub::builder().env("CHAT_OPEN_HOURS", 0).start();
    call(&hub, Method::PUT, "/orders/o1", json!({ "status": "DELIVERED" })).await;
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    bob.join("o1").await;
    super::support::until("the chat to close", async || {
        let typing = json!({ "orderId": "o1", "typing": true });
        code(&bob.request("chat:typing", typing).await) == "order_closed"
    })
    .await;
    let read = bob.request("chat:read", json!({ "orderId": "o1", "seq": 1 })).await;
    assert_eq!(read["ok"], true, "it stays readable");
}
