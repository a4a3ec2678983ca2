//! Events that are only true for a moment: who is in a room, whether the driver is connected and
//! sends positions; and that a hub has started.

use serde_json::json;

use super::support::Hub;
use super::support::hooks::{put, say, telling, writer};
use super::support::receiver::{Receiver, WebhooksFile};

fn hub(events: &str) -> (Receiver, WebhooksFile, Hub) {
    let receiver = Receiver::start();
    let file = WebhooksFile::new(&receiver.entry("moments", events, ""));
    let builder = telling(Hub::builder(), &file).env("PRESENCE_GRACE_SECS", "0");
    let hub = builder.env("STALE_AFTER_SECS", "1").start();
    (receiver, file, hub)
}

#[tokio::test]
async fn a_member_enters_and_leaves_once_with_several_devices() {
    let (receiver, _file, hub) = hub("member.*");
    let mut phone = hub.connect("ann", "customer", &["o1"]).await;
    let mut tablet = hub.connect("ann", "customer", &["o1"]).await;
    phone.join("o1").await;
    tablet.join("o1").await;
    let joined = receiver.expect("member.joined").await;
    assert_eq!((&joined.data["userId"], &joined.data["role"]), (&json!("ann"), &json!("customer")));
    assert_eq!(joined.data["orderId"], "o1");
    phone.close().await;
    tablet.close().await;
    let left = receiver.expect("member.left").await;
    assert_eq!(left.data["bootId"], joined.data["bootId"]);
    assert_eq!(receiver.count(), 2);
}

#[tokio::test]
async fn a_drain_sends_no_member_webhooks_and_the_next_start_sends_its_own() {
    let (receiver, _file, hub) = hub("member.*\", \"hub.started");
    let first = receiver.expect("hub.started").await;
    assert!(first.data["node"].is_string());
    let mut ann = writer(&hub, &["o1"]).await;
    receiver.expect("member.joined").await;
    hub.signal("TERM");
    ann.closed().await;
    let _hub = hub.start_again();
    let second = receiver.find(|one| one.kind == "hub.started" && one.id != first.id).await;
    assert_ne!(second.data["bootId"], first.data["bootId"]);
    let kinds: Vec<_> = receiver.received().into_iter().map(|one| one.kind).collect();
    assert_eq!(kinds, ["hub.started", "member.joined", "hub.started"]);
}

#[tokio::test]
async fn a_driver_without_positions_is_stale_until_one_comes() {
    let (receiver, _file, hub) = hub("driver.*");
    put(&hub, "o1", json!({"status": "ON_THE_WAY", "driverId": "dan"})).await;
    let mut dan = hub.connect("dan", "driver", &[]).await;
    dan.join("o1").await;
    assert_eq!(receiver.expect("driver.online").await.data["driverId"], "dan");
    let first = receiver.expect("driver.stale").await;
    let fix = json!({"orderId": "o1", "lat": 45.0, "lng": 13.0});
    dan.request("driver:location", fix).await;
    receiver.expect("driver.fresh").await;
    receiver.find(|one| one.kind == "driver.stale" && one.id != first.id).await;
    dan.close().await;
    receiver.expect("driver.offline").await;
    put(&hub, "o1", json!({"status": "DELIVERED"})).await;
    let kinds: Vec<_> = receiver.received().into_iter().map(|one| one.kind).collect();
    let expected =
        ["driver.online", "driver.stale", "driver.fresh", "driver.stale", "driver.offline"];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn a_newer_event_of_a_user_replaces_a_failed_webhook() {
    let (receiver, _file, hub) = hub("member.*");
    receiver.react(|one| {
        super::support::receiver::Reaction::Status(if one.kind == "member.joined" {
            500
        } else {
            200
        })
    });
    let mut ann = writer(&hub, &["o1"]).await;
    receiver.expect("member.joined").await;
    say(&mut ann, "o1", "hi").await;
    ann.close().await;
    receiver.expect("member.left").await;
}
