//! What one client may cost: rates, rooms, silence, and reading slowly. Others never notice.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::support::raw::{PING, PONG, RawConnection, TEXT, frame};
use super::support::{Client, Hub, token};

fn say(content: &str) -> Value {
    json!({ "orderId": "o1", "content": content })
}

/// So many pings of the protocol, with the ids 1, 2, 3 …
fn pings(count: usize) -> Vec<u8> {
    let ping = |id| frame(TEXT, format!("{{\"event\":\"ping\",\"id\":{id}}}").as_bytes());
    (1..=count).flat_map(ping).collect()
}

/// Reads acks up to the one with this id.
async fn acks(raw: &mut RawConnection, last: usize) -> Vec<Value> {
    let mut acks = Vec::new();
    while acks.len() < last {
        let event = raw.event().await;
        if event["event"] == "ack" {
            acks.push(event["data"].clone());
        }
    }
    acks
}

/// Reads so many acks that refuse, whatever comes between them.
async fn refusals(raw: &mut RawConnection, count: usize) -> Vec<Value> {
    let mut refused = Vec::new();
    while refused.len() < count {
        let event = raw.event().await;
        if event["event"] == "ack" && event["data"]["ok"] == false {
            refused.push(event["data"].clone());
        }
    }
    refused
}

#[tokio::test]
async fn beyond_the_burst_an_event_waits_for_its_turn() {
    let hub = Hub::builder().env("EVENTS_PER_SECOND", 20).env("EVENTS_BURST", 3).start();
    let mut raw = RawConnection::login(&hub, "ann", &["o1"]).await;
    let began = Instant::now();
    raw.send(&pings(20)).await;
    let acks = acks(&mut raw, 20).await;
    assert!(acks.iter().all(|ack| ack["ok"] == true), "{acks:?}");
    assert!(began.elapsed() >= Duration::from_millis(17 * 50), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_event_beyond_the_backlog_is_refused_with_retry_after_ms() {
    let hub = Hub::builder().env("EVENTS_PER_SECOND", 1).env("EVENTS_BURST", 3).start();
    let mut raw = RawConnection::login(&hub, "ann", &["o1"]).await;
    raw.send(&pings(3 + 256 + 30)).await;
    let refused = refusals(&mut raw, 20).await;
    for ack in &refused {
        assert_eq!(ack["error"]["code"], "rate_limited");
        let wait = ack["error"]["retryAfterMs"].as_u64().expect("a time");
        assert!((1..=1000).contains(&wait), "{ack}");
    }
}

#[tokio::test]
async fn a_refusal_without_an_id_is_an_exception() {
    let hub = Hub::builder().env("EVENTS_PER_SECOND", 1).env("EVENTS_BURST", 1).start();
    let mut client = hub.connect("ann", "customer", &["o1"]).await;
    for _ in 0..280 {
        client.send("chat:read", json!({ "orderId": "o1", "seq": 1 })).await;
    }
    let exception = client.expect("exception").await;
    assert_eq!(exception["code"], "rate_limited");
    assert_eq!(exception["event"], "chat:read");
    assert!(exception["retryAfterMs"].as_u64().is_some_and(|ms| ms <= 1000), "{exception}");
}

#[tokio::test]
async fn chat_has_a_rate_of_its_own_which_holds_up_nothing_else() {
    let hub = Hub::builder().env("CHAT_PER_SECOND", 4).env("CHAT_BURST", 2).start();
    let mut client = hub.connect("ann", "customer", &["o1"]).await;
    let began = Instant::now();
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(client.ask("chat:message", say("hello")).await);
    }
    let pinged = client.ask("ping", json!(null)).await;
    let is_ack = |message: &Value| message["event"] == "ack";
    let mut acks = Vec::new();
    while acks.len() < 11 {
        acks.push(client.find(is_ack).await);
    }
    assert!(acks.iter().all(|ack| ack["data"]["ok"] == true), "{acks:?}");
    assert_ne!(acks.last().expect("one")["id"], pinged, "the ping overtook chat that waits");
    let said = acks.iter().filter(|ack| ack["id"] != pinged).map(|ack| &ack["data"]["seq"]);
    assert_eq!(said.cloned().collect::<Vec<_>>(), (1..=10).map(Value::from).collect::<Vec<_>>());
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_flooding_client_is_closed_with_reconnect_after_ms() {
    let hub = Hub::builder().env("EVENTS_PER_SECOND", 1).env("EVENTS_BURST", 1).start();
    let mut witness = hub.connect("ann", "customer", &["o1"]).await;
    let mut raw = RawConnection::login(&hub, "ann", &["o1"]).await;
    raw.send(&pings(256 + 90)).await;
    refusals(&mut raw, 80).await;
    // Some of the refused are forgiven meanwhile, five a second.
    raw.send_until_refused(&pings(500)).await;
    let ending = raw.ending().await;
    assert_eq!((ending.announced(), ending.reason.as_str()), (4029, "rate_limited"));
    let end = ending.session_end();
    assert_eq!((&end["retry"], &end["reconnectAfterMs"]), (&json!(true), &json!(10_000)));
    witness.join("o1").await;
}

#[tokio::test]
async fn pings_pongs_and_invalid_events_count_against_the_rate() {
    let hub = Hub::builder().env("EVENTS_PER_SECOND", 1).env("EVENTS_BURST", 1).start();
    let unknown = frame(TEXT, br#"{"event":"order:eat"}"#);
    let floods = [frame(PING, b"x"), frame(PONG, b""), unknown, frame(TEXT, b"hello")];
    for (number, flood) in floods.into_iter().enumerate() {
        // Each as another user: who was cut does not come in again at once.
        let mut raw = RawConnection::login(&hub, &format!("ann-{number}"), &["o1"]).await;
        raw.send_until_refused(&flood.repeat(1000)).await;
        assert_eq!(raw.ending().await.announced(), 4029);
    }
}

#[tokio::test]
async fn a_rate_of_0_is_no_limit() {
    let hub = Hub::builder().without_rates().start();
    let mut raw = RawConnection::login(&hub, "ann", &["o1"]).await;
    raw.send(&pings(1000)).await;
    assert!(acks(&mut raw, 1000).await.iter().all(|ack| ack["ok"] == true));
    let mut client = hub.connect("ann", "customer", &["o1"]).await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(client.ask("chat:message", say("x")).await);
    }
    for id in ids {
        assert_eq!(client.reply(id).await["ok"], true);
    }
}

/// A hub on which a connection may join two rooms, and a client that may join five.
async fn two_rooms() -> (Hub, Client) {
    let hub = Hub::builder().without_rates().env("MAX_ROOMS_PER_CONNECTION", 2).start();
    let client = hub.connect("ann", "customer", &["o1", "o2", "o3", "o4", "o5"]).await;
    (hub, client)
}

async fn join_code(client: &mut Client, order: &str) -> Value {
    client.request("order:join", json!({ "orderId": order })).await["error"]["code"].take()
}

#[tokio::test]
async fn one_room_too_many_is_refused_until_another_is_left() {
    let (_hub, mut client) = two_rooms().await;
    client.join("o1").await;
    client.join("o2").await;
    client.join("o2").await;
    assert_eq!(join_code(&mut client, "o3").await, "too_many_rooms");
    let left = client.request("order:leave", json!({ "orderId": "o1" })).await;
    assert_eq!(left, json!({ "ok": true, "remaining": 0 }));
    client.join("o3").await;
    assert_eq!(join_code(&mut client, "o1").await, "too_many_rooms");
}

#[tokio::test]
async fn joins_that_come_together_are_counted_together() {
    let (_hub, mut client) = two_rooms().await;
    let mut ids = Vec::new();
    for order in ["o1", "o2", "o3", "o4", "o5"] {
        ids.push(client.ask("order:join", json!({ "orderId": order })).await);
    }
    let mut joined = 0;
    for id in ids {
        joined += usize::from(client.reply(id).await["ok"] == true);
    }
    assert_eq!(joined, 2);
}

#[tokio::test]
async fn a_room_that_was_only_sent_to_counts_against_the_room_limit_when_joined() {
    let (_hub, mut client) = two_rooms().await;
    let orders = ["o1", "o2", "o3", "o4", "o5"];
    for order in orders {
        let said = json!({ "orderId": order, "content": "x" });
        assert_eq!(client.request("chat:message", said).await["ok"], true);
    }
    let mut ids = Vec::new();
    for order in orders {
        ids.push(client.ask("order:join", json!({ "orderId": order })).await);
    }
    let mut joined = 0;
    for id in ids {
        let reply = client.reply(id).await;
        joined += usize::from(reply["ok"] == true);
        assert!(reply["ok"] == true || reply["error"]["code"] == "too_many_rooms", "{reply}");
    }
    assert_eq!(joined, 2);
    // A place that was refused is not lost for sending, and one that is left is free again.
    let said = json!({ "orderId": "o5", "content": "x" });
    assert_eq!(client.request("chat:message", said).await["ok"], true);
    client.request("order:leave", json!({ "orderId": "o1" })).await;
    client.join("o5").await;
}

#[tokio::test]
async fn staff_may_be_in_as_many_rooms_as_they_like() {
    let (hub, mut client) = two_rooms().await;
    let orders = ["o1", "o2", "o3", "o4", "o5"];
    for order in orders {
        let said = json!({ "orderId": order, "content": "x" });
        assert_eq!(client.request("chat:message", said).await["ok"], true);
    }
    let mut support = hub.connect("sue", "support", &[]).await;
    for order in orders {
        support.join(order).await;
    }
}

#[tokio::test]
async fn a_client_without_pongs_is_closed_and_one_with_pongs_stays() {
    let hub = Hub::builder().env("PING_INTERVAL_MS", 1000).env("PONG_TIMEOUT_MS", 1000).start();
    let mut silent = RawConnection::login(&hub, "ann", &["o1"]).await;
    let mut alive = RawConnection::login(&hub, "bob", &["o1"]).await;
    let mut pinged = 0;
    let answering = async {
        // The third ping comes after the end of the silent one.
        while pinged < 3 {
            let (first, payload) = alive.frame().await.expect("an open connection");
            assert_eq!(first, PING);
            alive.send(&frame(PONG, &payload)).await;
            pinged += 1;
        }
    };
    let (ending, ()) = tokio::join!(silent.ending(), answering);
    assert_eq!((ending.announced(), ending.reason.as_str()), (4009, "no_pong"));
    assert_eq!(ending.session_end()["retry"], true);
    alive.join("o1").await;
}

#[tokio::test]
async fn a_pong_of_any_content_or_any_event_is_a_sign_of_life() {
    let hub = Hub::builder().env("PING_INTERVAL_MS", 1000).env("PONG_TIMEOUT_MS", 1000).start();
    let signs = [frame(PONG, b"unasked"), pings(1), frame(PING, b"")].map(async |sign| {
        let mut raw = RawConnection::login(&hub, "ann", &["o1"]).await;
        for _ in 0..3 {
            while raw.frame().await.expect("an open connection").0 != PING {}
            raw.send(&sign).await;
        }
        raw.join("o1").await;
    });
    futures_util::future::join_all(signs).await;
}

/// What waits for a user in the room o1, in frames; none where the user is not there.
async fn backlog(hub: &Hub, user: &str) -> Option<u64> {
    let (status, room) = hub.admin(Method::GET, "/admin/v1/rooms/o1").await;
    assert_eq!(status, 200);
    let sessions = room["sessionsDetail"].as_array().expect("sessions");
    let session = sessions.iter().find(|session| session["userId"] == user);
    session.map(|session| session["backlogFrames"].as_u64().expect("a number"))
}

/// A driver, a customer, and somebody who does not read, all in the room o1.
async fn with_a_slow_reader(hub: &Hub) -> (Client, Client, RawConnection) {
    let slow = RawConnection::connect_narrow(hub.addr).await;
    let mut slow = slow.logged_in(&token("slow", "customer", &["o1"])).await;
    slow.join("o1").await;
    let mut driver = hub.connect("dan", "driver", &["o1"]).await;
    driver.join("o1").await;
    let mut witness = hub.connect("ann", "customer", &["o1"]).await;
    witness.join("o1").await;
    (driver, witness, slow)
}

/// The longest message.
fn long() -> Value {
    say(&"🚚".repeat(4000))
}

/// The rest of the room's messages behind `since`, by a snapshot and then by pages.
async fn caught_up(client: &mut Client, since: i64) -> Vec<i64> {
    let join = json!({ "orderId": "o1", "sinceSeq": since });
    let snapshot = client.request("order:join", join).await;
    let last = snapshot["lastSeq"].as_i64().expect("a seq");
    let mut seqs: Vec<i64> = vec![];
    let add = |seqs: &mut Vec<i64>, messages: &Value| {
        let messages = messages.as_array().expect("messages");
        seqs.extend(messages.iter().map(|message| message["seq"].as_i64().expect("a seq")));
    };
    if snapshot["recovered"] == true {
        add(&mut seqs, &snapshot["messages"]);
    }
    while seqs.last().copied().unwrap_or(since) < last {
        let after = seqs.last().copied().unwrap_or(since);
        let ask = json!({ "orderId": "o1", "afterSeq": after });
        let page = client.request("chat:history", ask).await;
        add(&mut seqs, &page["messages"]);
        assert!(seqs.last().copied().unwrap_or(since) > after, "{page}");
    }
    seqs
}

#[tokio::test]
async fn a_slow_reader_is_closed_and_loses_no_chat() {
    let hub = Hub::builder()
        .without_rates()
        .env("OUTBOX_MESSAGES", 16)
        .env("PRESENCE_GRACE_SECS", 0)
        .start();
    let (mut driver, mut witness, mut slow) = with_a_slow_reader(&hub).await;
    let mut said = 0;
    // Whoever is cut for being slow is gone from the room.
    while !witness.seen.iter().any(|event| event["event"] == "presence:left") {
        assert!(said < 1000, "the hub keeps everything for somebody who does not read");
        assert_eq!(driver.request("chat:message", long()).await["ok"], true);
        said += 1;
        assert_eq!(witness.expect("chat:message").await["seq"], said);
    }
    let ending = slow.ending().await;
    assert_eq!((ending.announced(), ending.reason.as_str()), (4008, "slow_reader"));
    assert_eq!(ending.session_end()["retry"], true);
    let chats = ending.said.iter().filter(|event| event["event"] == "chat:message");
    let mut seqs: Vec<_> = chats.filter_map(|event| event["data"]["seq"].as_i64()).collect();

    assert_eq!(driver.request("chat:message", say("meanwhile")).await["ok"], true);
    let mut back = hub.connect("slow", "customer", &["o1"]).await;
    let rest = caught_up(&mut back, seqs.last().copied().unwrap_or(0)).await;
    seqs.extend(rest);
    assert_eq!(seqs, (1..=said + 1).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(driver.request("chat:message", say("welcome back")).await["ok"], true);
    assert_eq!(back.expect("chat:message").await["seq"], said + 2);
}

#[tokio::test]
async fn positions_never_cut_a_slow_reader_and_the_newest_arrives() {
    let hub = Hub::builder().without_rates().env("OUTBOX_MESSAGES", 64).start();
    let (mut driver, mut witness, mut slow) = with_a_slow_reader(&hub).await;
    let mut said = 0;
    while backlog(&hub, "slow").await == Some(0) {
        assert!(said < 1000, "the kernel keeps everything for somebody who does not read");
        assert_eq!(driver.request("chat:message", long()).await["ok"], true);
        said += 1;
        witness.expect("chat:message").await;
    }
    let waiting = backlog(&hub, "slow").await.expect("not cut");
    for lng in 1..=150 {
        let fix = json!({ "orderId": "o1", "lat": 1, "lng": lng });
        assert_eq!(driver.request("driver:location", fix).await["accepted"], 1);
        assert_eq!(witness.expect("location:updated").await["lng"].as_f64(), Some(f64::from(lng)));
    }
    // One of them waits; another where a part of it had left already.
    let now_waiting = backlog(&hub, "slow").await.expect("not cut");
    assert!(now_waiting <= waiting + 2, "{now_waiting} frames wait, {waiting} before");
    let (mut heard, mut positions) = (0, vec![]);
    while positions.last() != Some(&150.0) {
        let event = slow.event().await;
        heard += i32::from(event["event"] == "chat:message");
        if event["event"] == "location:updated" {
            positions.push(event["data"]["lng"].as_f64().expect("a number"));
        }
    }
    assert_eq!(heard, said, "no chat is dropped for a position");
    assert!(positions.len() < 10, "{positions:?}");
    slow.say("ping", json!(null), 5).await;
    while slow.event().await["event"] != "pong" {}
}

#[tokio::test]
async fn a_reader_that_takes_nothing_for_the_send_timeout_is_cut() {
    let hub = Hub::builder()
        .without_rates()
        .env("SEND_TIMEOUT_MS", 500)
        .env("PRESENCE_GRACE_SECS", 0)
        .start();
    let (mut driver, mut witness, mut slow) = with_a_slow_reader(&hub).await;
    while backlog(&hub, "slow").await == Some(0) {
        assert_eq!(driver.request("chat:message", long()).await["ok"], true);
        witness.expect("chat:message").await;
    }
    assert_eq!(witness.expect("presence:left").await["userId"], "slow");
    assert!(slow.ends().await);
}

#[tokio::test]
async fn a_dashboard_that_joins_forty_rooms_in_one_breath_is_not_cut_for_their_snapshots() {
    let hub = Hub::builder().without_rates().start();
    let orders: Vec<String> = (0..40).map(|number| format!("o{number}")).collect();
    let names: Vec<&str> = orders.iter().map(String::as_str).collect();
    let mut talker = hub.connect("ann", "customer", &names).await;
    let content = "x".repeat(600);
    for order in &orders {
        let said = json!({ "orderId": order, "content": content });
        let mut last = 0;
        for _ in 0..50 {
            last = talker.ask("chat:message", said.clone()).await;
        }
        assert_eq!(talker.reply(last).await["seq"], 50);
    }
    // Twelve hundred kilobytes are asked for before any of it is read: over the outbox and what
    // the kernel holds.
    let mut dashboard = hub.connect("sue", "support", &[]).await;
    let mut joins = Vec::new();
    for order in &orders {
        joins.push(dashboard.ask("order:join", json!({ "orderId": order })).await);
    }
    for join in joins {
        let shown = dashboard.reply(join).await;
        assert_eq!(shown["messages"].as_array().map(Vec::len), Some(50), "{shown}");
    }
}
