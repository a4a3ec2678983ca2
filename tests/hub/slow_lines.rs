//! A slow reader is not a dead one, and a fast one that comes back is not cut for what it has missed:
//! what the hub sends goes at the pace of its line.

use futures_util::future::join_all;
use serde_json::json;

use super::support::raw::{PING, PONG, RawConnection, TEXT, frame};
use super::support::resume::{at, cut};
use super::support::rooms::{code, say, seqs};
use super::support::socketio::{RecoveryState, SocketIoClient};
use super::support::{Client, Hub, HubBuilder, token};

/// What a slow client reads in a second. All that it is sent takes seconds, and a ping is due in one.
const SLOW: u64 = 16 * 1024;
/// How much was said in each room meanwhile.
const MISSED: i64 = 60;

/// A hub that soon gives up who does not answer.
fn impatient() -> HubBuilder {
    Hub::builder().without_rates().env("PING_INTERVAL_MS", 1000).env("PONG_TIMEOUT_MS", 1000)
}

/// Says so much of this length in one go.
async fn say_all(talker: &mut Client, order: &str, count: usize, length: usize) {
    let mut asked = Vec::new();
    for _ in 0..count {
        let said = json!({ "orderId": order, "content": "x".repeat(length) });
        asked.push(talker.ask("chat:message", said).await);
    }
    for id in asked {
        assert_eq!(talker.reply(id).await["ok"], true);
    }
}

#[tokio::test]
async fn a_slow_websocket_client_is_not_closed_for_a_late_pong() {
    // On loopback the system says only now and then that there is room again.
    let hub = impatient().env("PING_INTERVAL_MS", 3000).env("PONG_TIMEOUT_MS", 3000).start();
    let mut slow = RawConnection::connect_slow(hub.addr, SLOW).await;
    slow = slow.logged_in(&token("slow", "customer", &["o1"])).await;
    slow.join("o1").await;
    let mut talker = hub.connect("dan", "driver", &["o1"]).await;
    say_all(&mut talker, "o1", 60, 2000).await;
    let (mut heard, mut pings) = (0, 0);
    while heard < 60 {
        match slow.frame().await.expect("an open connection") {
            (PING, payload) => {
                pings += 1;
                slow.send(&frame(PONG, &payload)).await;
            }
            (TEXT, text) => {
                let event: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
                assert_ne!(event["event"], "session:end", "{event}");
                if event["event"] == "chat:message" {
                    heard += 1;
                    assert_eq!(event["data"]["seq"], heard);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(pings > 0, "it took longer than a ping takes");
}

#[tokio::test]
async fn a_slow_long_polling_client_is_not_closed_for_a_late_pong() {
    let hub = impatient().env("SEND_TIMEOUT_MS", 1000).start();
    let mut talker = hub.connect("dan", "driver", &["o1"]).await;
    say_all(&mut talker, "o1", 40, 900).await;
    let mut slow = SocketIoClient::open_polling(&hub).await;
    slow.connect(json!({ "token": token("slow", "customer", &["o1"]) })).await.expect("let in");
    slow.polling().slow_down(SLOW).await;
    let shown = slow.join("o1").await;
    assert_eq!(seqs(&shown["messages"]), (1..=40).collect::<Vec<_>>());
    // The one before has not read, and so answered no ping.
    let mut talker = hub.connect("dan", "driver", &["o1"]).await;
    say(&mut talker, "o1", "still there").await;
    assert_eq!(slow.hear(1).await, [at("o1", 41)]);
}

/// The rooms that a client comes back to.
fn twenty() -> Vec<String> {
    (1..=20).map(|number| format!("o{number}")).collect()
}

fn ann() -> String {
    let orders = twenty();
    token("ann", "customer", &orders.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Ann was in twenty rooms, and is away while much is said in each.
async fn away_from_twenty_rooms(hub: &Hub) -> RecoveryState {
    let orders = twenty();
    let names: Vec<&str> = orders.iter().map(String::as_str).collect();
    let mut talker = hub.connect("dan", "driver", &names).await;
    let mut client = SocketIoClient::open(hub).await;
    client.connect(json!({ "token": ann() })).await.expect("let in");
    for order in &orders {
        client.join(order).await;
    }
    say(&mut talker, "o1", "heard").await;
    assert_eq!(client.hear(1).await, [at("o1", 1)]);
    let memory = cut(hub, client).await;
    for order in &orders {
        say_all(&mut talker, order, usize::try_from(MISSED).expect("small"), 50).await;
    }
    memory
}

/// That this is all that was said in the twenty rooms, in the order of each.
fn assert_whole(heard: &[(String, i64)]) {
    for order in twenty() {
        let first = if order == "o1" { 2 } else { 1 };
        let seqs = heard.iter().filter(|(of, _)| *of == order).map(|(_, seq)| *seq);
        assert!(seqs.eq(first..first + MISSED), "{order}: {heard:?}");
    }
}

#[tokio::test]
async fn a_resume_into_twenty_rooms_by_long_polling_gets_all_missed_chat() {
    let hub = Hub::builder().without_rates().start();
    let memory = away_from_twenty_rooms(&hub).await;
    let mut client = SocketIoClient::open_polling(&hub).await.back(&ann(), &memory).await;
    assert!(client.memory().recovered);
    assert_whole(&client.hear(20 * 60).await);
    assert_eq!(client.drain("chat:message").await, [] as [serde_json::Value; 0]);
}

#[tokio::test]
async fn a_client_cut_off_during_catch_up_gets_all_missed_chat() {
    let hub = Hub::builder().without_rates().start();
    let mut memory = away_from_twenty_rooms(&hub).await;
    let mut heard = Vec::new();
    for some in [150, 450, 600] {
        let mut client = SocketIoClient::again(&hub, &ann(), &memory).await;
        assert!(client.memory().recovered, "after {}", heard.len());
        heard.extend(client.hear(some).await);
        memory = client.cut();
    }
    assert_whole(&heard);
}

#[tokio::test]
async fn joins_that_wait_for_a_room_are_never_refused() {
    let orders = ["o1", "o2", "o3"];
    let hub = Hub::builder().without_rates().env("ORDERHUB_TEST_PANIC_ON", "explode").start();
    let clients = (0..360).map(|number| {
        let user = format!("user-{number}");
        let hub = &hub;
        async move { hub.connect(&user, "customer", &orders).await }
    });
    let mut clients = join_all(clients).await;
    // The next room of an order that has panicked twice comes after a second.
    let mut bomber = hub.connect("dan", "driver", &orders).await;
    for order in orders {
        for _ in 0..2 {
            let bomb = json!({ "orderId": order, "content": "explode" });
            assert_eq!(code(&bomber.request("chat:message", bomb).await), "unavailable");
        }
    }
    let joins = clients.iter_mut().map(async |client| {
        let mut asked = Vec::new();
        for order in orders {
            asked.push(client.ask("order:join", json!({ "orderId": order })).await);
        }
        for id in asked {
            assert_eq!(client.reply(id).await["ok"], true);
        }
    });
    join_all(joins).await;
}
