//! How the hub ends Socket.IO connections: those that should stay away are told so by a DISCONNECT,
//! the others only lose the connection, and come back by themselves.

use protocol::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::raw::{self, RawConnection, TEXT, UpgradeRequest};
use super::support::resume::until_open;
use super::support::rooms::say;
use super::support::socketio::{EVENTS, ROOT, SocketIoClient};
use super::support::{Hub, Packet, claims, token};

/// A client in both namespaces, with a token for each.
async fn in_both(hub: &Hub, root: &str, events: &str) -> SocketIoClient {
    let mut client = SocketIoClient::open(hub).await;
    client.at(ROOT).connect(json!({ "token": root })).await.expect("let in");
    client.at(EVENTS).connect(json!({ "token": events })).await.expect("let in");
    client
}

/// The data of the last `session:end` that came.
fn session_end(said: &[Packet]) -> &Value {
    let end = said.iter().rev().find(|packet| packet.is_event("session:end"));
    end.expect("a session:end").data()
}

/// A client on Socket.IO that sees every byte.
async fn raw_login(hub: &Hub) -> RawConnection {
    let websocket = UpgradeRequest::anonymous().path("/socket.io/?EIO=4&transport=websocket");
    let (mut raw, answer) = websocket.open(hub).await;
    assert_eq!(answer.status, 101);
    let connect = format!("40/events,{}", json!({ "token": token("ann", "customer", &["o1"]) }));
    raw.send(&raw::frame(TEXT, connect.as_bytes())).await;
    while !raw_text(&mut raw).await.expect("let in").starts_with("40/events,") {}
    raw
}

/// The next message; none at the end of TCP. A close frame is none.
async fn raw_text(raw: &mut RawConnection) -> Option<String> {
    let (kind, payload) = raw.frame().await?;
    assert_eq!(kind, TEXT, "{payload:?}");
    Some(String::from_utf8(payload).expect("text"))
}

