//! Resume of a Socket.IO session whose connection broke: nothing is missed, nothing comes twice,
//! and other clients get no presence events.

use serde_json::{Value, json};

use super::support::resume::{ann, at, cut, joined, unnoticed, until_open};
use super::support::rooms::{code, say};
use super::support::socketio::{EVENTS, ROOT, RecoveryState, SocketIoClient};
use super::support::{Client, Database, Hub, Kind, each_database};

const ORDERS: [&str; 2] = ["o1", "o2"];

/// That the client is in both rooms, and nothing else comes to it.
async fn goes_on(client: &mut SocketIoClient, talker: &mut Client) {
    assert_eq!(shown_and_goes_on(client, talker).await, [] as [String; 0]);
}

/// The same where it cannot be told whether the snapshots of some rooms have arrived: which of them
/// are shown again.
async fn shown_and_goes_on(client: &mut SocketIoClient, talker: &mut Client) -> Vec<String> {
    for order in ORDERS {
        let seq = say(talker, order, "now").await["seq"].as_i64().expect("a seq");
        assert_eq!(client.hear(1).await, [at(order, seq)]);
    }
    let shown = client.drain("order:joined").await;
    assert!(client.seen.iter().all(|packet| packet.kind != Kind::Event), "{:?}", client.seen);
    let order = |joined: &Value| joined["orderId"].as_str().expect("an order").to_owned();
    let mut shown: Vec<String> = shown.iter().map(order).collect();
    shown.sort();
    shown
}

#[tokio::test]
async fn a_resumed_client_gets_missed_chat_once_and_in_order_and_presence_is_silent() {
    each_database(async |database: Database| {
        let hub = database.hub().without_rates().start();
        let (client, mut talker) = joined(&hub).await;
        let before = cut(&hub, client).await;
        assert_eq!(before.offset.as_deref(), Some("o2:1"));
        for _ in 0..5 {
            for order in ORDERS {
                say(&mut talker, order, "meanwhile").await;
            }
        }
        let mut client = SocketIoClient::again(&hub, &ann(), &before).await;
        assert!(client.memory().recovered);
        assert_eq!((&client.memory().sid, &client.memory().pid), (&before.sid, &before.pid));
        let heard = client.hear(10).await;
        for order in ORDERS {
            let of_it = heard.iter().filter(|(found, _)| found == order);
            assert!(of_it.map(|(_, seq)| *seq).eq(2..=6), "{heard:?}");
        }
        goes_on(&mut client, &mut talker).await;
        unnoticed(&mut talker).await;
    })
    .await;
}

#[tokio::test]
async fn chat_in_flight_when_the_connection_broke_is_sent_again() {
    let hub = Hub::without_rates();
    let (mut client, mut talker) = joined(&hub).await;
    let seen = client.memory().clone();
    for order in ["o2", "o1", "o2"] {
        say(&mut talker, order, "on the way").await;
    }
    // The hub has sent all of it; the client has seen none.
    client.drain("nothing").await;
    cut(&hub, client).await;
    say(&mut talker, "o1", "meanwhile").await;
    let mut client = SocketIoClient::again(&hub, &ann(), &seen).await;
    assert!(client.memory().recovered);
    let mut heard = client.hear(4).await;
    heard.sort();
    assert_eq!(heard, [at("o1", 2), at("o1", 3), at("o2", 2), at("o2", 3)]);
    goes_on(&mut client, &mut talker).await;
}

#[tokio::test]
async fn the_same_offset_resumes_repeatedly() {
    let hub = Hub::without_rates();
    let (client, mut talker) = joined(&hub).await;
    let seen = client.cut();
    say(&mut talker, "o1", "two").await;
    say(&mut talker, "o2", "two").await;
    let missed = [at("o1", 2), at("o2", 2)];
    // It is lost again before the client has seen anything, or after.
    for round in 0..6 {
        let mut client = SocketIoClient::again(&hub, &ann(), &seen).await;
        assert!(client.memory().recovered, "round {round}");
        assert_eq!(client.memory().sid, seen.sid);
        if round % 3 == 1 {
            let mut heard = client.hear(2).await;
            heard.sort();
            assert_eq!(heard, missed);
        }
        if round % 2 == 0 {
            cut(&hub, client).await;
        }
    }
    let mut client = SocketIoClient::again(&hub, &ann(), &seen).await;
    let mut heard = client.hear(2).await;
    heard.sort();
    assert_eq!(heard, missed);
    goes_on(&mut client, &mut talker).await;
    unnoticed(&mut talker).await;
}

