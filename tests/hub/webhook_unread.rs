//! `chat.unread`: to whom a message was not shown in time, and who is not told of.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::support::hooks::{admin, call, put, telling};
use super::support::receiver::{Reaction, Receiver, WebhooksFile};
use super::support::{Client, Database, Hub, HubBuilder, each_database, until};

const PARTICIPANTS: [&str; 2] = ["ann", "bob"];

fn unread(builder: HubBuilder, receiver: &Receiver) -> (WebhooksFile, HubBuilder) {
    let file = WebhooksFile::new(&receiver.entry("push", "chat.unread", ""));
    let builder = telling(builder, &file).env("UNREAD_AFTER_SECS", "1");
    (file, builder.env("PRESENCE_GRACE_SECS", "0").env("CHAT_PER_SECOND", "0"))
}

/// So many webhooks of o1 and no more, as those of an order that is written to now show.
async fn nothing_more_is_told(hub: &Hub, receiver: &Receiver, count: usize) {
    put(hub, "o2", json!({"driverId": "dan"})).await;
    write(hub, "o2", "one").await;
    until("the other order", async || told(receiver, "o2").len() == 1).await;
    assert_eq!(told(receiver, "o1").len(), count);
}

/// An order of ann and bob, with dan as its driver.
async fn order(hub: &Hub, id: &str) {
    let participants = PARTICIPANTS.map(|user| json!({"userId": user, "role": "customer"}));
    put(hub, id, json!({"driverId": "dan", "participants": participants})).await;
}

async fn joined(hub: &Hub, user: &str, order: &str) -> Client {
    let mut client = hub.connect(user, "customer", &[]).await;
    client.join(order).await;
    client
}

/// Bob writes as his back end does.
async fn write(hub: &Hub, order: &str, text: &str) {
    let path = format!("/api/v1/orders/{order}/messages");
    let body = json!({"senderId": "bob", "content": text});
    assert_eq!(call(hub, Method::POST, &path, body).await, 201);
}

async fn read(client: &mut Client, order: &str, seq: i64) {
    let done = client.request("chat:read", json!({"orderId": order, "seq": seq})).await;
    assert_eq!(done["ok"], true, "{done}");
}

/// The users who were told of for an order, with what is unread.
fn told(receiver: &Receiver, order: &str) -> Vec<(String, i64)> {
    let all = receiver.received();
    let of_order = all.iter().filter(|one| one.data["orderId"] == order);
    let mut told: Vec<_> = of_order
        .map(|one| {
            let unread = one.data["unread"].as_i64().expect("a number");
            (one.data["userId"].as_str().expect("a user").to_owned(), unread)
        })
        .collect();
    told.sort();
    told
}

fn is(user: &str, unread: i64) -> (String, i64) {
    (user.to_owned(), unread)
}

#[tokio::test]
async fn users_who_were_not_shown_a_message_are_told_of_and_no_others() {
    each_database(async |database: Database| {
        let receiver = Receiver::start();
        let (_file, builder) = unread(database.hub(), &receiver);
        let hub = builder.start();
        order(&hub, "o1").await;
        // Eve joined once by her token; the one of support only looks in.
        let mut eve = hub.connect("eve", "customer", &["o1"]).await;
        eve.join("o1").await;
        eve.close().await;
        let mut sue = hub.connect("sue", "support", &[]).await;
        sue.join("o1").await;
        sue.close().await;
        // Ann's app tells what was read: that she is connected says nothing.
        let mut ann = joined(&hub, "ann", "o1").await;
        write(&hub, "o1", "one").await;
        ann.expect("chat:message").await;
        read(&mut ann, "o1", 1).await;
        for text in ["two", "three", "four", "five"] {
            write(&hub, "o1", text).await;
        }
        until("three webhooks", async || told(&receiver, "o1").len() >= 3).await;
        assert_eq!(told(&receiver, "o1"), [is("ann", 4), is("dan", 5), is("eve", 5)]);
        let of_ann = receiver.find(|one| one.data["userId"] == "ann").await;
        assert!(of_ann.is_signed);
        let texts: Vec<_> = of_ann.data["messages"].as_array().expect("messages").iter().collect();
        let texts: Vec<_> = texts.iter().map(|message| &message["content"]).collect();
        assert_eq!(texts, ["three", "four", "five"]);
        let rest = (&of_ann.data["role"], &of_ann.data["online"]);
        assert_eq!(rest, (&json!("customer"), &json!(true)));
        let of_dan = receiver.find(|one| one.data["userId"] == "dan").await;
        let rest = (&of_dan.data["role"], &of_dan.data["online"]);
        assert_eq!(rest, (&json!("driver"), &json!(false)));
    })
    .await;
}

