//! Socket.IO by long-polling: the same rooms, the same ends, and the move to a WebSocket.

use reqwest::Method;
use serde_json::json;

use super::support::polling::handshake;
use super::support::resume::{ann, at, unnoticed, until_open};
use super::support::rooms::{fix, say};
use super::support::socketio::{EVENTS, ROOT, RecoveryState, SocketIoClient, Transport};
use super::support::{Hub, token, until};

/// A client of Ann's that polls.
async fn poller(hub: &Hub) -> SocketIoClient {
    SocketIoClient::open_polling(hub).await.back(&ann(), &RecoveryState::default()).await
}

/// That the hub knows nothing of a session any more.
async fn is_forgotten(client: &mut SocketIoClient) {
    for answer in [client.polling().poll().await, client.polling().post(&["3".into()]).await] {
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!(1)), "{answer:?}");
    }
}

#[tokio::test]
async fn a_long_polling_client_is_a_full_member() {
    let hub = Hub::without_rates();
    let mut ian = SocketIoClient::login(&hub, "ian", "driver", &["o1"]).await;
    ian.join("o1").await;
    let mut ann = poller(&hub).await;
    let shown = ann.join("o1").await;
    assert_eq!(shown["members"].as_array().map(Vec::len), Some(2));
    assert_eq!(ian.expect("presence:joined").await["userId"], "ann");
    assert_eq!(ann.say("o1", "from polling").await["seq"], 1);
    assert_eq!(ian.say("o1", "from a socket").await["seq"], 2);
    for client in [&mut ann, &mut ian] {
        let first = client.find(|packet| packet.is_event("chat:message")).await;
        assert_eq!(first.last_string(), Some("o1:1"));
        assert_eq!(first.data()["senderId"], "ann");
        assert_eq!(client.hear(1).await, [at("o1", 2)]);
    }
    assert_eq!(ian.request("driver:location", fix("o1", 13.7)).await["accepted"], 1);
    let locations = [ann.expect("location:updated").await, ian.expect("location:updated").await];
    assert_eq!(locations[0], locations[1]);
    ann.send("order:join", json!({ "orderId": "foreign" })).await;
    assert_eq!(ann.expect("exception").await["code"], "forbidden");
    // Several packets in one body, of both namespaces.
    let connect = ann.at(ROOT).connect_packet(json!({ "token": self::ann() }));
    let asked = ann.event_packet(Some(70), "ping", &json!({}));
    let also = ann.at(EVENTS).event_packet(Some(71), "ping", &json!({}));
    ann.send_all([connect, asked, also]).await;
    assert_eq!(ann.at(ROOT).reply(70).await["ok"], true);
    assert_eq!(ann.at(EVENTS).reply(71).await["ok"], true);
    ann.at(EVENTS).disconnect().await;
    assert_eq!(ian.expect("presence:left").await["userId"], "ann", "at once");
}

#[tokio::test]
async fn a_long_polling_client_that_an_admin_removes_gets_4403_and_its_session_ends() {
    let hub = Hub::without_rates();
    let mut client = poller(&hub).await;
    client.join("o1").await;
    client.polling().start_poll().await;
    assert_eq!(hub.admin(Method::DELETE, "/admin/v1/users/ann/sessions").await.0, 200);
    let ending = client.ending().await;
    assert_eq!(ending.told(EVENTS), (4403, true), "and `1` behind it");
    until_open(&hub, 0).await;
    is_forgotten(&mut client).await;
}

#[tokio::test]
async fn an_invalid_post_ends_the_session_with_its_close_code_and_the_client_resumes() {
    let hub = Hub::without_rates();
    let mut before = RecoveryState::default();
    let too_large = json!(["ping", "x".repeat(70_000)]);
    for (body, status, code) in [
        (format!("42/events,{too_large}"), 413, 1009),
        ("no packet".to_owned(), 400, 1002),
        ("4\u{1e}".to_owned(), 400, 1002),
    ] {
        let mut client = SocketIoClient::open_polling(&hub).await.back(&ann(), &before).await;
        assert!(client.memory().recovered || before.pid.is_none(), "{code}");
        client.join("o1").await;
        client.drain("nothing").await;
        client.polling().start_poll().await;
        assert_eq!(client.polling().post(&[body]).await.status, status);
        let last = client.polling().poll().await;
        let end = format!("42/events,[\"session:end\",{{\"code\":{code},");
        assert!(last.text.starts_with(&end) && !last.text.contains('\u{1e}'), "{last:?}");
        is_forgotten(&mut client).await;
        before = client.cut();
    }
}

#[tokio::test]
async fn a_long_polling_member_that_an_admin_removes_gets_order_left_at_once() {
    let hub = Hub::without_rates();
    let mut client = poller(&hub).await;
    client.join("o1").await;
    hub.admin(Method::DELETE, "/admin/v1/rooms/o1/members/ann").await;
    let left = client.expect("order:left").await;
    assert_eq!(left, json!({ "orderId": "o1", "reason": "removed" }));
    client.join("o2").await;
}

