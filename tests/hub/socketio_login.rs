//! CONNECT: with which token a Socket.IO client comes in, and what it hears where it does not.

use std::time::{Duration, Instant};

use protocol::time::Timestamp;
use serde_json::{Value, json};

use super::support::polling;
use super::support::raw::{RawConnection, TEXT, UpgradeRequest, frame};
use super::support::socketio::{EVENTS, ROOT, SocketIoClient};
use super::support::{Hub, claims, token};

fn ann() -> String {
    token("ann", "customer", &["o1"])
}

/// Ann's, but over since an hour.
fn expired() -> String {
    claims(json!({ "sub": "ann", "exp": Timestamp::now().as_millis() / 1000 - 3600 }))
}

/// The code of a refused CONNECT, after a look at its form.
fn refusal(answer: Result<Value, Value>) -> Value {
    let refusal = answer.expect_err("refused");
    assert!(refusal["message"].is_string(), "{refusal}");
    refusal["data"]["code"].clone()
}

#[tokio::test]
async fn the_reply_to_connect_has_an_id_of_the_session_and_one_to_come_back_with() {
    let hub = Hub::start();
    let mut client = SocketIoClient::open(&hub).await;
    let mut welcomes = Vec::new();
    for namespace in [EVENTS, ROOT] {
        let welcome = client.at(namespace).connect(json!({ "token": ann() })).await;
        let welcome = welcome.expect("let in");
        assert_eq!(welcome.as_object().map(serde_json::Map::len), Some(2), "{welcome}");
        welcomes.push(welcome);
    }
    let ids = [&welcomes[0]["sid"], &welcomes[0]["pid"], &welcomes[1]["sid"], &welcomes[1]["pid"]];
    for (at, id) in ids.iter().enumerate() {
        assert!(id.as_str().is_some_and(|id| id.len() >= 16), "{id}");
        assert!(!ids[..at].contains(id), "{welcomes:?}");
    }
    assert_eq!(client.seen.len(), 0, "and nothing else: {:?}", client.seen);
}

#[tokio::test]
async fn a_refused_token_gets_connect_error_and_the_next_connect_may_succeed() {
    let hub = Hub::start();
    let mut client = SocketIoClient::open(&hub).await;
    for (auth, code) in [
        (json!({}), "unauthenticated"),
        (json!({ "token": "hello" }), "unauthenticated"),
        (json!({ "token": 7 }), "unauthenticated"),
        (json!({ "token": expired() }), "token_expired"),
        (json!({ "token": format!("{}x", ann()) }), "unauthenticated"),
    ] {
        assert_eq!(refusal(client.connect(auth.clone()).await), code, "{auth}");
    }
    client.send_text("40/events,").await;
    assert_eq!(refusal(client.connected().await), "unauthenticated");
    client.connect(json!({ "token": format!("Bearer {}", ann()) })).await.expect("let in");
    client.join("o1").await;
}

/// Opens a connection on each transport, with this `Authorization` header.
async fn each_transport(hub: &Hub, authorization: &str) -> [SocketIoClient; 2] {
    let polling = SocketIoClient::open_polling_with(hub, Some(authorization)).await;
    [SocketIoClient::open_with(hub, Some(authorization)).await, polling]
}

#[tokio::test]
async fn the_header_token_is_used_when_connect_has_none() {
    let (hub, token) = (Hub::start(), ann());
    for authorization in [format!("Bearer {token}"), format!("bEARER  {token}"), token.clone()] {
        for mut client in each_transport(&hub, &authorization).await {
            client.connect(json!({ "token": " " })).await.expect("an empty one is none");
            client.join("o1").await;
            client.at(ROOT).connect(json!({ "token": token })).await.expect("the same token twice");
        }
    }
}