#[tokio::test]
async fn a_message_read_in_time_on_any_device_is_not_told() {
    let receiver = Receiver::start();
    let (_file, builder) = unread(Hub::builder(), &receiver);
    let hub = builder.env("UNREAD_AFTER_SECS", "2").start();
    order(&hub, "o1").await;
    order(&hub, "o2").await;
    let _phone = joined(&hub, "ann", "o1").await;
    let mut tablet = joined(&hub, "ann", "o1").await;
    write(&hub, "o1", "one").await;
    tablet.expect("chat:message").await;
    read(&mut tablet, "o1", 1).await;
    write(&hub, "o2", "one").await;
    // What is told of the other order comes after what would be told of this one.
    until("the other order", async || told(&receiver, "o2").len() == 2).await;
    assert_eq!(told(&receiver, "o1"), [is("dan", 1)]);
    assert_eq!(told(&receiver, "o2"), [is("ann", 1), is("dan", 1)]);
}

#[tokio::test]
async fn delivery_counts_for_an_app_without_read_receipts() {
    let receiver = Receiver::start();
    let (_file, builder) = unread(Hub::builder(), &receiver);
    let hub = builder.start();
    order(&hub, "o1").await;
    let mut ann = joined(&hub, "ann", "o1").await;
    write(&hub, "o1", "one").await;
    ann.expect("chat:message").await;
    until("the driver", async || told(&receiver, "o1") == [is("dan", 1)]).await;
    ann.close().await;
    write(&hub, "o1", "two").await;
    until("ann", async || told(&receiver, "o1") == [is("ann", 1), is("dan", 1)]).await;
}

#[tokio::test]
async fn users_without_a_right_are_not_told_of() {
    let receiver = Receiver::start();
    let (_file, builder) = unread(Hub::builder(), &receiver);
    let hub = builder.start();
    order(&hub, "o1").await;
    let mut eve = hub.connect("eve", "customer", &["o1"]).await;
    eve.join("o1").await;
    eve.close().await;
    let mut fay = hub.connect("fay", "customer", &["o1"]).await;
    fay.join("o1").await;
    fay.close().await;
    write(&hub, "o1", "one").await;
    let path = "/api/v1/orders/o1/participants/ann";
    assert_eq!(call(&hub, Method::DELETE, path, json!({})).await, 200);
    let path = "/api/v1/orders/o1/participants/eve";
    assert_eq!(call(&hub, Method::DELETE, path, json!({})).await, 200);
    let revoked = call(&hub, Method::POST, "/api/v1/users/fay/revoke", json!({})).await;
    assert_eq!(revoked, 200);
    until("the driver", async || told(&receiver, "o1") == [is("dan", 1)]).await;
    order(&hub, "o2").await;
    write(&hub, "o2", "one").await;
    assert_eq!(call(&hub, Method::DELETE, "/api/v1/orders/o2", json!({})).await, 200);
    order(&hub, "o3").await;
    write(&hub, "o3", "one").await;
    until("the last order", async || told(&receiver, "o3").len() == 2).await;
    assert_eq!((told(&receiver, "o1"), told(&receiver, "o2")), (vec![is("dan", 1)], vec![]));
}