#[tokio::test]
async fn a_client_without_an_offset_gets_all_chat_since_its_join() {
    let hub = Hub::without_rates();
    let mut talker = hub.connect("dan", "driver", &ORDERS).await;
    let mut client = SocketIoClient::login(&hub, "ann", "customer", &ORDERS).await;
    say(&mut talker, "o1", "before the join").await;
    client.join("o1").await;
    client.join("o2").await;
    let before = cut(&hub, client).await;
    assert_eq!(before.offset, None);
    for order in ["o1", "o1", "o2"] {
        say(&mut talker, order, "meanwhile").await;
    }
    let mut client = SocketIoClient::again(&hub, &ann(), &before).await;
    assert!(client.memory().recovered);
    let mut heard = client.hear(3).await;
    heard.sort();
    assert_eq!(heard, [at("o1", 2), at("o1", 3), at("o2", 1)]);
    assert_eq!(shown_and_goes_on(&mut client, &mut talker).await, ORDERS);
}

#[tokio::test]
async fn an_unknown_offset_keeps_the_rooms_under_a_new_sid_and_pid() {
    let hub = Hub::without_rates();
    let (client, mut talker) = joined(&hub).await;
    let before = cut(&hub, client).await;
    say(&mut talker, "o1", "meanwhile").await;
    let offset = Some("elsewhere:77".to_owned());
    let client =
        SocketIoClient::again(&hub, &ann(), &RecoveryState { offset, ..before.clone() }).await;
    let memory = client.memory();
    assert!(!memory.recovered);
    assert_ne!((&memory.sid, &memory.pid), (&before.sid, &before.pid));
    let mut client = client;
    assert_eq!(client.hear(1).await, [at("o1", 2)]);
    assert_eq!(shown_and_goes_on(&mut client, &mut talker).await, ORDERS);
    unnoticed(&mut talker).await;
    // The old name is nobody's any more, the new one counts.
    let after = cut(&hub, client).await;
    let again = SocketIoClient::again(&hub, &ann(), &after).await;
    assert!(again.memory().recovered);
    let stale = SocketIoClient::again(&hub, &ann(), &before).await;
    assert!(!stale.memory().recovered);
}

#[tokio::test]
async fn a_resumed_session_keeps_its_join_counts() {
    let hub = Hub::without_rates();
    let (mut client, mut talker) = joined(&hub).await;
    client.join("o1").await;
    let before = cut(&hub, client).await;
    let mut client = SocketIoClient::again(&hub, &ann(), &before).await;
    let leave = json!({ "orderId": "o1" });
    assert_eq!(client.request("order:leave", leave.clone()).await["remaining"], 1);
    // The snapshot of the second join may be lost.
    assert_eq!(shown_and_goes_on(&mut client, &mut talker).await, ["o1"]);
    assert_eq!(client.request("order:leave", leave.clone()).await["remaining"], 0);
    assert_eq!(talker.expect("presence:left").await["orderId"], "o1");
}

#[tokio::test]
async fn joins_right_after_a_resume_are_not_counted_twice() {
    let hub = Hub::without_rates();
    let (mut client, mut talker) = joined(&hub).await;
    client.join("o1").await;
    let before = cut(&hub, client).await;
    // Apps join anew whenever they connect, and do not wait for the answer to CONNECT.
    let mut client = SocketIoClient::open(&hub).await;
    let connect = json!({ "token": ann(), "pid": before.pid, "offset": before.offset });
    let order = json!({ "orderId": "o1" });
    let burst = [
        client.connect_packet(connect),
        client.event_packet(Some(1), "order:join", &order),
        client.event_packet(Some(2), "order:join", &order),
    ];
    client.send_all(burst).await;
    assert_eq!(client.connected().await.expect("let in")["sid"], json!(before.sid));
    for id in [1, 2] {
        assert_eq!(client.reply(id).await["ok"], true);
    }
    assert_eq!(client.request("order:leave", order.clone()).await["remaining"], 1);
    assert_eq!(client.request("order:leave", order).await["remaining"], 0);
    assert_eq!(talker.expect("presence:left").await["orderId"], "o1");
}

