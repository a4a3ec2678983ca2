//! A database that stands still: it neither answers nor goes away. Every question has an answer all
//! the same, and when it goes on nothing acknowledged is lost or doubled.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::support::back_end::call;
use super::support::postgres_server::PostgresServer;
use super::support::rooms::contents;
use super::support::{Client, Hub, TIMEOUT, until};

/// The hub promises an answer after 5 s; the rest is for a slow machine.
const ANSWERED: Duration = Duration::from_secs(9);

async fn ask(client: &mut Client, key: &str) -> u64 {
    let said = json!({ "orderId": "o1", "content": key, "clientMsgId": key });
    client.ask("chat:message", said).await
}

fn assert_unavailable(outcome: &Value) {
    assert_eq!((&outcome["ok"], &outcome["error"]["code"]), (&json!(false), &json!("unavailable")));
}

/// Every call of a back end that needs the database, all at once.
async fn calls_end(hub: &Hub) {
    let said = json!({ "content": "by HTTP", "type": "SYSTEM" });
    let fixes = json!({ "locations": [{ "lat": 1.0, "lng": 2.0 }] });
    let calls = [
        (Method::PUT, "/orders/o3", json!({})),
        (Method::GET, "/orders/o1", Value::Null),
        (Method::GET, "/orders", Value::Null),
        (Method::GET, "/orders/o1/locations", Value::Null),
        (Method::GET, "/orders/o1/messages", Value::Null),
        (Method::POST, "/orders/o1/messages", said),
        (Method::POST, "/orders/o1/locations", fixes),
        (Method::POST, "/users/somebody/revoke", json!({})),
        (Method::DELETE, "/orders/o4", Value::Null),
    ];
    let ended = calls.into_iter().map(async |(method, path, body)| {
        let (status, answer) = call(hub, method.clone(), path, body).await;
        assert_eq!((status, &answer["code"]), (503, &json!("unavailable")), "{method} {path}");
    });
    futures_util::future::join_all(ended).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_answered_while_the_database_hangs() {
    let Some(server) = PostgresServer::start() else { return };
    let unlimited = [("CHAT_PER_SECOND", 0), ("EVENTS_PER_SECOND", 0), ("DRAIN_SECS", 3)];
    let hub = Hub::builder().env("DATABASE_URL", server.url("hub"));
    let mut hub = unlimited.iter().fold(hub, |hub, (name, value)| hub.env(name, value)).start();
    let mut driver = hub.connect("driver", "driver", &["o1"]).await;
    let mut customer = hub.connect("customer", "customer", &["o1"]).await;
    driver.join("o1").await;
    customer.join("o1").await;
    let (made, _) = call(&hub, Method::PUT, "/orders/o1", json!({ "driverId": "driver" })).await;
    assert_eq!(made, 201);
    let before = ask(&mut customer, "before").await;
    assert_eq!(customer.reply(before).await["seq"], 1);

    server.freeze();
    let since = Instant::now();
    let keys: Vec<String> = (0..150).map(|key| format!("during-{key}")).collect();
    let mut asked = Vec::new();
    for key in &keys {
        asked.push(ask(&mut customer, key).await);
    }
    asked.push(customer.ask("chat:history", json!({ "orderId": "o1" })).await);
    let mut late = hub.connect("late", "customer", &["o2"]).await;
    let join = late.ask("order:join", json!({ "orderId": "o2" })).await;
    // Whoever is in the room goes on.
    let fix = json!({ "orderId": "o1", "lat": 1.0, "lng": 2.0 });
    assert_eq!(driver.request("driver:location", fix).await["accepted"], 1);
    assert_eq!(customer.expect("location:updated").await["lat"], 1.0);
    calls_end(&hub).await;
    assert_unavailable(&late.reply(join).await);
    for id in asked {
        assert_unavailable(&customer.reply(id).await);
    }
    assert!(since.elapsed() < ANSWERED, "{:?}", since.elapsed());
    assert_eq!(hub.status("/readyz").await, 503);
    assert_eq!(hub.status("/healthz").await, 200);
    hub.logged("the database does not answer").await;
    // What comes while it still stands still is answered as well.
    let again = ask(&mut customer, "during-0").await;
    let since = Instant::now();
    assert_unavailable(&customer.reply(again).await);
    assert!(since.elapsed() < ANSWERED, "{:?}", since.elapsed());

    server.thaw();
    until("/readyz 200", async || hub.status("/readyz").await == 200).await;
    for key in &keys {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let id = ask(&mut customer, key).await;
            let outcome = customer.reply(id).await;
            if outcome["ok"] == true {
                break;
            }
            assert_unavailable(&outcome);
            assert!(Instant::now() < deadline, "not healed: {outcome}");
        }
    }
    let mut said = contents(&mut customer).await;
    assert_eq!(said.remove(0), "before");
    said.retain(|content| content != "by HTTP");
    said.sort_unstable();
    let mut keys = keys;
    keys.sort_unstable();
    assert_eq!(said, keys, "each once");
    // Those in the room have heard each, in order.
    let heard = driver.drain("chat:message").await;
    let seqs: Vec<_> = heard.iter().map(|message| message["seq"].as_u64()).collect();
    let expected: Vec<_> = (1..=heard.len() as u64).map(Some).collect();
    assert_eq!((seqs.len() > keys.len(), seqs), (true, expected));

    server.freeze();
    ask(&mut customer, "at the stop").await;
    hub.signal("TERM");
    assert_eq!(customer.closed().await.code, 1012);
    assert!(hub.ended().await.success(), "a stop takes no longer than it may");
}