#[tokio::test]
async fn an_upgrade_during_chat_loses_and_duplicates_nothing() {
    const MESSAGES: i64 = 300;
    const TALKERS: i64 = 6;
    let hub = Hub::without_rates();
    for _ in 0..3 {
        let order = format!("o{}", uuid::Uuid::new_v4().simple());
        let mut client = SocketIoClient::open_polling(&hub).await;
        let token = token("ann", "customer", &[&order]);
        client.connect(json!({ "token": token })).await.expect("let in");
        client.join(&order).await;
        let sid = client.memory().sid.clone();
        // Several talk at once, so that there is something on the way at every moment.
        let mut talking = tokio::task::JoinSet::new();
        for number in 0..TALKERS {
            let mut talker = hub.connect(&format!("dan-{number}"), "driver", &[&order]).await;
            let chat = order.clone();
            talking.spawn(async move {
                for number in 0..MESSAGES / TALKERS {
                    say(&mut talker, &chat, &number.to_string()).await;
                }
            });
        }
        let mut heard = client.hear(40).await;
        client = client.upgrade().await;
        let pinged = client.ask("ping", json!({})).await;
        while heard.len() < 300 {
            heard.extend(client.hear(1).await);
        }
        assert!(heard.into_iter().eq((1..=MESSAGES).map(|seq| at(&order, seq))));
        assert_eq!(client.reply(pinged).await["ok"], true);
        assert_eq!(client.drain("chat:message").await.len(), 0);
        assert_eq!(client.memory().sid, sid);
        talking.join_all().await;
    }
}

#[tokio::test]
async fn a_lost_long_polling_client_releases_its_connection_permit() {
    for polls in [true, false] {
        let mut hub =
            Hub::builder().without_rates().env("MAX_CONNECTIONS", 2).env("PRESENCE_GRACE_SECS", 1);
        if !polls {
            hub = hub.env("PING_INTERVAL_MS", 1000).env("PONG_TIMEOUT_MS", 1000);
        }
        let hub = hub.start();
        let mut watcher = hub.connect("dan", "driver", &["o1"]).await;
        watcher.join("o1").await;
        let mut client = poller(&hub).await;
        client.join("o1").await;
        assert_eq!(watcher.expect("presence:joined").await["userId"], "ann");
        let full = handshake(&hub).await;
        assert_eq!(full.problem(), (503, "unavailable"));
        // While a poll waits the end of its connection says it, else the silence.
        if polls {
            client.polling().start_poll().await;
        }
        drop(client);
        assert_eq!(watcher.expect("presence:left").await["userId"], "ann");
        until("the place", async || handshake(&hub).await.status == 200).await;
    }
}

#[tokio::test]
async fn a_session_resumes_on_the_other_transport() {
    let hub = Hub::without_rates();
    let mut talker = hub.connect("dan", "driver", &["o1"]).await;
    talker.join("o1").await;
    let mut client = poller(&hub).await;
    client.join("o1").await;
    talker.drain("presence:joined").await;
    let sid = client.memory().sid.clone();
    for round in 0..6 {
        let before = client.memory().clone();
        say(&mut talker, "o1", "meanwhile").await;
        let next = if round % 2 == 0 {
            SocketIoClient::open(&hub).await
        } else {
            SocketIoClient::open_polling(&hub).await
        };
        let mut next = next.back(&ann(), &before).await;
        assert!(next.memory().recovered, "round {round}");
        assert_eq!(next.memory().sid, sid);
        assert_eq!(next.hear(1).await, [at("o1", round + 1)]);
        // The old one ends without a word that would keep the client away.
        let ending = client.ending().await;
        let rooms = ["chat:message", "order:joined"];
        let word = ending.said.iter().find(|said| !rooms.iter().any(|event| said.is_event(event)));
        assert!(word.is_none(), "{ending:?}");
        client = next;
    }
    assert!(matches!(client.line, Transport::Polling(_)));
    unnoticed(&mut talker).await;
}

#[tokio::test]
async fn a_drain_refuses_new_clients_and_sends_session_end_to_long_polling_clients() {
    let mut hub = Hub::builder().without_rates().env("DRAIN_DELAY_SECS", 2).start();
    let mut client = poller(&hub).await;
    client.join("o1").await;
    let idle = SocketIoClient::open_polling(&hub).await;
    hub.signal("TERM");
    until("a refusal", async || handshake(&hub).await.status == 503).await;
    assert_eq!(handshake(&hub).await.problem(), (503, "unavailable"));
    let mut late = idle;
    late.send_connect(json!({ "token": ann() })).await;
    assert_eq!(late.ending().await.said.len(), 0, "nobody there to tell");
    let ending = client.ending().await;
    assert_eq!(ending.told(EVENTS), (1012, false));
    let before = client.cut();
    drop(late);
    assert_eq!(hub.ended().await.code(), Some(0));
    let hub = hub.start_again();
    let mut client = SocketIoClient::open_polling(&hub).await.back(&ann(), &before).await;
    assert!(client.memory().recovered);
    assert_eq!(client.say("o1", "back").await["seq"], 1);
    assert_eq!(client.hear(1).await, [at("o1", 1)]);
}
