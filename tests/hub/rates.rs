//! Rates are the user's: over all connections, HTTP and reconnects. Who comes back with much is
//! slowed down, and who floods waits before the next login.

use std::time::{Duration, Instant};

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::support::back_end::{bulk, call};
use super::support::raw::{RawConnection, TEXT, UpgradeRequest, frame};
use super::support::socketio::SocketIoClient;
use super::support::{Client, Hub, claims, token};

/// How many positions and messages a phone has kept.
const KEPT: (u32, usize) = (150, 5);

fn chat(number: usize) -> Value {
    json!({ "orderId": "o1", "content": format!("word {number}"), "clientMsgId": format!("m{number}") })
}

/// A position that was taken so many seconds after noon, one day.
fn fix(secs: u32) -> Value {
    let recorded = format!("2026-01-01T12:{:02}:{:02}Z", secs / 60, secs % 60);
    json!({ "orderId": "o1", "lat": 45.0, "lng": lng(secs), "recordedAt": recorded })
}

/// The longitude of that position.
fn lng(secs: u32) -> f64 {
    f64::from(secs) / 64.0
}

/// All that a phone has kept, in the order in which it did: messages between positions.
fn kept() -> Vec<(&'static str, Value)> {
    let mut kept: Vec<_> = (0..KEPT.0).map(|secs| ("driver:location", fix(secs))).collect();
    for number in 0..KEPT.1 {
        kept.insert((number + 1) * 30, ("chat:message", chat(number)));
    }
    kept
}

/// How many messages the order has, and where its driver is.
async fn stored(hub: &Hub) -> (Value, Value) {
    let mut reader = hub.connect("reader", "customer", &["o1"]).await;
    let shown = reader.join("o1").await;
    (shown["lastSeq"].clone(), shown["lastLocation"]["lng"].clone())
}

async fn get(hub: &Hub, user: &str, role: &str) -> Response {
    let url = hub.url("/api/v1/orders/o1");
    let request = reqwest::Client::new().get(url).bearer_auth(token(user, role, &["o1"]));
    request.send().await.expect("an answer")
}

#[tokio::test]
async fn a_reconnect_does_not_reset_the_chat_rate() {
    let hub = Hub::builder().env("CHAT_PER_SECOND", 1).env("CHAT_BURST", 5).start();
    let began = Instant::now();
    for round in 0..8 {
        let mut client = hub.connect("ann", "customer", &["o1"]).await;
        for number in 0..20 {
            client.send("chat:message", chat(round * 100 + number)).await;
        }
        // Answered at once, and so are those messages before it that may be said now.
        let pinged = client.ask("ping", json!(null)).await;
        client.reply(pinged).await;
        client.close().await;
    }
    let said = stored(&hub).await.0.as_u64().expect("a number");
    let allowed = 5 + began.elapsed().as_secs() + 1;
    assert!((5..=allowed).contains(&said), "{said} messages, {allowed} are allowed");
}

#[tokio::test]
async fn sockets_and_http_have_one_rate() {
    let hub = Hub::builder().env("CHAT_PER_SECOND", 1).env("CHAT_BURST", 4).start();
    let mut one = hub.connect("ann", "customer", &["o1"]).await;
    let mut other = SocketIoClient::login(&hub, "ann", "customer", &["o1"]).await;
    for number in 0..2 {
        assert_eq!(one.request("chat:message", chat(number)).await["ok"], true);
        assert_eq!(other.request("chat:message", chat(10 + number)).await["ok"], true);
    }
    let url = hub.url("/api/v1/orders/o1/messages");
    let post = async |user: &str| {
        let request =
            reqwest::Client::new().post(&url).bearer_auth(token(user, "customer", &["o1"]));
        request.json(&json!({ "content": "x" })).send().await.expect("an answer")
    };
    let refused = post("ann").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(post("bob").await.status(), StatusCode::CREATED, "another user");
}

