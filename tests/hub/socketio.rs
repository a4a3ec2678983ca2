//! Socket.IO clients beside plain ones: the same rooms, the same events, the same data.

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::support::raw::{PING, RawConnection, TEXT};
use super::support::rooms::{code, fix, say};
use super::support::socketio::{EVENTS, ROOT, SocketIoClient};
use super::support::{Hub, Kind, token};

/// The next event's name with the bytes of its data, of a plain client.
async fn plain(raw: &mut RawConnection) -> (String, String) {
    loop {
        match raw.frame().await.expect("an open connection") {
            (TEXT, text) => {
                let text = String::from_utf8(text).expect("text");
                let rest = text.strip_prefix(r#"{"event":""#).expect(&text);
                let (name, data) = rest.split_once(r#"","data":"#).expect(&text);
                return (name.to_owned(), data.strip_suffix('}').expect(&text).to_owned());
            }
            (PING, _) => {}
            other => panic!("no event: {other:?}"),
        }
    }
}

/// The same of a Socket.IO client, with the offset behind the data where there is one.
async fn framed(client: &mut SocketIoClient) -> (String, String, Option<String>) {
    let packet = client.next().await;
    let rest = packet.text.strip_prefix(r#"42/events,[""#).expect(&packet.text);
    let (name, data) = rest.split_once("\",").expect(rest);
    let data = data.strip_suffix(']').expect(data);
    let offset = packet.last_string().map(ToOwned::to_owned);
    let data = match &offset {
        Some(offset) => data.strip_suffix(&format!(",\"{offset}\"")).expect(data),
        None => data,
    };
    (name.to_owned(), data.to_owned(), offset)
}

#[tokio::test]
async fn both_framings_get_the_same_events_with_the_same_bytes_of_data() {
    let hub = Hub::without_rates();
    let mut pam = RawConnection::login(&hub, "pam", &["o1"]).await;
    pam.join("o1").await;
    let mut ian = SocketIoClient::login(&hub, "ian", "customer", &["o1"]).await;
    ian.join("o1").await;
    assert_eq!(plain(&mut pam).await.0, "presence:joined");
    let mut ann = hub.connect("ann", "driver", &["o1"]).await;
    ann.join("o1").await;
    say(&mut ann, "o1", "a \"quoted\" küche 🚚 \\ / \u{1} \u{2028}").await;
    ann.request("driver:location", fix("o1", 13.70)).await;
    ann.request("order:leave", json!({ "orderId": "o1" })).await;
    ian.send("chat:message", json!({ "orderId": "o1", "content": "1", "clientMsgId": "m1" })).await;
    for (expected, offset) in [
        ("presence:joined", None),
        ("chat:message", Some("o1:1")),
        ("location:updated", None),
        ("presence:left", None),
        ("chat:message", Some("o1:2")),
    ] {
        let (name, data) = plain(&mut pam).await;
        assert_eq!(name, expected);
        assert_eq!(framed(&mut ian).await, (name, data, offset.map(ToOwned::to_owned)));
    }
}

#[tokio::test]
async fn plain_and_socketio_clients_receive_each_others_events() {
    let hub = Hub::without_rates();
    let mut pam = hub.connect("pam", "customer", &["o1"]).await;
    let mut ian = SocketIoClient::login(&hub, "ian", "driver", &["o1"]).await;
    pam.join("o1").await;
    let shown = ian.join("o1").await;
    assert_eq!(shown["members"].as_array().map(Vec::len), Some(2));
    assert_eq!(pam.expect("presence:joined").await["userId"], "ian");
    ian.say("o1", "from the driver").await;
    assert_eq!(pam.expect("chat:message").await["senderName"], "Name of ian");
    say(&mut pam, "o1", "from the customer").await;
    assert_eq!(ian.hear(2).await, [("o1".to_owned(), 1), ("o1".to_owned(), 2)]);
    let taken = ian.request("driver:location", fix("o1", 13.7)).await;
    assert_eq!(taken, json!({ "ok": true, "accepted": 1 }));
    for location in [pam.expect("location:updated").await, ian.expect("location:updated").await] {
        assert_eq!(location["driverId"], "ian");
    }
    ian.disconnect().await;
    assert_eq!(pam.expect("presence:left").await["userId"], "ian", "it took its leave");
}

#[tokio::test]
async fn an_ack_is_the_result_as_its_one_argument_under_the_same_id() {
    let hub = Hub::without_rates();
    let mut plain = hub.connect("ann", "driver", &["o1"]).await;
    let mut client = SocketIoClient::login(&hub, "ann", "driver", &["o1"]).await;
    for (event, data) in [
        ("order:join", json!({ "orderId": "o1", "limit": 0 })),
        ("order:join", json!({ "orderId": "foreign" })),
        ("order:leave", json!({ "orderId": "o1" })),
        ("order:leave", json!({ "orderId": "o1" })),
        ("driver:location", json!({ "orderIds": ["o1", "o2"], "lat": 1, "lng": 2 })),
        ("chat:history", json!({ "orderId": "o1" })),
        ("chat:message", json!({ "orderId": "o1", "content": "" })),
        ("ping", json!({})),
        ("order:eat", json!({})),
        ("order:join", Value::Null),
    ] {
        let mut expected = plain.request(event, data.clone()).await;
        let mut got = client.request(event, data).await;
        for snapshot in [&mut expected, &mut got] {
            // It has been there for a while longer.
            snapshot["lastLocation"]["ageMs"].take();
        }
        assert_eq!(got, expected, "{event}");
    }
    for id in [0, 7, (1 << 53) - 1] {
        client.send_text(client.event_packet(Some(id), "ping", &json!({}))).await;
        assert_eq!(client.reply(id).await, json!({ "ok": true }));
    }
    // Without data, and with more than the data.
    client.send_text("42/events,8[\"ping\"]").await;
    client.send_text("42/events,9[\"ping\",1,\"two\",{}]").await;
    for id in [8, 9] {
        assert_eq!(client.reply(id).await, json!({ "ok": true }));
    }
}

#[tokio::test]
async fn a_refused_event_without_an_ack_gets_an_exception_and_the_connection_stays() {
    let hub = Hub::without_rates();
    let mut client = SocketIoClient::login(&hub, "ann", "customer", &["o1"]).await;
    client.send("order:join", json!({ "orderId": "foreign" })).await;
    let exception = client.expect("exception").await;
    let message = exception["message"].as_str().expect("words");
    let expected = json!({
        "status": "error", "code": "forbidden", "message": message,
        "event": "order:join", "cause": { "pattern": "order:join" },
    });
    assert_eq!(exception, expected);
    client.send("chat:message", json!({ "orderId": "o1", "content": 5 })).await;
    let exception = client.expect("exception").await;
    assert_eq!(
        (&exception["code"], &exception["field"], &exception["event"]),
        (&json!("invalid_payload"), &json!("content"), &json!("chat:message"))
    );
    // `error` is a name like any other: stock clients emit it.
    for event in ["order:eat", "error"] {
        client.send(event, json!({})).await;
        assert_eq!(client.expect("exception").await["code"], "unknown_event", "{event}");
        assert_eq!(code(&client.request(event, json!({})).await), "unknown_event");
    }
    // No event of the protocol takes binary.
    client.send_text("451-/events,[\"order:join\",{\"_placeholder\":true,\"num\":0}]").await;
    let attachment = Message::binary(vec![1, 2, 3]);
    futures_util::SinkExt::send(client.socket(), attachment).await.expect("sent");
    let exception = client.expect("exception").await;
    assert_eq!(
        (&exception["code"], &exception["field"]),
        (&json!("invalid_payload"), &json!("data"))
    );
    client.join("o1").await;
    assert_eq!(client.drain("exception").await.len(), 0);
}

#[tokio::test]
async fn only_chat_ends_in_a_string() {
    let hub = Hub::without_rates();
    let mut client = SocketIoClient::login(&hub, "ann", "driver", &["o1"]).await;
    client.send("order:join", json!({ "orderId": "o1" })).await;
    assert_eq!(client.expect("order:joined").await["orderId"], "o1");
    let before = client.memory().clone();
    assert!(before.pid.is_some() && before.offset.is_none());
    // What comes back as it was sent must be no offset either.
    for data in [json!("o1:7"), json!(["o1:7"]), json!({ "o1": "o1:7" }), Value::Null] {
        client.send("ping", data.clone()).await;
        assert_eq!(client.expect("pong").await, data);
    }
    client.request("driver:location", fix("o1", 13.7)).await;
    client.expect("location:updated").await;
    client.send("order:leave", json!({ "orderId": "o1" })).await;
    assert_eq!(client.expect("order:left").await["reason"], "requested");
    assert_eq!(client.memory(), &before);
    client.join("o1").await;
    client.say("o1", "hello").await;
    client.expect("chat:message").await;
    assert_eq!(client.memory().offset.as_deref(), Some("o1:1"));
}

/// What a client sends that talks at once: its CONNECT, a join and a chat message.
fn burst(client: &SocketIoClient, token: &str) -> Vec<String> {
    let order = json!({ "orderId": "o1" });
    let said = json!({ "orderId": "o1", "content": "at once" });
    vec![
        client.connect_packet(json!({ "token": token })),
        client.event_packet(Some(1), "order:join", &order),
        client.event_packet(Some(2), "chat:message", &said),
        client.event_packet(None, "ping", &json!({ "mark": "last" })),
    ]
}

#[tokio::test]
async fn events_sent_right_behind_connect_are_handled() {
    const ROUNDS: i64 = 20;
    const TOGETHER: i64 = 10;
    let hub = Hub::builder().without_rates().env("MAX_CONNECTIONS_PER_USER", 1000).start();
    let token = token("ann", "customer", &["o1"]);
    let rounds = (0..TOGETHER).map(|_| async {
        for _ in 0..ROUNDS {
            let mut client = SocketIoClient::open(&hub).await;
            let burst = burst(&client, &token);
            client.send_all(burst).await;
            assert!(client.connected().await.is_ok());
            assert_eq!(client.reply(1).await["ok"], true);
            assert_eq!(client.reply(2).await["ok"], true);
            assert_eq!(client.expect("pong").await["mark"], "last");
        }
    });
    futures_util::future::join_all(rounds).await;
    let mut reader = hub.connect_with(&token).await;
    assert_eq!(reader.join("o1").await["lastSeq"], ROUNDS * TOGETHER);
}

#[tokio::test]
async fn events_wait_for_the_rates_and_too_many_are_refused_by_ack_or_exception() {
    let hub = Hub::builder().env("EVENTS_PER_SECOND", 1).env("EVENTS_BURST", 1).start();
    let mut client = SocketIoClient::login(&hub, "ann", "customer", &["o1"]).await;
    let read = json!({ "orderId": "o1", "seq": 1 });
    let packets: Vec<_> =
        (0..290).map(|id| client.event_packet(Some(id), "chat:read", &read)).collect();
    client.send_all(packets).await;
    assert_eq!(code(&client.reply(289).await), "rate_limited", "one more than may wait");
    client.send("chat:read", read).await;
    let exception = client.expect("exception").await;
    assert_eq!(exception["code"], "rate_limited");
    assert!(exception["retryAfterMs"].as_u64().is_some_and(|ms| ms <= 1000), "{exception}");
}

#[tokio::test]
async fn the_hub_pings_and_a_client_that_does_not_answer_is_let_go() {
    let hub = Hub::builder().env("PING_INTERVAL_MS", 1000).env("PONG_TIMEOUT_MS", 1000).start();
    let mut client = SocketIoClient::open(&hub).await;
    let open = client.socket().next().await.expect("a message").expect("no error");
    let open: Value = serde_json::from_str(&open.to_text().expect("text")[1..]).expect("JSON");
    assert_eq!((&open["pingInterval"], &open["pingTimeout"]), (&json!(1000), &json!(1000)));
    assert_eq!(open["upgrades"], json!([]));
    assert_ne!(open["sid"], Value::Null);
    client.connect(json!({ "token": token("ann", "customer", &[]) })).await.expect("let in");
    // By hand from here: nobody answers.
    let mut pings = 0;
    let end = loop {
        match client.socket().next().await {
            Some(Ok(Message::Text(text))) if text.as_str() == "2" => pings += 1,
            Some(Ok(Message::Text(text))) => break text,
            other => panic!("{other:?}"),
        }
    };
    assert!(pings >= 1, "it was asked");
    assert!(end.starts_with("42/events,[\"session:end\",{\"code\":4009,"), "{end}");
    let closed = client.ending().await;
    assert_eq!((closed.code, closed.said.len()), (None, 0), "and no DISCONNECT: {closed:?}");
}

#[tokio::test]
async fn operators_see_the_framing() {
    let hub = Hub::start();
    let _plain = hub.connect("pam", "customer", &[]).await;
    let mut ian = SocketIoClient::login(&hub, "ian", "driver", &["o1"]).await;
    ian.at(ROOT).connect(json!({ "token": token("ian", "driver", &[]) })).await.expect("let in");
    ian.at(EVENTS).join("o1").await;
    let (_, stats) = hub.admin(reqwest::Method::GET, "/admin/v1/stats").await;
    assert_eq!(stats["connections"]["by"]["socketio"]["driver"], 2, "one in each namespace");
    assert_eq!(stats["connections"]["by"]["plain"]["customer"], 1);
    let (_, room) = hub.admin(reqwest::Method::GET, "/admin/v1/rooms/o1").await;
    assert_eq!(room["sessionsDetail"][0]["userId"], "ian", "{room}");
    let metrics = reqwest::get(hub.url("/metrics")).await.expect("metrics").text().await;
    let metrics = metrics.expect("text");
    for line in [
        "orderhub_connections{framing=\"socketio\",role=\"driver\"} 2",
        "orderhub_connections{framing=\"plain\",role=\"customer\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    hub.logged("framing=socketio").await;
    ian.disconnect().await;
    assert!(ian.seen.iter().all(|packet| packet.kind != Kind::Disconnect));
    hub.until_admin("/admin/v1/stats", |_, stats| {
        stats["connections"]["by"]["socketio"]["driver"] == 1
    })
    .await;
}
