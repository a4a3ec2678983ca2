//! What is not resumed: sessions that are over, expired or of another user, and rooms that their user
//! may not be in any more.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::back_end::call;
use super::support::resume::{ann, at, cut, joined, until_open};
use super::support::rooms::{code, say};
use super::support::socketio::{RecoveryState, SocketIoClient};
use super::support::{Database, Hub, each_database, token, until};

/// That the client is nobody whom the hub knew, and in no room.
async fn is_new(client: &mut SocketIoClient, before: &RecoveryState) {
    assert!(!client.memory().recovered);
    assert_ne!(client.memory().sid, before.sid);
    assert_ne!(client.memory().pid, before.pid);
    assert_eq!(client.drain("chat:message").await, [] as [Value; 0]);
    for order in ["o1", "o2"] {
        let left = client.request("order:leave", json!({ "orderId": order })).await;
        assert_eq!(code(&left), "not_joined");
    }
}

/// The payload of the reply to CONNECT, and the number of arguments of a chat event.
async fn unresumable(hub: &Hub, auth: Value) -> (Value, Option<usize>) {
    let mut client = SocketIoClient::open(hub).await;
    let welcome = client.connect(auth).await.expect("let in");
    client.join("o1").await;
    client.say("o1", "hello").await;
    let chat = client.find(|packet| packet.is_event("chat:message")).await;
    (welcome, chat.payload.as_array().map(Vec::len))
}

#[tokio::test]
async fn with_resume_secs_0_a_session_gets_no_pid_and_no_offsets() {
    let hub = Hub::builder().env("RESUME_SECS", 0).start();
    let (welcome, arguments) = unresumable(&hub, json!({ "token": ann() })).await;
    assert_eq!((&welcome["pid"], arguments), (&Value::Null, Some(2)), "{welcome}");
    assert!(welcome["sid"].is_string());
}

#[tokio::test]
async fn a_client_that_sends_resume_false_gets_no_pid_and_no_offsets() {
    let hub = Hub::start();
    let auth = json!({ "token": ann(), "resume": false });
    let (welcome, arguments) = unresumable(&hub, auth).await;
    assert_eq!((&welcome["pid"], arguments), (&Value::Null, Some(2)), "{welcome}");
    let (welcome, arguments) = unresumable(&hub, json!({ "token": ann(), "resume": true })).await;
    assert_eq!((welcome["pid"].is_string(), arguments), (true, Some(3)), "{welcome}");
}

#[tokio::test]
async fn a_session_that_was_disconnected_cannot_be_resumed() {
    let hub = Hub::without_rates();
    let (mut client, mut talker) = joined(&hub).await;
    let before = client.memory().clone();
    client.disconnect().await;
    talker.expect("presence:left").await;
    say(&mut talker, "o1", "meanwhile").await;
    drop(client);
    is_new(&mut SocketIoClient::again(&hub, &ann(), &before).await, &before).await;
}

#[tokio::test]
async fn an_invalid_pid_starts_a_new_session() {
    let hub = Hub::without_rates();
    let (client, _talker) = joined(&hub).await;
    let before = cut(&hub, client).await;
    for pid in ["", "x", "AAAAAAAAAAAAAAAAAAAAAAAA", &"é".repeat(1000)] {
        let mut client = SocketIoClient::open(&hub).await;
        let auth = json!({ "token": ann(), "pid": pid, "offset": before.offset });
        client.connect(auth).await.expect("let in");
        is_new(&mut client, &before).await;
    }
}

#[tokio::test]
async fn a_session_record_expires_after_resume_secs() {
    let hub = Hub::builder().without_rates().env("RESUME_SECS", 1).start();
    let (client, _talker) = joined(&hub).await;
    let kept = async || {
        let metrics = reqwest::get(hub.url("/metrics")).await.expect("metrics").text().await;
        let metrics = metrics.expect("text");
        let mut lines = metrics.lines();
        lines.find_map(|line| line.strip_prefix("orderhub_resumable_sessions ")).map(str::to_owned)
    };
    assert_eq!(kept().await.as_deref(), Some("0"));
    let before = client.cut();
    until_open(&hub, 1).await;
    until("the session to expire", async || kept().await.as_deref() == Some("0")).await;
    // Forgotten it may be only after its time; a look before that would have taken it.
    is_new(&mut SocketIoClient::again(&hub, &ann(), &before).await, &before).await;
}

#[tokio::test]
async fn another_user_cannot_resume_or_end_a_session() {
    let hub = Hub::without_rates();
    let (client, mut talker) = joined(&hub).await;
    let bob = token("bob", "customer", &["o1", "o2"]);
    let before = client.memory().clone();
    // While she is there, and while she is away.
    is_new(&mut SocketIoClient::again(&hub, &bob, &before).await, &before).await;
    let before = {
        until_open(&hub, 2).await;
        cut(&hub, client).await
    };
    is_new(&mut SocketIoClient::again(&hub, &bob, &before).await, &before).await;
    say(&mut talker, "o1", "meanwhile").await;
    let mut client = SocketIoClient::again(&hub, &ann(), &before).await;
    assert!(client.memory().recovered);
    assert_eq!(client.hear(1).await, [at("o1", 2)]);
}