#[tokio::test]
async fn a_client_that_sends_all_that_it_kept_is_served_and_not_cut() {
    let hub = Hub::start();
    let mut client = hub.connect("dan", "driver", &["o1"]).await;
    let mut ids = Vec::new();
    for (event, data) in kept() {
        ids.push((event, client.ask(event, data).await));
    }
    check_kept(&hub, ids, async |id| client.reply(id).await).await;
    assert_eq!(client.drain("exception").await.len(), 0);
    assert_eq!(stored(&hub).await, (json!(KEPT.1), json!(lng(149))));
}

#[tokio::test]
async fn a_socketio_client_that_sends_its_offline_events_is_served_on_either_transport() {
    for polls in [false, true] {
        let hub = Hub::start();
        let token = token("dan", "driver", &["o1"]);
        let mut client = if polls {
            SocketIoClient::open_polling(&hub).await
        } else {
            SocketIoClient::open(&hub).await
        };
        client.connect(json!({ "token": token })).await.expect("let in");
        let kept = kept();
        let packets: Vec<_> = kept
            .iter()
            .zip(1000..)
            .map(|((event, data), id)| client.event_packet(Some(id), event, data))
            .collect();
        client.send_all(packets).await;
        let ids = kept.iter().map(|(event, _)| *event).zip(1000..).collect();
        check_kept(&hub, ids, async |id| client.reply(id).await).await;
        assert_eq!(client.drain("exception").await.len(), 0);
        assert_eq!(stored(&hub).await, (json!(KEPT.1), json!(lng(149))), "polls: {polls}");
    }
}

/// Every message has its number, in order; every position was taken, or was older than a newer one.
async fn check_kept(_: &Hub, ids: Vec<(&str, u64)>, mut reply: impl AsyncFnMut(u64) -> Value) {
    let (mut said, mut accepted) = (0, 0);
    for (event, id) in ids {
        let ack = reply(id).await;
        assert_eq!(ack["ok"], true, "{event}: {ack}");
        if event == "chat:message" {
            said += 1;
            assert_eq!(ack["seq"], said);
        } else {
            accepted += ack["accepted"].as_u64().expect("a number");
        }
    }
    assert!(accepted >= 1, "the newest at least");
}

#[tokio::test]
async fn chat_of_a_burst_comes_before_positions() {
    let hub = Hub::builder().env("EVENTS_PER_SECOND", 5).env("EVENTS_BURST", 1).start();
    let mut client = hub.connect("dan", "driver", &["o1", "o2", "o3"]).await;
    client.ask("ping", json!(null)).await;
    for order in ["o1", "o2", "o3"] {
        let fix = json!({ "orderId": order, "lat": 1, "lng": 2 });
        client.ask("driver:location", fix).await;
    }
    let said = client.ask("chat:message", chat(1)).await;
    let is_ack = |message: &Value| message["event"] == "ack";
    assert_eq!(client.find(is_ack).await["data"]["ok"], true, "the ping");
    assert_eq!(client.find(is_ack).await["id"], said);
}

#[tokio::test]
async fn a_flood_of_positions_is_slowed_down_and_the_newest_arrives() {
    let hub = Hub::start();
    let mut client = hub.connect("dan", "driver", &["o1"]).await;
    for secs in 0..2000 {
        client.send("driver:location", fix(secs)).await;
    }
    let last = client.ask("driver:location", fix(2000)).await;
    assert_eq!(client.reply(last).await, json!({ "ok": true, "accepted": 1 }));
    assert_eq!(client.drain("exception").await.len(), 0);
    assert_eq!(stored(&hub).await.1, json!(lng(2000)));
}

