//! Events that back ends send: to a room, to a user, to many users.

use orderhub::auth::{Scope, new_key};
use reqwest::Method;
use serde_json::{Value, json};

use super::support::back_end::{call, call_as, problem_or_status};
use super::support::rooms::say;
use super::support::socketio::{EVENTS, ROOT, SocketIoClient};
use super::support::{Hub, token};

/// Sends an event; to how many connections it went.
async fn send(hub: &Hub, path: &str, body: Value) -> u64 {
    let (status, answer) = call(hub, Method::POST, path, body).await;
    assert_eq!(status, 200, "{answer}");
    answer["delivered"].as_u64().expect("a number")
}

#[tokio::test]
async fn an_event_reaches_every_member_in_its_framing_and_no_other_client() {
    let hub = Hub::start();
    let mut plain = hub.connect("bob", "customer", &["o1"]).await;
    plain.join("o1").await;
    let mut io = SocketIoClient::login(&hub, "ann", "driver", &["o1"]).await;
    io.join("o1").await;
    let mut outside = hub.connect("bob", "customer", &["o1", "o2"]).await;
    outside.join("o2").await;
    let data = json!({ "minutes": 7, "stops": [1, "two"] });
    let body = json!({ "event": "order:eta", "data": data });
    assert_eq!(send(&hub, "/orders/o1/events", body).await, 2);
    assert_eq!(plain.expect("order:eta").await, data);
    assert_eq!(io.expect("order:eta").await, data);
    assert_eq!(outside.drain("order:eta").await.len(), 0);
}

#[tokio::test]
async fn an_event_without_receivers_is_answered_with_0_and_not_kept() {
    let hub = Hub::start();
    let body = json!({ "event": "order:eta", "data": {} });
    let users = json!({ "userIds": ["bob"], "event": "order:eta", "data": {} });
    let nobody = json!({ "userIds": [], "event": "order:eta", "data": {} });
    assert_eq!(send(&hub, "/orders/o1/events", body.clone()).await, 0);
    assert_eq!(send(&hub, "/users/bob/events", body.clone()).await, 0);
    assert_eq!(send(&hub, "/users:events", users).await, 0);
    assert_eq!(send(&hub, "/users:events", nobody).await, 0);
    let mut late = hub.connect("bob", "customer", &["o1"]).await;
    late.join("o1").await;
    assert_eq!(late.drain("order:eta").await.len(), 0, "nothing is kept");
    late.close().await;
    hub.until_admin("/admin/v1/rooms/o1", |_, room| room["sessions"] == 0).await;
    assert_eq!(send(&hub, "/orders/o1/events", body).await, 0);
}