#[tokio::test]
async fn a_try_that_failed_is_judged_again() {
    let receiver = Receiver::start();
    let (_file, builder) = unread(Hub::builder(), &receiver);
    let hub = builder.env("WEBHOOK_RETRY_SCHEDULE", vec!["300ms"; 50].join(",")).start();
    order(&hub, "o1").await;
    receiver.react(|_| Reaction::Status(500));
    let mut ann = joined(&hub, "ann", "o1").await;
    for text in ["one", "two"] {
        write(&hub, "o1", text).await;
        ann.expect("chat:message").await;
        read(&mut ann, "o1", 1).await;
    }
    receiver.find(|one| one.data["userId"] == "ann").await;
    read(&mut ann, "o1", 2).await;
    let tries = receiver.count();
    receiver.react(|_| Reaction::Status(200));
    order(&hub, "o2").await;
    write(&hub, "o2", "one").await;
    until("the other order", async || told(&receiver, "o2").len() >= 2).await;
    let later = &receiver.received()[tries..];
    let of = |user: &str| {
        later.iter().filter(|one| one.data["orderId"] == "o1" && one.data["userId"] == user).count()
    };
    assert!(of("ann") <= 1, "only what was on its way: {}", of("ann"));
    assert!(of("dan") >= 1);
}

#[tokio::test]
async fn a_user_is_told_of_once_and_again_for_a_newer_message_after_the_interval() {
    each_database(async |database: Database| {
        let receiver = Receiver::start();
        let (_file, builder) = unread(database.hub(), &receiver);
        let hub = builder.env("UNREAD_REPEAT_SECS", "3").start();
        put(&hub, "o1", json!({"driverId": "dan"})).await;
        write(&hub, "o1", "one").await;
        let first = receiver.sent(1).await[0].clone();
        write(&hub, "o1", "two").await;
        let second = receiver.sent(2).await[1].clone();
        assert!(second.at.duration_since(first.at) >= Duration::from_millis(2500));
        assert_eq!(
            (first.data["unread"].clone(), second.data["unread"].clone()),
            (json!(1), json!(2))
        );
        assert_ne!(first.id, second.id);
        // Of the same messages nothing more is told.
        nothing_more_is_told(&hub, &receiver, 2).await;
    })
    .await;
}

#[tokio::test]
async fn a_restart_forgets_nothing_and_repeats_nothing() {
    each_database(async |database: Database| {
        let receiver = Receiver::start();
        let (_file, builder) = unread(database.hub(), &receiver);
        let hub = builder.env("WEBHOOK_RETRY_SCHEDULE", "1h").start();
        put(&hub, "o1", json!({"driverId": "dan"})).await;
        receiver.react(|_| Reaction::Status(500));
        write(&hub, "o1", "one").await;
        let first = receiver.sent(1).await[0].clone();
        let hub = hub.kill_and_restart();
        receiver.react(|_| Reaction::Status(200));
        let deadline = Instant::now() + Duration::from_secs(60);
        while receiver.count() < 2 {
            assert!(Instant::now() < deadline, "it was not told again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(receiver.received()[1].id, first.id, "the same webhook");
        hub.signal("TERM");
        let hub = hub.start_again();
        nothing_more_is_told(&hub, &receiver, 2).await;
    })
    .await;
}

#[tokio::test]
async fn a_thousand_users_at_once_are_told_of() {
    let receiver = Receiver::start();
    let (_file, builder) = unread(Hub::builder(), &receiver);
    let hub = builder.start();
    let orders: Vec<Value> = (0..1000)
        .map(|n| json!({"orderId": format!("o{n}"), "driverId": format!("u{n}")}))
        .collect();
    for part in orders.chunks(100) {
        let written = part.iter().map(async |one| {
            let order = one["orderId"].as_str().expect("an id");
            put(&hub, order, json!({"driverId": one["driverId"]})).await;
            write(&hub, order, "one").await;
        });
        futures_util::future::join_all(written).await;
    }
    let users = || -> BTreeSet<String> {
        let all = receiver.received();
        all.iter().map(|one| one.data["userId"].as_str().expect("a user").to_owned()).collect()
    };
    until("all of them", async || users().len() == 1000).await;
    assert_eq!(receiver.count(), 1000);
    let (_, seen) = admin(&hub, Method::GET, "/admin/v1/webhooks", Value::Null).await;
    assert_eq!(seen["endpoints"][0]["state"], "up", "{seen}");
}