/// Floods as this user until it is cut.
async fn flood(hub: &Hub, user: &str) {
    let mut raw = RawConnection::login(hub, user, &["o1"]).await;
    raw.send_until_refused(&frame(TEXT, br#"{"event":"ping"}"#).repeat(2000)).await;
    assert_eq!(raw.ending().await.announced(), 4029);
}

#[tokio::test]
async fn a_user_closed_for_a_flood_waits_before_the_next_login() {
    let hub = Hub::builder().env("EVENTS_PER_SECOND", 1).env("EVENTS_BURST", 1);
    let hub = hub.env("LOGINS_PER_SECOND", 1).env("LOGINS_BURST", 2).start();
    flood(&hub, "ann").await;
    let began = Instant::now();
    let token = token("ann", "customer", &["o1"]);
    let refused = UpgradeRequest::bearer(&token).ask(&hub).await;
    assert_eq!(refused.problem(), (429, "rate_limited"));
    let wait: u64 = refused.header("retry-after").expect("a header").parse().expect("seconds");
    assert!((2..=10).contains(&wait), "{wait}");
    let (mut browser, answer) = UpgradeRequest::browser(&token).open(&hub).await;
    assert_eq!(answer.status, 101);
    let ending = browser.ending().await;
    assert_eq!(ending.announced(), 4029);
    let wait = ending.session_end()["reconnectAfterMs"].as_u64().expect("a time");
    assert!((1001..=10_000).contains(&wait), "not that of the rate, which it has not cost: {wait}");
    hub.connect("bob", "customer", &["o1"]).await.join("o1").await;
    // A stock client would take a refusal for final: it waits instead, and then is in.
    let mut io = SocketIoClient::open(&hub).await;
    io.connect(json!({ "token": token })).await.expect("let in after a while");
    assert!(began.elapsed() > Duration::from_secs(8), "{:?}", began.elapsed());
    io.join("o1").await;
    hub.connect_with(&token).await;
}

#[tokio::test]
async fn logins_have_a_rate_for_each_user() {
    let hub = Hub::builder().env("LOGINS_PER_SECOND", 1).env("LOGINS_BURST", 3).start();
    let ann = token("ann", "customer", &["o1"]);
    let mut first = hub.connect_with(&ann).await;
    for _ in 0..2 {
        let fresh = first.request("auth:refresh", json!({ "token": ann })).await;
        assert_eq!(fresh["ok"], true, "{fresh}");
    }
    let refused = first.request("auth:refresh", json!({ "token": ann })).await;
    assert_eq!(refused["error"]["code"], "rate_limited");
    let refused = UpgradeRequest::bearer(&ann).ask(&hub).await;
    assert_eq!(
        (refused.problem(), refused.header("retry-after")),
        ((429, "rate_limited"), Some("1"))
    );
    let mut io = SocketIoClient::open(&hub).await;
    io.connect(json!({ "token": token("bob", "customer", &["o1"]) })).await.expect("another user");
    first.join("o1").await;
}

#[tokio::test]
async fn a_login_by_socket_io_waits_for_its_rate_and_is_refused_in_the_end() {
    let hub = Hub::builder().env("LOGINS_PER_SECOND", 1).env("LOGINS_BURST", 1).start();
    let ann = token("ann", "customer", &["o1"]);
    hub.connect_with(&ann).await;
    // A stock client would take a refusal for final.
    let mut io = SocketIoClient::open(&hub).await;
    io.connect(json!({ "token": ann })).await.expect("let in after a while");
    io.join("o1").await;
    let mut all = Vec::new();
    for _ in 0..10 {
        let mut io = SocketIoClient::open(&hub).await;
        io.send_connect(json!({ "token": ann })).await;
        all.push(io);
    }
    let mut refused = Vec::new();
    for mut io in all {
        refused.extend(io.connected().await.err());
    }
    assert!((1..10).contains(&refused.len()), "{refused:?}");
    for refusal in refused {
        assert_eq!(refusal["data"]["code"], "rate_limited");
        let wait = refusal["data"]["retryAfterMs"].as_u64();
        // A turn is a second; a login that reads the clock before another takes one waits longer.
        assert!(wait.is_some_and(|ms| (1..=2000).contains(&ms)), "{wait:?}");
    }
}

#[tokio::test]
async fn events_sent_before_a_namespace_disconnect_are_handled() {
    let hub = Hub::builder().env("EVENTS_PER_SECOND", 10).env("EVENTS_BURST", 1).start();
    let mut client = SocketIoClient::login(&hub, "ann", "customer", &["o1"]).await;
    for number in 0..5 {
        client.send("chat:message", chat(number)).await;
    }
    client.disconnect().await;
    // Then it is out, and may come in again on the same connection.
    client.connect(json!({ "token": token("ann", "customer", &["o1"]) })).await.expect("let in");
    assert_eq!(stored(&hub).await.0, 5);
}

#[tokio::test]
async fn a_desk_that_joins_seven_hundred_orders_at_once_waits_and_is_not_cut() {
    const ORDERS: usize = 700;
    let hub = Hub::builder().env("JOINS_PER_SECOND", 200).env("JOINS_BURST", 50).start();
    let lines: Vec<_> = (0..ORDERS).map(|number| format!(r#"{{"orderId":"d{number}"}}"#)).collect();
    bulk(&hub, &lines.join("\n")).await;
    let mut desk = hub.connect("sue", "support", &[]).await;
    let mut joins = Vec::new();
    for number in 0..ORDERS {
        joins.push(desk.ask("order:join", json!({ "orderId": format!("d{number}") })).await);
    }
    for join in joins {
        let ack = desk.reply(join).await;
        assert_eq!(ack["ok"], true, "{ack}");
    }
    assert_eq!(desk.drain("exception").await.len(), 0);
}

#[tokio::test]
async fn bad_tokens_cost_their_user_no_login() {
    let hub = Hub::builder().env("LOGINS_PER_SECOND", 1).env("LOGINS_BURST", 1).start();
    let old = claims(json!({ "sub": "ann", "exp": 1_000_000_000 }));
    for _ in 0..5 {
        assert_eq!(UpgradeRequest::bearer(&old).ask(&hub).await.status, 401);
    }
    hub.connect("ann", "customer", &["o1"]).await.join("o1").await;
}

#[tokio::test]
async fn three_devices_and_a_desk_with_two_hundred_orders_start_at_once() {
    let hub = Hub::start();
    let mut phones = Vec::new();
    for _ in 0..3 {
        let mut phone = hub.connect("ann", "customer", &["o1", "o2", "o3"]).await;
        for order in ["o1", "o2", "o3"] {
            let join = phone.ask("order:join", json!({ "orderId": order })).await;
            let read = phone.ask("chat:read", json!({ "orderId": order, "seq": 0 })).await;
            phones.extend([phone.reply(join).await, phone.reply(read).await]);
        }
    }
    assert!(phones.iter().all(|ack| ack["ok"] == true), "{phones:?}");
    let mut desk: Client = hub.connect("sue", "admin", &[]).await;
    for number in 0..200 {
        let body = json!({ "status": "NEW" });
        call(&hub, Method::PUT, &format!("/orders/d{number}"), body).await;
    }
    let began = Instant::now();
    let mut joins = Vec::new();
    for number in 0..200 {
        joins.push(desk.ask("order:join", json!({ "orderId": format!("d{number}") })).await);
    }
    for join in joins {
        let ack = desk.reply(join).await;
        assert_eq!(ack["ok"], true, "{ack}");
    }
    // At twenty a second they would take eight seconds and more.
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
}

#[tokio::test]
async fn reads_by_http_have_a_rate_for_each_user_and_none_for_back_ends() {
    let hub = Hub::builder().env("READS_PER_SECOND", 1).env("READS_BURST", 3).start();
    let body = json!({ "status": "NEW" });
    assert_eq!(call(&hub, Method::PUT, "/orders/o1", body).await.0, 201);
    for _ in 0..3 {
        assert_eq!(get(&hub, "ann", "customer").await.status(), StatusCode::OK);
    }
    for path in ["", "/messages", "/locations"] {
        let url = hub.url(&format!("/api/v1/orders/o1{path}"));
        let request =
            reqwest::Client::new().get(url).bearer_auth(token("ann", "customer", &["o1"]));
        let refused = request.send().await.expect("an answer");
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
        assert_eq!(refused.headers()["retry-after"], "1");
    }
    assert_eq!(get(&hub, "bob", "customer").await.status(), StatusCode::OK, "another user");
    for _ in 0..10 {
        assert_eq!(get(&hub, "ann", "service").await.status(), StatusCode::OK);
        assert_eq!(get(&hub, "ann", "admin").await.status(), StatusCode::OK);
    }
}