#[tokio::test]
async fn back_end_events_keep_their_order_among_room_events() {
    let hub = Hub::start();
    call(&hub, Method::PUT, "/orders/o1", json!({})).await;
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    bob.join("o1").await;
    for number in 0..20 {
        let body = json!({ "event": "step", "data": { "number": number } });
        let status = json!({ "status": format!("STEP_{number}") });
        send(&hub, "/orders/o1/events", body).await;
        assert_eq!(call(&hub, Method::POST, "/orders/o1/status", status).await.0, 200);
        if number == 9 {
            say(&mut bob, "o1", "half").await;
        }
    }
    bob.drain("presence:joined").await;
    let mut expected = Vec::new();
    for number in 0..20 {
        expected.push(("step".to_owned(), json!(number)));
        expected.push(("order:status".to_owned(), json!(format!("STEP_{number}"))));
        if number == 9 {
            expected.push(("chat:message".to_owned(), json!("half")));
        }
    }
    let heard: Vec<_> = std::mem::take(&mut bob.seen)
        .into_iter()
        .map(|event| {
            let data = &event["data"];
            let value = ["number", "status", "content"].iter().find_map(|name| data.get(name));
            (event["event"].as_str().expect("a name").to_owned(), value.expect("a value").clone())
        })
        .collect();
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn a_user_gets_an_event_on_every_connection() {
    let hub = Hub::start();
    let mut phone = hub.connect("bob", "customer", &[]).await;
    let mut desk = SocketIoClient::login(&hub, "bob", "customer", &[]).await;
    let mut polls = SocketIoClient::open_polling(&hub).await;
    polls.connect(json!({ "token": token("bob", "customer", &[]) })).await.expect("let in");
    let mut ann = hub.connect("ann", "driver", &[]).await;
    let data = json!(["paid", 7]);
    let body = json!({ "event": "wallet", "data": data });
    assert_eq!(send(&hub, "/users/bob/events", body).await, 3);
    assert_eq!(phone.expect("wallet").await, data);
    assert_eq!(desk.expect("wallet").await, data);
    assert_eq!(polls.expect("wallet").await, data);
    assert_eq!(ann.drain("wallet").await.len(), 0);
    let body = json!({ "userIds": ["bob", "ann", "nobody", "bob"], "event": "news", "data": {} });
    assert_eq!(send(&hub, "/users:events", body).await, 4);
    for client in [&mut phone, &mut ann] {
        assert_eq!(client.drain("news").await.len(), 1, "once");
    }
}

#[tokio::test]
async fn a_connection_in_two_namespaces_gets_an_event_in_both_and_counts_once() {
    let hub = Hub::start();
    let mut io = SocketIoClient::login(&hub, "bob", "customer", &[]).await;
    io.namespace = ROOT;
    io.connect(json!({ "token": token("bob", "customer", &[]) })).await.expect("let in");
    assert_eq!(send(&hub, "/users/bob/events", json!({ "event": "x", "data": {} })).await, 1);
    for namespace in [ROOT, EVENTS] {
        io.namespace = namespace;
        assert_eq!(io.expect("x").await, json!({}));
    }
}

#[tokio::test]
async fn reserved_event_names_and_non_object_data_are_refused() {
    let hub = Hub::start();
    let many: Vec<String> = (0..1001).map(|number| format!("u{number}")).collect();
    let long = json!({ "text": "x".repeat(16 * 1024) });
    for (path, body, expected) in [
        ("/orders/o1/events", json!({ "event": "disconnect", "data": {} }), "event"),
        ("/orders/o1/events", json!({ "event": "chat:message", "data": {} }), "event"),
        ("/orders/o1/events", json!({ "event": "", "data": {} }), "event"),
        ("/orders/o1/events", json!({ "event": 7, "data": {} }), "event"),
        ("/orders/o1/events", json!({ "event": "x" }), "data"),
        ("/orders/o1/events", json!({ "event": "x", "data": "o1:7" }), "data"),
        ("/orders/o1/events", json!({ "event": "x", "data": null }), "data"),
        ("/orders/o1/events", json!({ "event": "x", "data": long }), "data"),
        ("/orders/o1/events", json!({ "data": {} }), "event"),
        ("/users/bob/events", json!({ "event": "x", "data": {}, "to": "ann" }), "to"),
        ("/users/bob/events", json!({ "event": "connect", "data": {} }), "event"),
        ("/users:events", json!({ "event": "x", "data": {} }), "userIds"),
        ("/users:events", json!({ "userIds": ["a b"], "event": "x", "data": {} }), "userIds[0]"),
        ("/users:events", json!({ "userIds": many, "event": "x", "data": {} }), "userIds"),
    ] {
        let answer = call_as(&hub, "service", Method::POST, path, body.clone()).await;
        let expected = format!("400 invalid_payload {expected}");
        assert_eq!(problem_or_status(answer).await, expected, "{path} {body:.60}");
    }
}

#[tokio::test]
async fn only_back_ends_send_events_and_a_key_by_its_scope() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("keys.toml");
    let key = |name, scope| new_key(name, &[scope]).expect("random bytes");
    let (sends, writes) = (key("sends", Scope::EventsWrite), key("writes", Scope::OrdersWrite));
    std::fs::write(&path, format!("{}{}", sends.entry, writes.entry)).expect("writes");
    let hub = Hub::builder().env("API_KEYS_FILE", path.display()).start();
    let body = json!({ "event": "x", "data": {} });
    let users = json!({ "userIds": [], "event": "x", "data": {} });
    for (path, body) in
        [("/orders/o1/events", &body), ("/users/bob/events", &body), ("/users:events", &users)]
    {
        for (role, expected) in [
            ("customer", "403 forbidden "),
            ("driver", "403 forbidden "),
            ("support", "403 forbidden "),
            ("service", "200"),
            ("admin", "200"),
        ] {
            let answer = call_as(&hub, role, Method::POST, path, body.clone()).await;
            assert_eq!(problem_or_status(answer).await, expected, "{role} {path}");
        }
        for (key, expected) in [(&sends.key, "200"), (&writes.key, "403 forbidden ")] {
            let request = reqwest::Client::new().post(hub.url(&format!("/api/v1{path}")));
            let answer = request.bearer_auth(key).json(body).send().await.expect("an answer");
            assert_eq!(problem_or_status(answer).await, expected, "{path}");
        }
        let answer = call_as(&hub, "service", Method::GET, path, Value::Null).await;
        assert_eq!(problem_or_status(answer).await, "405 method_not_allowed ", "{path}");
    }
}

#[tokio::test]
async fn a_member_that_reads_nothing_is_closed_and_others_lose_nothing() {
    let hub = Hub::builder().env("OUTBOX_BYTES", 65536).env("SEND_TIMEOUT_MS", 60_000).start();
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    bob.join("o1").await;
    let mut slow = hub.connect("eve", "customer", &["o1"]).await;
    slow.join("o1").await;
    let data = json!({ "text": "x".repeat(15_000) });
    let body = json!({ "event": "flood", "data": data });
    let mut sent = 0_usize;
    loop {
        let reached = send(&hub, "/orders/o1/events", body.clone()).await;
        sent += 1;
        assert_eq!(bob.expect("flood").await, data);
        if reached == 1 {
            break;
        }
        assert!(sent < 2000, "the slow one was never cut");
    }
    hub.until_admin("/admin/v1/rooms/o1", |_, room| room["sessions"] == 1).await;
}