#[tokio::test]
async fn tcp_ends_behind_session_end_without_a_close_frame_where_the_client_may_come_back() {
    let mut hub = Hub::start();
    for cause in ["1009", "1012"] {
        let mut raw = raw_login(&hub).await;
        match cause {
            "1009" => raw.send(&raw::header(TEXT, 70_000)).await,
            _ => hub.signal("TERM"),
        }
        let mut said = Vec::new();
        while let Some(text) = raw_text(&mut raw).await {
            said.push(text);
        }
        let end = format!("42/events,[\"session:end\",{{\"code\":{cause},");
        assert!(said.last().is_some_and(|last| last.starts_with(&end)), "{said:?}");
        // As a stock client does. It sends no close frame either.
        drop(raw);
        if cause == "1009" {
            until_open(&hub, 0).await;
        }
    }
    assert_eq!(hub.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_event_with_a_reserved_name_ends_the_connection() {
    let hub = Hub::start();
    for name in
        ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]
    {
        let mut client = SocketIoClient::login(&hub, "ann", "customer", &[]).await;
        client.send(name, json!({})).await;
        let ending = client.ending().await;
        assert_eq!(ending.announced(EVENTS), (1002, false), "{name}");
        assert_eq!(session_end(&ending.said)["retry"], false);
    }
}

#[tokio::test]
async fn ten_events_without_a_name_end_the_connection_for_good() {
    let hub = Hub::start();
    let mut client = SocketIoClient::login(&hub, "ann", "customer", &["o1"]).await;
    for number in 0..9 {
        let nameless = ["42/events,[]", "42/events,[{}]", "42/events,[7]"][number % 3];
        client.send_text(nameless).await;
        let exception = client.expect("exception").await;
        assert_eq!(exception["code"], "bad_envelope", "{nameless}");
        assert_eq!((&exception["event"], &exception["cause"]), (&Value::Null, &Value::Null));
    }
    client.join("o1").await;
    // One of them may be forgiven meanwhile.
    client.send_all((0..5).map(|_| "42/events,7[]".to_owned())).await;
    let ending = client.ending().await;
    assert_eq!(ending.announced(EVENTS), (4000, true));
    assert_eq!(session_end(&ending.said)["reason"], "bad_envelopes");
    assert_eq!(ending.said[0].payload[0]["error"]["code"], "bad_envelope", "{ending:?}");
}

#[tokio::test]
async fn a_user_whom_an_admin_removes_gets_4403_and_a_disconnect_packet() {
    let hub = Hub::start();
    let ann = token("ann", "customer", &["o1"]);
    let mut client = in_both(&hub, &ann, &ann).await;
    let mut polite = SocketIoClient::login(&hub, "bob", "customer", &["o1"]).await;
    polite.join("o1").await;
    client.join("o1").await;
    polite.drain("presence:joined").await;
    let path = "/admin/v1/users/ann/sessions?reason=rude";
    assert_eq!(hub.admin(Method::DELETE, path).await.0, 200);
    let ending = client.ending().await;
    for namespace in [ROOT, EVENTS] {
        assert_eq!(ending.announced(namespace), (4403, true), "{namespace}");
    }
    let end = session_end(&ending.said);
    assert_eq!((&end["reason"], &end["retry"]), (&json!("rude"), &json!(false)));
    assert_eq!(polite.expect("presence:left").await["userId"], "ann", "at once");
    // And cannot come back by what it had.
    let memory = client.memory().clone();
    let mut again = SocketIoClient::open(&hub).await;
    let auth = json!({ "token": ann, "pid": memory.pid });
    assert_eq!(again.connect(auth).await.expect_err("refused")["data"]["code"], "forbidden");
}

#[tokio::test]
async fn a_session_with_an_expired_token_is_closed_with_4401_and_resumes_with_a_new_token() {
    let hub = Hub::builder().env("JWT_LEEWAY_SECS", 0).start();
    let exp = Timestamp::now().as_millis() / 1000 + 3;
    let short = claims(json!({ "sub": "ann", "orders": ["o1"], "exp": exp }));
    let mut client = SocketIoClient::open(&hub).await;
    client.connect(json!({ "token": short })).await.expect("let in");
    client.join("o1").await;
    let ending = client.ending().await;
    assert!(Timestamp::now().as_millis() >= exp * 1000, "not before its time");
    assert_eq!(ending.announced(EVENTS), (4401, false));
    let end = session_end(&ending.said);
    assert_eq!((&end["reason"], &end["retry"]), (&json!("token_expired"), &json!(true)));
    assert!(ending.said.iter().any(|packet| packet.is_event("auth:expiring")), "{ending:?}");
    let memory = client.cut();
    let again = SocketIoClient::again(&hub, &token("ann", "customer", &["o1"]), &memory).await;
    assert!(again.memory().recovered);
    assert_eq!(again.memory().sid, memory.sid);
}

#[tokio::test]
async fn another_user_of_a_removed_users_connection_may_reconnect() {
    let hub = Hub::start();
    let (ann, bob) = (token("ann", "customer", &["o1"]), token("bob", "customer", &["o1"]));
    let mut watcher = hub.connect("watcher", "customer", &["o1"]).await;
    watcher.join("o1").await;
    let mut client = in_both(&hub, &ann, &bob).await;
    client.at(ROOT).join("o1").await;
    client.at(EVENTS).join("o1").await;
    for user in ["ann", "bob"] {
        assert_eq!(watcher.expect("presence:joined").await["userId"], user);
    }
    assert_eq!(hub.admin(Method::DELETE, "/admin/v1/users/ann/sessions").await.0, 200);
    let ending = client.ending().await;
    assert_eq!((ending.told(ROOT), ending.code), ((4403, true), None));
    let bobs: Vec<_> = ending.said.iter().filter(|packet| packet.namespace == EVENTS).collect();
    assert!(bobs.iter().all(|packet| packet.is_event("presence:joined")), "{bobs:?}");
    // Bob's comes back by itself, and nobody notices.
    assert_eq!(watcher.expect("presence:left").await["userId"], "ann");
    let memory = client.cut();
    let mut again = SocketIoClient::again(&hub, &bob, &memory).await;
    assert!(again.memory().recovered);
    say(&mut watcher, "o1", "there you are").await;
    assert_eq!(again.hear(1).await, [("o1".to_owned(), 1)]);
    assert_eq!(watcher.drain("presence:left").await.len(), 0);
    assert_eq!(watcher.drain("presence:joined").await.len(), 0);
}

#[tokio::test]
async fn the_oldest_connection_is_closed_with_4409_for_a_newer_one() {
    let hub = Hub::builder().env("MAX_CONNECTIONS_PER_USER", 1).start();
    let mut first = SocketIoClient::login(&hub, "ann", "customer", &["o1"]).await;
    let mut second = hub.connect("ann", "customer", &["o1"]).await;
    let ending = first.ending().await;
    assert_eq!(ending.announced(EVENTS), (4409, true));
    assert_eq!(session_end(&ending.said)["reason"], "replaced");
    second.join("o1").await;
}

#[tokio::test]
async fn a_flooding_socketio_client_is_closed_with_4029_and_may_reconnect() {
    let hub = Hub::builder().env("EVENTS_PER_SECOND", 1).env("EVENTS_BURST", 1).start();
    let mut client = SocketIoClient::login(&hub, "ann", "customer", &[]).await;
    client.send_all((0..1000).map(|_| "42/events,[\"ping\"]".to_owned())).await;
    let ending = client.ending().await;
    assert_eq!(ending.announced(EVENTS), (4029, false));
    let end = session_end(&ending.said);
    assert_eq!((&end["retry"], &end["reconnectAfterMs"]), (&json!(true), &json!(10_000)));
}