/// That a client which comes back with this token is in `o2` only, has all of that, hears why, and
/// knows that it missed something.
async fn only_o2(
    hub: &Hub,
    token: &str,
    before: &RecoveryState,
    talker: &mut super::support::Client,
) {
    for order in ["o1", "o2", "o1"] {
        say(talker, order, "meanwhile").await;
    }
    let mut client = SocketIoClient::again(hub, token, before).await;
    assert!(!client.memory().recovered);
    assert_ne!((&client.memory().sid, &client.memory().pid), (&before.sid, &before.pid));
    let left = client.expect("order:left").await;
    assert_eq!(left, json!({ "orderId": "o1", "reason": "removed" }));
    assert_eq!(client.hear(1).await, [at("o2", 2)]);
    for order in ["o1", "o2"] {
        say(talker, order, "now").await;
    }
    assert_eq!(client.hear(1).await, [at("o2", 3)]);
    for event in ["chat:message", "order:left", "order:joined"] {
        assert_eq!(client.drain(event).await, [] as [Value; 0], "{event}");
    }
    let refused = client.request("order:join", json!({ "orderId": "o1" })).await;
    assert_eq!(code(&refused), "forbidden");
    let left = client.request("order:leave", json!({ "orderId": "o2" })).await;
    assert_eq!(left["remaining"], 0);
}

#[tokio::test]
async fn a_resume_leaves_a_room_that_an_admin_removed_the_user_from() {
    let hub = Hub::without_rates();
    let (client, mut talker) = joined(&hub).await;
    let before = cut(&hub, client).await;
    let path = "/admin/v1/rooms/o1/members/ann";
    assert_eq!(hub.admin(Method::DELETE, path).await.0, 200);
    only_o2(&hub, &ann(), &before, &mut talker).await;
}

#[tokio::test]
async fn a_resume_leaves_a_room_that_the_new_token_does_not_name() {
    let hub = Hub::without_rates();
    let (client, mut talker) = joined(&hub).await;
    let before = cut(&hub, client).await;
    only_o2(&hub, &token("ann", "customer", &["o2"]), &before, &mut talker).await;
}

#[tokio::test]
async fn a_resume_leaves_a_room_that_a_back_end_removed_the_user_from_even_if_the_token_names_it() {
    each_database(async |database: Database| {
        let hub = database.hub().without_rates().start();
        let (client, mut talker) = joined(&hub).await;
        let before = cut(&hub, client).await;
        let path = "/orders/o1/participants/ann";
        for (method, body) in
            [(Method::PUT, json!({ "role": "customer" })), (Method::DELETE, Value::Null)]
        {
            assert_eq!(call(&hub, method, path, body).await.0, 200);
        }
        assert_eq!(talker.expect("presence:left").await["userId"], "ann");
        only_o2(&hub, &ann(), &before, &mut talker).await;
    })
    .await;
}

#[tokio::test]
async fn a_resume_leaves_the_room_of_a_deleted_order() {
    let hub = Hub::without_rates();
    let (client, _talker) = joined(&hub).await;
    let before = cut(&hub, client).await;
    assert_eq!(call(&hub, Method::DELETE, "/orders/o1", Value::Null).await.0, 200);
    let mut client = SocketIoClient::again(&hub, &ann(), &before).await;
    assert!(!client.memory().recovered);
    assert_eq!(client.expect("order:left").await["orderId"], "o1");
    assert_eq!(client.request("order:leave", json!({ "orderId": "o2" })).await["remaining"], 0);
}

#[tokio::test]
async fn an_unconfirmed_removal_is_sent_again_after_a_resume() {
    let hub = Hub::without_rates();
    let (mut client, mut talker) = joined(&hub).await;
    hub.admin(Method::DELETE, "/admin/v1/rooms/o1/members/ann").await;
    assert_eq!(client.expect("order:left").await["reason"], "removed");
    let before = cut(&hub, client).await;
    for order in ["o1", "o2"] {
        say(&mut talker, order, "meanwhile").await;
    }
    let mut client = SocketIoClient::again(&hub, &ann(), &before).await;
    assert!(!client.memory().recovered, "no pong has said that it heard");
    let left = client.expect("order:left").await;
    assert_eq!((&left["orderId"], &left["reason"]), (&json!("o1"), &json!("removed")));
    assert_eq!(client.hear(1).await, [at("o2", 2)]);
    assert_eq!(client.drain("chat:message").await, [] as [Value; 0]);
    assert_eq!(client.drain("order:left").await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_confirmed_removal_is_not_sent_again() {
    let hub = Hub::builder()
        .without_rates()
        .env("PING_INTERVAL_MS", 1000)
        .env("PONG_TIMEOUT_MS", 1000)
        .start();
    let (mut client, _) = joined(&hub).await;
    hub.admin(Method::DELETE, "/admin/v1/rooms/o1/members/ann").await;
    assert_eq!(client.expect("order:left").await["reason"], "removed");
    // The second ping from here on was sent behind the removal.
    let answered = client.answered;
    while client.answered < answered + 2 {
        client.drain("nothing").await;
    }
    client.drain("nothing").await;
    let before = cut(&hub, client).await;
    let mut talker = hub.connect("dan", "driver", &["o2"]).await;
    say(&mut talker, "o2", "meanwhile").await;
    let mut client = SocketIoClient::again(&hub, &ann(), &before).await;
    assert!(client.memory().recovered, "of what it had it missed nothing");
    assert_eq!(client.hear(1).await, [at("o2", 2)]);
    assert_eq!(client.drain("order:left").await, [] as [Value; 0]);
}