#[tokio::test]
async fn events_sent_right_behind_a_resuming_connect_are_handled() {
    let hub = Hub::without_rates();
    let (client, mut talker) = joined(&hub).await;
    let mut memory = client.cut();
    for round in 0..50 {
        let mut client = SocketIoClient::open(&hub).await;
        let connect = json!({ "token": ann(), "pid": memory.pid, "offset": memory.offset });
        let said = json!({ "orderId": "o1", "content": "back" });
        let burst = [
            client.connect_packet(connect),
            client.event_packet(Some(1), "chat:message", &said),
            client.event_packet(Some(2), "order:join", &json!({ "orderId": "o2" })),
        ];
        client.send_all(burst).await;
        let welcome = client.connected().await.expect("let in");
        assert_eq!(welcome["sid"], json!(memory.sid), "round {round}");
        assert_eq!(client.reply(1).await["seq"], round + 2);
        assert_eq!(client.hear(1).await, [at("o1", round + 2)]);
        assert_eq!(client.reply(2).await["ok"], true);
        memory = client.cut();
    }
    unnoticed(&mut talker).await;
}

#[tokio::test]
async fn each_namespace_resumes_its_own_session() {
    let hub = Hub::without_rates();
    let (mut client, mut talker) = joined(&hub).await;
    client.at(ROOT).connect(json!({ "token": ann() })).await.expect("let in");
    client.at(ROOT).join("o1").await;
    let memories = [ROOT, EVENTS].map(|namespace| client.at(namespace).memory().clone());
    drop(client);
    until_open(&hub, 1).await;
    say(&mut talker, "o1", "meanwhile").await;
    let mut client = SocketIoClient::open(&hub).await;
    for (namespace, memory) in [ROOT, EVENTS].into_iter().zip(&memories) {
        let auth = json!({ "token": ann(), "pid": memory.pid, "offset": memory.offset });
        let auth = auth.as_object().expect("an object").clone();
        let auth: Value = auth.into_iter().filter(|(_, value)| !value.is_null()).collect();
        let welcome = client.at(namespace).connect(auth).await.expect("let in");
        assert_eq!(welcome["sid"], json!(memory.sid), "{namespace}");
        assert_eq!(client.hear(1).await, [at("o1", 2)], "{namespace}");
    }
    // One in the place of the other is unknown.
    let memory = client.at(ROOT).memory().clone();
    drop(client);
    until_open(&hub, 1).await;
    let client = SocketIoClient::again(&hub, &ann(), &memory).await;
    assert!(!client.memory().recovered);
    unnoticed(&mut talker).await;
}

/// That others hear of one who comes back when they believe her gone.
async fn announced_after_the_grace(hub: Hub, mut talker: Client) {
    let mut client = SocketIoClient::login(&hub, "ann", "customer", &ORDERS).await;
    client.join("o1").await;
    assert_eq!(talker.expect("presence:joined").await["userId"], "ann");
    let before = client.cut();
    assert_eq!(talker.expect("presence:left").await["userId"], "ann");
    let client = SocketIoClient::again(&hub, &ann(), &before).await;
    assert!(client.memory().recovered);
    assert_eq!(talker.expect("presence:joined").await["userId"], "ann");
}

/// A hub that soon believes somebody gone, and one who is in a room.
async fn hasty() -> (Hub, Client) {
    let hub = Hub::builder().without_rates().env("ORDERHUB_TEST_PANIC_ON", "explode");
    let hub = hub.env("PRESENCE_GRACE_SECS", 1).start();
    let mut talker = hub.connect("dan", "driver", &ORDERS).await;
    talker.join("o1").await;
    (hub, talker)
}

