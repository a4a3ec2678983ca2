//! `rust_socketio`, on WebSocket alone.

use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use orderhub_client_tests::{Hub, Inbox, TIMEOUT, token};
use rust_socketio::asynchronous::{Client, ClientBuilder, ReconnectSettings};
use rust_socketio::{Event, Payload, TransportType};
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

struct Device {
    client: Client,
    inbox: Inbox,
}

fn first(payload: Payload) -> Value {
    match payload {
        Payload::Text(mut values) if !values.is_empty() => values.remove(0),
        _ => Value::Null,
    }
}

/// Connects; `tokens` are what it comes (back) with, the last one from then on.
async fn connect(hub: &Hub, tokens: &[String]) -> Device {
    let (told, inbox) = Inbox::new();
    let tokens = Arc::new(Mutex::new(tokens.to_vec()));
    let next = move || {
        let mut tokens = tokens.lock().unwrap();
        let token = if tokens.len() > 1 { tokens.remove(0) } else { tokens[0].clone() };
        json!({ "token": token })
    };
    let mut builder = ClientBuilder::new(format!("http://{}", hub.address))
        .namespace("/events")
        .auth(next())
        .transport_type(TransportType::Websocket)
        .reconnect_delay(100, 500)
        .on_reconnect(move || {
            let mut settings = ReconnectSettings::new();
            settings.auth(next());
            async move { settings }.boxed()
        });
    for event in [Event::Connect, Event::Close, Event::Error] {
        let (told, name) = (told.clone(), event.to_string());
        builder = builder.on(event, move |payload, _| {
            told.send((name.clone(), first(payload))).ok();
            async {}.boxed()
        });
    }
    let client = builder.on_any(move |event, payload, _| {
        told.send((event.to_string(), first(payload))).ok();
        async {}.boxed()
    });
    Device { client: client.connect().await.unwrap(), inbox }
}

/// The same, and waits until it is in its namespace.
async fn enter(hub: &Hub, user: &str, role: &str) -> Device {
    let mut device = connect(hub, &[token(user, role, "1h")]).await;
    device.inbox.take("connect").await;
    device
}

impl Device {
    async fn call(&self, event: &str, data: Value) -> Value {
        let (answer, mut answered) = unbounded_channel();
        let on_ack = move |payload, _: Client| {
            answer.send(first(payload)).ok();
            async {}.boxed()
        };
        self.client.emit_with_ack(event, data, TIMEOUT, on_ack).await.unwrap();
        let reply = timeout(TIMEOUT, answered.recv()).await.expect("in time").expect("an answer");
        // The arguments of an ack come as one list.
        reply.get(0).cloned().unwrap_or(reply)
    }

    async fn join(&self, since_seq: u64) -> Value {
        self.call("order:join", json!({ "orderId": "o1", "sinceSeq": since_seq })).await
    }

    async fn say(&self, content: &str) {
        let said = self.call("chat:message", json!({ "orderId": "o1", "content": content })).await;
        assert_eq!(said["ok"], true, "{said}");
    }

    async fn hears(&mut self, content: &str) {
        assert_eq!(self.inbox.take("chat:message").await["content"], content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_joins_receives_and_chats() {
    let hub = Hub::start();
    let (mut ann, dan) = (enter(&hub, "ann", "customer").await, enter(&hub, "dan", "driver").await);
    assert_eq!(ann.join(0).await["ok"], true);
    let fix = json!({ "orderId": "o1", "lat": 45.27, "lng": 13.71 });
    assert_eq!(dan.call("driver:location", fix).await["accepted"], 1);
    assert_eq!(ann.inbox.take("location:updated").await["lat"], 45.27);
    dan.say("dveře").await;
    ann.hears("dveře").await;
    let refused = ann.call("order:join", json!({ "orderId": "of-others" })).await;
    assert_eq!(refused["error"]["code"], "forbidden");
    ann.client.emit("order:join", json!({ "orderId": "of-others" })).await.unwrap();
    assert_eq!(ann.inbox.take("exception").await["code"], "forbidden");
}

/// It has no resume of its own: it joins again on every `connect`.
async fn comes_back(signal: &str) {
    let mut hub = Hub::start();
    let mut ann = enter(&hub, "ann", "customer").await;
    ann.join(0).await;
    ann.say("one").await;
    ann.hears("one").await;
    hub.restart(signal);
    if signal == "TERM" {
        assert_eq!(ann.inbox.take("session:end").await["code"], 1012);
    }
    let bob = enter(&hub, "bob", "customer").await;
    bob.say("two").await;
    ann.inbox.take("connect").await;
    let room = ann.join(1).await;
    assert_eq!(
        (&room["recovered"], &room["messages"][0]["content"]),
        (&json!(true), &json!("two"))
    );
    bob.say("three").await;
    ann.hears("three").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_reconnects_after_a_deploy() {
    comes_back("TERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_reconnects_after_a_crash() {
    comes_back("KILL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_is_replaced_when_it_comes_back() {
    let hub = Hub::start();
    let mut ann =
        connect(&hub, &[token("ann", "customer", "10s"), token("ann", "customer", "1h")]).await;
    ann.inbox.take("connect").await;
    assert_eq!(ann.inbox.take("session:end").await["reason"], "token_expired");
    ann.inbox.take("connect").await;
    assert_eq!(ann.join(0).await["ok"], true);
}

/// The error is a text, with the hub's answer in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_a_text() {
    let hub = Hub::start();
    let mut ann = connect(&hub, &["no token".to_owned()]).await;
    let error = ann.inbox.take("error").await.to_string();
    assert!(error.contains("ConnectError") && error.contains("unauthenticated"), "{error}");
}