#[tokio::test]
async fn the_token_of_connect_is_used_before_that_of_the_request() {
    let hub = Hub::start();
    let bob = token("bob", "customer", &["o2"]);
    for stale in [format!("Bearer {}", expired()), format!("Bearer {bob}"), "Bearer x".to_owned()] {
        for mut client in each_transport(&hub, &stale).await {
            client.connect(json!({ "token": format!("Bearer {}", ann()) })).await.expect("let in");
            client.join("o1").await;
        }
    }
    for mut client in each_transport(&hub, &format!("Bearer {}", ann())).await {
        let refused = client.connect(json!({ "token": expired() })).await;
        assert_eq!(refusal(refused), "token_expired");
        client.connect(json!({ "token": ann() })).await.expect("let in");
    }
}

#[tokio::test]
async fn an_invalid_header_token_is_refused_in_the_answer_to_connect() {
    let hub = Hub::builder().env("ALLOW_QUERY_TOKEN", true).start();
    let header = "no token: the Authorization header is not of the form Bearer TOKEN";
    for (authorization, query, message) in [
        ("Bearer", "", "no token: send it as auth.token"),
        ("Basic eHg=", "", header),
        ("JWT a.b.c", "", header),
        ("", "&token=a&token=b", "two different tokens in one request"),
    ] {
        let request = UpgradeRequest::anonymous().header("Authorization", authorization);
        let path = format!("/socket.io/?EIO=4&transport=websocket{query}");
        let (mut raw, answer) = request.path(path).open(&hub).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        assert!(text(&mut raw).await.starts_with('0'));
        raw.send(&frame(TEXT, b"40/events,{}")).await;
        let refused = text(&mut raw).await;
        assert!(refused.starts_with("44/events,") && refused.contains(message), "{refused}");
        let connect = format!("40/events,{{\"token\":\"{}\"}}", ann());
        raw.send(&frame(TEXT, connect.as_bytes())).await;
        assert!(text(&mut raw).await.starts_with("40/events,"), "{authorization} {query}");
    }
}

async fn text(raw: &mut RawConnection) -> String {
    let (_, text) = raw.frame().await.expect("an open connection");
    String::from_utf8(text).expect("UTF-8")
}

#[tokio::test]
async fn a_refresh_takes_a_token_with_its_scheme() {
    let hub = Hub::start();
    let mut client = SocketIoClient::login(&hub, "ann", "customer", &["o1"]).await;
    let fresh = json!({ "token": format!("Bearer {}", ann()) });
    assert_eq!(client.request("auth:refresh", fresh).await["ok"], true);
}

#[tokio::test]
async fn an_unknown_namespace_is_refused_as_the_reference_server_does() {
    let hub = Hub::start();
    let mut client = SocketIoClient::open(&hub).await;
    for namespace in ["/admin", "/events/", "/Events"] {
        let refused = client.at(namespace).connect(json!({ "token": ann() })).await;
        assert_eq!(refused, Err(json!({ "message": "Invalid namespace" })), "{namespace}");
    }
    client.at(EVENTS).connect(json!({ "token": ann() })).await.expect("let in");
    client.join("o1").await;
}

#[tokio::test]
async fn a_banned_user_is_refused_at_connect() {
    let hub = Hub::start();
    hub.admin(reqwest::Method::DELETE, "/admin/v1/users/ann/sessions").await;
    let mut client = SocketIoClient::open(&hub).await;
    assert_eq!(refusal(client.connect(json!({ "token": ann() })).await), "forbidden");
    client.connect(json!({ "token": token("bob", "customer", &[]) })).await.expect("let in");
}

#[tokio::test]
async fn a_second_connect_to_the_same_namespace_ends_the_connection() {
    let hub = Hub::start();
    let mut client = SocketIoClient::login(&hub, "ann", "customer", &[]).await;
    client.at(ROOT).connect(json!({ "token": ann() })).await.expect("let in");
    client.send_connect(json!({ "token": ann() })).await;
    let ending = client.ending().await;
    for namespace in [EVENTS, ROOT] {
        assert_eq!(ending.announced(namespace), (1002, false));
    }
}