#[tokio::test]
async fn a_user_who_resumes_after_the_grace_is_announced() {
    let (hub, talker) = hasty().await;
    announced_after_the_grace(hub, talker).await;
}

#[tokio::test]
async fn a_user_who_resumes_after_the_grace_is_announced_in_a_room_that_panicked_before() {
    let (hub, mut talker) = hasty().await;
    let bomb = json!({ "orderId": "o1", "content": "explode" });
    assert_eq!(code(&talker.request("chat:message", bomb).await), "unavailable");
    announced_after_the_grace(hub, talker).await;
}

#[tokio::test]
async fn a_session_resumes_into_a_room_that_panicked_meanwhile() {
    let hub = Hub::builder().without_rates().env("ORDERHUB_TEST_PANIC_ON", "explode").start();
    let (client, mut talker) = joined(&hub).await;
    let before = cut(&hub, client).await;
    let bomb = json!({ "orderId": "o1", "content": "explode" });
    assert_eq!(code(&talker.request("chat:message", bomb).await), "unavailable");
    talker.join("o1").await;
    say(&mut talker, "o1", "after").await;
    let mut client = SocketIoClient::again(&hub, &ann(), &before).await;
    assert!(client.memory().recovered);
    assert_eq!(client.hear(1).await, [at("o1", 2)]);
    goes_on(&mut client, &mut talker).await;
}

/// Says so much in `o1` while Ann is away, and one thing in `o2`: she has all of it when she is back.
async fn missed_in_o1(hub: &Hub, contents: impl Iterator<Item = String>) {
    let (client, mut talker) = joined(hub).await;
    let before = cut(hub, client).await;
    let mut last = 1;
    for content in contents {
        last = say(&mut talker, "o1", &content).await["seq"].as_i64().expect("a seq");
    }
    say(&mut talker, "o2", "and one").await;
    talker.drain("chat:message").await;
    let mut client = SocketIoClient::again(hub, &ann(), &before).await;
    assert!(client.memory().recovered);
    let heard = client.hear(usize::try_from(last).expect("small")).await;
    let o1 = heard.iter().filter(|(order, _)| order == "o1").map(|(_, seq)| *seq);
    assert!(o1.eq(2..=last), "{heard:?}");
    goes_on(&mut client, &mut talker).await;
}

#[tokio::test]
async fn one_page_of_missed_chat_is_sent_after_a_resume() {
    each_database(async |database: Database| {
        missed_in_o1(
            &database.hub().without_rates().start(),
            (0..200).map(|number| number.to_string()),
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn more_than_one_page_of_missed_chat_is_sent_after_a_resume() {
    let hub = Hub::without_rates();
    missed_in_o1(&hub, (0..250).map(|number| number.to_string())).await;
}

#[tokio::test]
async fn missed_chat_over_the_byte_limit_of_a_page_is_sent_after_a_resume() {
    let hub = Hub::without_rates();
    missed_in_o1(&hub, (0..10).map(|_| "🚚".repeat(4000))).await;
}

#[tokio::test]
async fn a_client_whose_offset_left_the_push_log_gets_a_new_session_and_all_chat_after_its_offset()
{
    let hub = Hub::builder().without_rates().env("OUTBOX_MESSAGES", 32).start();
    let (mut client, mut talker) = joined(&hub).await;
    say(&mut talker, "o1", "the last that is seen").await;
    assert_eq!(client.hear(1).await, [at("o1", 2)]);
    let before = client.memory().clone();
    for order in ORDERS {
        for number in 0..100 {
            say(&mut talker, order, &number.to_string()).await;
        }
    }
    client.drain("nothing").await;
    cut(&hub, client).await;
    say(&mut talker, "o1", "meanwhile").await;
    let mut client = SocketIoClient::again(&hub, &ann(), &before).await;
    assert!(!client.memory().recovered, "the hub cannot know what it has of o2");
    assert_ne!(client.memory().sid, before.sid);
    let heard = client.hear(101).await;
    assert!(heard.into_iter().eq((3..=103).map(|seq| at("o1", seq))));
    assert_eq!(shown_and_goes_on(&mut client, &mut talker).await, ORDERS);
    unnoticed(&mut talker).await;
}
