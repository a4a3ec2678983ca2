//! What endpoints are told, of what and in which order, and who is told nothing.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::hooks::{call, endpoint, put, telling};
use super::support::receiver::{Reaction, Received, Receiver, WebhooksFile, entry};
use super::support::{Database, Hub, each_database, until};

fn of_order(received: &[Received], order: &str) -> Vec<Received> {
    received.iter().filter(|one| one.data["orderId"] == order).cloned().collect()
}

#[tokio::test]
async fn a_chat_webhook_lists_the_participants_who_are_offline() {
    each_database(async |database: Database| {
        let receiver = Receiver::start();
        let file = WebhooksFile::new(&receiver.entry("push", "chat.message", ""));
        let hub = telling(database.hub(), &file).start();
        let participants = json!([{"userId": "ann", "role": "customer"},
            {"userId": "bob", "role": "support"}, {"userId": "cy", "role": "customer"}]);
        put(&hub, "o1", json!({"driverId": "dan", "participants": participants})).await;
        let mut ann = hub.connect("ann", "customer", &[]).await;
        let _bob = hub.connect("bob", "customer", &[]).await;
        ann.join("o1").await;
        let ack = ann.request("chat:message", json!({"orderId": "o1", "content": "hi \"there\""}));
        let ack = ack.await;
        let told = receiver.expect("chat.message").await;
        assert!(told.is_signed);
        assert_eq!(told.id, ack["id"], "the webhook has the id of the message");
        let mut shown = ann.expect("chat:message").await;
        shown["offlineUserIds"] = json!(["cy", "dan"]);
        assert_eq!(told.data, shown);
        until("the record", async || endpoint(&hub, "push").await["waiting"] == 0).await;
        assert_eq!(receiver.count(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_webhooks_of_an_order_are_sent_in_order() {
    each_database(async |database: Database| {
        let receiver = Receiver::start();
        let events = "order.*\", \"participant.*\", \"chat.*";
        let file = WebhooksFile::new(&receiver.entry("shop", events, ""));
        let hub = telling(database.hub(), &file).start();
        put(
            &hub,
            "o1",
            json!({"status": "NEW", "driverId": "dan", "version": 7,
            "participants": [{"userId": "ann", "role": "customer", "name": "Ann"}]}),
        )
        .await;
        let status = json!({"status": "READY", "data": {"eta": 5}, "at": "2026-01-02T03:04:05Z"});
        assert_eq!(call(&hub, Method::POST, "/api/v1/orders/o1/status", status).await, 200);
        let mut ann = hub.connect("ann", "customer", &[]).await;
        ann.join("o1").await;
        ann.request("chat:message", json!({"orderId": "o1", "content": "hi"})).await;
        let path = "/api/v1/orders/o1/participants/eve";
        assert_eq!(call(&hub, Method::PUT, path, json!({"role": "support"})).await, 200);
        assert_eq!(call(&hub, Method::DELETE, path, json!({})).await, 200);
        let assign = json!({"driverId": null});
        assert_eq!(call(&hub, Method::POST, "/api/v1/orders/o1/assign", assign).await, 200);
        assert_eq!(call(&hub, Method::DELETE, "/api/v1/orders/o1", json!({})).await, 200);
        receiver.expect("order.deleted").await;
        let told = receiver.received();
        let kinds: Vec<_> = told.iter().map(|one| one.kind.as_str()).collect();
        assert_eq!(
            kinds,
            [
                "order.created",
                "order.status",
                "chat.message",
                "participant.added",
                "participant.removed",
                "order.assigned",
                "order.deleted"
            ]
        );
        assert_eq!(told[0].data["participants"][0]["name"], "Ann");
        assert_eq!((&told[0].data["version"], &told[0].data["rev"]), (&json!(7), &json!(1)));
        assert_eq!(
            told[1].data,
            json!({"orderId": "o1", "status": "READY", "previousStatus": "NEW",
            "data": {"eta": 5}, "rev": 2, "at": "2026-01-02T03:04:05.000Z"})
        );
        assert_eq!(told[3].data["userId"], "eve");
        assert_eq!(told[5].data["previousDriverId"], "dan");
    })
    .await;
}

#[tokio::test]
async fn a_read_receipt_sends_a_webhook_and_the_senders_own_mark_does_not() {
    each_database(async |database: Database| {
        let receiver = Receiver::start();
        let file = WebhooksFile::new(&receiver.entry("shop", "chat.read", ""));
        let hub = telling(database.hub(), &file).start();
        let mut ann = hub.connect("ann", "customer", &["o1"]).await;
        let mut bob = hub.connect("bob", "customer", &["o1"]).await;
        ann.join("o1").await;
        bob.join("o1").await;
        for text in ["one", "two"] {
            ann.request("chat:message", json!({"orderId": "o1", "content": text})).await;
        }
        bob.find(|event| event["data"]["seq"] == 2).await;
        bob.request("chat:read", json!({"orderId": "o1", "seq": 2})).await;
        let told = receiver.expect("chat.read").await;
        assert_eq!((&told.data["userId"], &told.data["seq"]), (&json!("bob"), &json!(2)));
        // The same again moves nothing.
        bob.request("chat:read", json!({"orderId": "o1", "seq": 1})).await;
        ann.request("chat:message", json!({"orderId": "o1", "content": "three"})).await;
        bob.find(|event| event["data"]["seq"] == 3).await;
        bob.request("chat:read", json!({"orderId": "o1", "seq": 3})).await;
        receiver.find(|one| one.data["seq"] == 3).await;
        assert_eq!(receiver.count(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_failed_webhook_is_retried_and_delays_its_order_only() {
    each_database(async |database: Database| {
        let receiver = Receiver::start();
        let file = WebhooksFile::new(&receiver.entry("push", "chat.message", ""));
        let hub = telling(database.hub(), &file).start();
        let mut ann = hub.connect("ann", "customer", &["o1", "o2"]).await;
        ann.join("o1").await;
        ann.join("o2").await;
        let failures = std::sync::atomic::AtomicU32::new(0);
        receiver.react(move |one| {
            let fails = one.data["content"] == "bad"
                && failures.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2;
            Reaction::Status(if fails { 500 } else { 200 })
        });
        for (order, text) in [("o1", "bad"), ("o1", "later"), ("o2", "other")] {
            ann.request("chat:message", json!({"orderId": order, "content": text})).await;
        }
        receiver.find(|one| one.data["content"] == "later").await;
        let told = of_order(&receiver.received(), "o1");
        let texts: Vec<_> = told.iter().map(|one| one.data["content"].as_str()).collect();
        assert_eq!(texts, [Some("bad"), Some("bad"), Some("bad"), Some("later")]);
        assert!(told.iter().all(|one| one.is_signed), "each try is signed with its own time");
        assert!(told[..3].iter().all(|one| one.id == told[0].id));
        let other = receiver.find(|one| one.data["content"] == "other").await;
        assert!(other.at < told[2].at, "o2 did not wait for o1");
    })
    .await;
}

#[tokio::test]
async fn without_a_file_nothing_is_written_and_admins_see_no_endpoint() {
    let hub = Hub::start();
    put(&hub, "o1", json!({"status": "NEW"})).await;
    let (status, list) = hub.admin(Method::GET, "/admin/v1/webhooks").await;
    assert_eq!((status, list), (200, json!({"endpoints": []})));
    let (status, problem) = hub.admin(Method::POST, "/admin/v1/webhooks/push/enable").await;
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")));
    let database = Database { postgres: None };
    let mut connection = database.connection(&hub);
    let counts = orderhub::db::webhooks::counts(&mut connection).expect("counted");
    assert!(counts.is_empty());
}

#[tokio::test]
async fn addresses_of_metadata_are_refused_at_every_try() {
    let file = WebhooksFile::new(&entry("push", "https://169.254.169.254/x", "chat.message", ""));
    let hub = telling(Hub::builder(), &file).start();
    let mut ann = hub.connect("ann", "customer", &["o1"]).await;
    ann.join("o1").await;
    ann.request("chat:message", json!({"orderId": "o1", "content": "hi"})).await;
    until("a try", async || endpoint(&hub, "push").await["lastError"] != Value::Null).await;
    let error = endpoint(&hub, "push").await["lastError"].as_str().expect("a text").to_owned();
    assert!(error.contains("link-local"), "{error}");
}
