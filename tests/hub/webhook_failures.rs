//! Endpoints that are down, slow, wrong or gone: what is tried again, what waits, and what an admin
//! sees of it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::support::hooks::{admin, endpoint, endpoint_is, say, telling, writer};
use super::support::receiver::{Reaction, Received, Receiver, WebhooksFile, entry};
use super::support::{Database, Hub, each_database, tls, until};

fn texts(told: &[Received]) -> Vec<&str> {
    told.iter().filter_map(|one| one.data["content"].as_str()).collect()
}

async fn last_error(hub: &Hub) -> String {
    let seen = endpoint_is(hub, "push", |push| push["lastError"] != Value::Null).await;
    seen["lastError"].as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn after_410_only_an_admin_or_another_entry_starts_an_endpoint() {
    each_database(async |database: Database| {
        let receiver = Receiver::start();
        let file = WebhooksFile::new(&receiver.entry("push", "chat.message", ""));
        let hub = telling(database.hub(), &file).start();
        receiver.react(|_| Reaction::Status(410));
        say(&mut writer(&hub, &["o1"]).await, "o1", "one").await;
        let seen = endpoint_is(&hub, "push", |push| push["state"] == "stopped").await;
        assert_eq!(
            (&seen["waiting"], &seen["lastError"]),
            (&json!(1), &json!("it answers 410 Gone"))
        );
        assert_eq!(seen["url"], format!("http://localhost:{}/hooks", receiver.addr.port()));

        let hub = hub.kill_and_restart();
        let mut ann = writer(&hub, &["o1", "o2"]).await;
        say(&mut ann, "o2", "two").await;
        assert_eq!(endpoint(&hub, "push").await["state"], "stopped");
        receiver.react(|_| Reaction::Status(200));
        let path = "/admin/v1/webhooks/push/enable";
        assert_eq!(admin(&hub, Method::POST, path, Value::Null).await.0, 200);
        receiver.find(|one| one.data["content"] == "two").await;
        endpoint_is(&hub, "push", |push| push["waiting"] == 0).await;
        assert_eq!(receiver.count(), 3, "one that was answered 410, and one of each");

        receiver.react(|_| Reaction::Status(410));
        say(&mut ann, "o1", "three").await;
        endpoint_is(&hub, "push", |push| push["state"] == "stopped").await;
        receiver.react(|_| Reaction::Status(200));
        file.write(&receiver.entry("push", "chat.message", "timeout_ms = 4000"));
        until("the message", async || texts(&receiver.received()).ends_with(&["three", "three"]))
            .await;
        endpoint_is(&hub, "push", |push| push["state"] == "up" && push["waiting"] == 0).await;
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_fails_for_all_is_not_tried_for_each_order() {
    each_database(async |database: Database| {
        let receiver = Receiver::start();
        let file = WebhooksFile::new(&receiver.entry("push", "chat.message", ""));
        let builder = telling(database.hub(), &file).env("WEBHOOK_RETRY_SCHEDULE", "1h");
        let hub = builder.env("WEBHOOK_CONCURRENCY", "2").env("CHAT_PER_SECOND", "0").start();
        receiver.react(|_| Reaction::Status(500));
        let orders: Vec<String> = (0..30).map(|n| format!("o{n}")).collect();
        let orders: Vec<&str> = orders.iter().map(String::as_str).collect();
        let mut ann = writer(&hub, &orders).await;
        for order in &orders {
            say(&mut ann, order, "one").await;
            say(&mut ann, order, "two").await;
        }
        endpoint_is(&hub, "push", |push| push["state"] == "down" && push["waiting"] == 60).await;
        // Three in a row, and one that was on its way with the third.
        let tries = receiver.count();
        assert!((3..=4).contains(&tries), "{tries}");
        receiver.react(|_| Reaction::Status(200));
        admin(&hub, Method::POST, "/admin/v1/webhooks/push/enable", Value::Null).await;
        endpoint_is(&hub, "push", |push| push["state"] == "up" && push["waiting"] == 0).await;
        let told = receiver.received();
        for order in orders {
            let of_order = told[tries..].iter().filter(|one| one.data["orderId"] == order);
            let of_order: Vec<_> = of_order.cloned().collect();
            assert_eq!(texts(&of_order), ["one", "two"], "{order}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_was_not_there_gets_what_waits_when_it_is() {
    let receiver = Receiver::start();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = free.local_addr().expect("an address");
    drop(free);
    let url = format!("http://{addr}/hooks?key=secret");
    let file = WebhooksFile::new(&entry("push", &url, "chat.message", ""));
    let hub = telling(Hub::builder(), &file).env("WEBHOOK_RETRY_SCHEDULE", "100ms,100ms,100ms,1s");
    let hub = hub.start();
    let mut ann = writer(&hub, &["o1"]).await;
    say(&mut ann, "o1", "one").await;
    assert!(last_error(&hub).await.contains("refused"));
    drop(receiver);
    let receiver = Receiver::start_at(addr);
    say(&mut ann, "o1", "two").await;
    let told = receiver.sent(2).await;
    assert_eq!(texts(&told), ["one", "two"]);
}

#[tokio::test]
async fn a_poison_message_holds_back_no_other_order() {
    let receiver = Receiver::start();
    let file = WebhooksFile::new(&receiver.entry("push", "chat.message", ""));
    let builder = telling(Hub::builder(), &file).env("WEBHOOK_RETRY_SCHEDULE", "1h");
    let hub = builder.env("CHAT_PER_SECOND", "0").start();
    receiver.react(|one| Reaction::Status(if one.data["orderId"] == "bad" { 400 } else { 200 }));
    let mut ann = writer(&hub, &["bad", "o1", "o2"]).await;
    for number in 0..20 {
        say(&mut ann, "bad", &number.to_string()).await;
        say(&mut ann, "o1", &number.to_string()).await;
        say(&mut ann, "o2", &number.to_string()).await;
    }
    let good = |one: &Received| one.data["orderId"] != "bad";
    until("the others", async || receiver.received().iter().filter(|one| good(one)).count() == 40)
        .await;
    assert_eq!(receiver.count(), 41, "the poison was tried once");
    let seen = endpoint_is(&hub, "push", |push| push["waiting"] == 20).await;
    assert_eq!((&seen["state"], &seen["dead"]), (&json!("up"), &json!(0)));
}

#[tokio::test]
async fn retry_after_of_a_busy_endpoint_delays_every_order() {
    let receiver = Receiver::start();
    let file = WebhooksFile::new(&receiver.entry("push", "chat.message", ""));
    let hub = telling(Hub::builder(), &file).start();
    let answered = AtomicU32::new(0);
    receiver.react(move |_| match answered.fetch_add(1, Ordering::SeqCst) {
        0 => Reaction::With(429, "retry-after: 1\r\n".to_owned()),
        _ => Reaction::Status(200),
    });
    let mut ann = writer(&hub, &["o1", "o2"]).await;
    say(&mut ann, "o1", "one").await;
    endpoint_is(&hub, "push", |push| push["state"] == "down").await;
    say(&mut ann, "o2", "two").await;
    let told = receiver.sent(3).await;
    assert!(told[1].at.duration_since(told[0].at) >= Duration::from_secs(1));
    endpoint_is(&hub, "push", |push| push["state"] == "up" && push["waiting"] == 0).await;
}

#[tokio::test]
async fn faults_of_an_endpoint_are_listed_and_retried() {
    let elsewhere = Receiver::start();
    let location = format!("location: http://{}/hooks\r\n", elsewhere.addr);
    for (reaction, reason) in [
        (Reaction::Status(500), "it answers 500"),
        (Reaction::With(302, location), "it answers 302 Found, and redirects are not followed"),
        (Reaction::Close, ""),
        (Reaction::Late(Duration::from_secs(2)), "no answer within 300 ms"),
    ] {
        let receiver = Receiver::start();
        let file = WebhooksFile::new(&receiver.entry("push", "chat.message", "timeout_ms = 300"));
        let hub = telling(Hub::builder(), &file).start();
        let (answered, does) = (AtomicU32::new(0), reaction.clone());
        receiver.react(move |_| match answered.fetch_add(1, Ordering::SeqCst) {
            0 => does.clone(),
            _ => Reaction::Status(200),
        });
        say(&mut writer(&hub, &["o1"]).await, "o1", "one").await;
        let told = receiver.sent(2).await;
        assert_eq!(told[0].id, told[1].id);
        let seen = endpoint_is(&hub, "push", |push| push["waiting"] == 0).await;
        let error = seen["lastError"].as_str().expect("a text");
        assert!(error.starts_with(reason) && !error.contains("no\n"), "{reaction:?}: {error}");
        assert_eq!(seen["state"], "up");
    }
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn a_large_answer_is_not_read_to_its_end() {
    let receiver = Receiver::start();
    let file = WebhooksFile::new(&receiver.entry("push", "chat.message", ""));
    let hub = telling(Hub::builder(), &file).start();
    receiver.react(|_| Reaction::Big(2 * 1024 * 1024));
    let mut ann = writer(&hub, &["o1"]).await;
    for text in ["one", "two"] {
        say(&mut ann, "o1", text).await;
    }
    let seen = endpoint_is(&hub, "push", |push| push["waiting"] == 0).await;
    assert_eq!(
        (texts(&receiver.received()), &seen["lastError"]),
        (vec!["one", "two"], &Value::Null)
    );
}

#[tokio::test]
async fn a_certificate_is_accepted_only_from_an_authority_of_the_entry() {
    let receiver = Receiver::start_tls();
    let file = WebhooksFile::new(&receiver.entry("push", "chat.message", ""));
    let hub = telling(Hub::builder(), &file).env("WEBHOOK_RETRY_SCHEDULE", "1h").start();
    say(&mut writer(&hub, &["o1"]).await, "o1", "one").await;
    let error = last_error(&hub).await;
    assert!(error.contains("certificate"), "{error}");
    // Another entry is tried at once.
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, tls::CERTIFICATE).expect("written");
    file.write(&receiver.entry("push", "chat.message", &format!("ca = {:?}", ca.display())));
    hub.logged("WEBHOOKS_FILE: 1 endpoints of").await;
    // And so is one whose file of certificates has changed.
    std::fs::copy(tls::AUTHORITY, &ca).expect("copied");
    assert!(receiver.expect("chat.message").await.is_signed);
}

#[tokio::test]
async fn dead_webhooks_are_listed_and_replayed_under_their_ids() {
    each_database(async |database: Database| {
        let receiver = Receiver::start();
        let file = WebhooksFile::new(&receiver.entry("push", "chat.message", ""));
        let hub = telling(database.hub(), &file).env("WEBHOOK_RETRY_SCHEDULE", "20ms,20ms").start();
        receiver
            .react(|one| Reaction::Status(if one.data["content"] == "bad" { 422 } else { 200 }));
        let mut ann = writer(&hub, &["o1"]).await;
        let bad = say(&mut ann, "o1", "bad").await;
        say(&mut ann, "o1", "later").await;
        receiver.find(|one| one.data["content"] == "later").await;
        endpoint_is(&hub, "push", |push| push["dead"] == 1 && push["waiting"] == 0).await;
        assert_eq!(receiver.count(), 4);
        let dead = "/admin/v1/webhooks/push/dead";
        let (_, list) = admin(&hub, Method::GET, dead, Value::Null).await;
        let row = &list["dead"][0];
        assert_eq!((&row["id"], &row["type"]), (&bad["id"], &json!("chat.message")));
        assert_eq!(row["error"], "it answers 422 Unprocessable Entity");

        receiver.react(|_| Reaction::Status(200));
        let replay = "/admin/v1/webhooks/push/dead:replay";
        let other = admin(&hub, Method::POST, replay, json!({"ids": ["another"]})).await;
        assert_eq!(other, (200, json!({"replayed": 0})));
        let all = admin(&hub, Method::POST, replay, Value::Null).await;
        assert_eq!(all, (200, json!({"replayed": 1})));
        let told = receiver.sent(5).await;
        assert_eq!(told[4].id, row["id"].as_str().expect("a text"));
        endpoint_is(&hub, "push", |push| push["waiting"] == 0 && push["dead"] == 0).await;
        let wrong = admin(&hub, Method::POST, replay, json!({"id": "x"})).await;
        assert_eq!((wrong.0, &wrong.1["field"]), (400, &json!("id")));
    })
    .await;
}

#[tokio::test]
async fn beyond_so_many_that_wait_new_ones_are_given_up_at_once() {
    let (receiver, other) = (Receiver::start(), Receiver::start());
    let entries = receiver.entry("push", "chat.message", "") + &other.entry("other", "chat.*", "");
    let file = WebhooksFile::new(&entries);
    let builder = telling(Hub::builder(), &file).env("WEBHOOK_RETRY_SCHEDULE", "1h");
    let hub = builder.env("WEBHOOK_MAX_ROWS", "3").start();
    receiver.react(|_| Reaction::Status(500));
    let mut ann = writer(&hub, &["o1"]).await;
    for number in 0..8 {
        say(&mut ann, "o1", &number.to_string()).await;
        other.sent(number + 1).await;
        // Its place is free when the delivery is recorded.
        endpoint_is(&hub, "other", |other| other["waiting"] == 0).await;
    }
    endpoint_is(&hub, "push", |push| push["waiting"] == 3).await;
    hub.logged("WEBHOOK_MAX_ROWS: so many webhooks wait").await;
    // Of the dead there are no more than that either: the oldest go.
    let metrics = "orderhub_webhooks_sent_total{endpoint=\"push\",result=\"deleted\"} 2";
    until("the oldest to go", async || {
        let shown = reqwest::get(hub.url("/metrics")).await.expect("an answer");
        shown.text().await.expect("a text").contains(metrics)
    })
    .await;
    endpoint_is(&hub, "push", |push| push["dead"] == 3).await;
    assert_eq!(endpoint(&hub, "other").await["dead"], 0);
    receiver.react(|_| Reaction::Status(200));
    admin(&hub, Method::POST, "/admin/v1/webhooks/push/enable", Value::Null).await;
    endpoint_is(&hub, "push", |push| push["waiting"] == 0).await;
    admin(&hub, Method::POST, "/admin/v1/webhooks/push/dead:replay", Value::Null).await;
    let sent = receiver.sent(7).await;
    let told: std::collections::BTreeSet<_> = texts(&sent).into_iter().collect();
    assert_eq!(told.into_iter().collect::<Vec<_>>(), ["0", "1", "2", "5", "6", "7"]);
}