#[tokio::test]
async fn an_event_in_a_namespace_without_a_session_ends_the_connection() {
    let hub = Hub::start();
    for packet in
        ["42/events,[\"ping\"]", "42[\"ping\"]", "42/nowhere,[\"ping\"]", "41/events,", "41"]
    {
        let mut client = SocketIoClient::open(&hub).await;
        client.send_text(packet).await;
        let ending = client.ending().await;
        assert_eq!((ending.code, ending.said.len()), (None, 0), "{packet}: {ending:?}");
    }
    assert_eq!(closes(&hub, "protocol_error").await, 5);
    let mut client = SocketIoClient::login(&hub, "ann", "customer", &[]).await;
    client.send_text("42[\"ping\"]").await;
    assert_eq!(client.ending().await.announced(EVENTS), (1002, false), "in the other one");
}

/// How many connections the hub has ended for this reason.
async fn closes(hub: &Hub, reason: &str) -> u64 {
    let (_, stats) = hub.admin(reqwest::Method::GET, "/admin/v1/stats").await;
    stats["closes"][reason].as_u64().expect("a count")
}

/// A hub on which somebody must be in a namespace within this time.
const SOON: Duration = Duration::from_secs(1);

fn impatient() -> Hub {
    Hub::builder().env("CONNECT_TIMEOUT_MS", SOON.as_millis()).start()
}

#[tokio::test]
async fn an_unauthenticated_connection_is_closed_after_the_timeout() {
    let hub = impatient();
    let since = Instant::now();
    let mut silent = SocketIoClient::open(&hub).await;
    let mut refused = SocketIoClient::open(&hub).await;
    assert_eq!(refusal(refused.connect(json!({})).await), "unauthenticated");
    let mut used = SocketIoClient::login(&hub, "ann", "customer", &["o1"]).await;
    for client in [&mut silent, &mut refused] {
        let ending = client.ending().await;
        assert_eq!((ending.code, ending.said.len()), (None, 0), "{ending:?}");
    }
    assert!(since.elapsed() >= SOON, "{:?}", since.elapsed());
    assert_eq!(closes(&hub, "unauthenticated").await, 2);
    used.join("o1").await;
}

#[tokio::test]
async fn the_login_timeout_starts_again_when_the_last_session_disconnects() {
    let hub = impatient();
    let mut silent = SocketIoClient::open(&hub).await;
    let mut client = SocketIoClient::login(&hub, "ann", "customer", &["o1"]).await;
    client.at(ROOT).connect(json!({ "token": ann() })).await.expect("let in");
    silent.ending().await;
    client.at(ROOT).disconnect().await;
    client.at(EVENTS).join("o1").await;
    let since = Instant::now();
    client.at(EVENTS).disconnect().await;
    let ending = client.ending().await;
    assert_eq!((ending.code, ending.said.len()), (None, 0), "{ending:?}");
    assert_eq!(closes(&hub, "unauthenticated").await, 2);
    assert!(since.elapsed() >= SOON, "{:?}", since.elapsed());
}

#[tokio::test]
async fn unauthenticated_connections_cannot_use_up_max_connections() {
    // A quarter of the places.
    let hub = Hub::builder().env("MAX_CONNECTIONS", 400).start();
    let mut client = SocketIoClient::login(&hub, "ann", "customer", &["o1"]).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(SocketIoClient::open(&hub).await);
    }
    assert_eq!(polling::handshake(&hub).await.problem(), (503, "unavailable"));
    let websocket = UpgradeRequest::anonymous().path("/socket.io/?EIO=4&transport=websocket");
    assert_eq!(websocket.ask(&hub).await.problem(), (503, "unavailable"));
    // Those who have said it are not concerned,
    client.join("o1").await;
    hub.connect("bob", "driver", &["o1"]).await.join("o1").await;
    // and one who says it makes room for the next.
    let mut late = silent.pop().expect("one of them");
    late.connect(json!({ "token": ann() })).await.expect("let in");
    SocketIoClient::login(&hub, "eve", "customer", &["o1"]).await.join("o1").await;
}
