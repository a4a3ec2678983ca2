//! Changes of back ends take effect at once: on those who are joined, on every device, and on those
//! whom they concern elsewhere.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::back_end::{call, put};
use super::support::rooms::{code, fix, say};
use super::support::{Client, Database, Hub, each_database};

async fn set_status(hub: &Hub, order: &str, body: Value) {
    let (status, answer) = call(hub, Method::POST, &format!("/orders/{order}/status"), body).await;
    assert_eq!(status, 200, "{answer}");
}

async fn assign(hub: &Hub, order: &str, body: Value) {
    let (status, answer) = call(hub, Method::POST, &format!("/orders/{order}/assign"), body).await;
    assert_eq!(status, 200, "{answer}");
}

/// Somebody takes part in a role, or does no more.
async fn take_part(hub: &Hub, order: &str, user: &str, role: Option<&str>) {
    let path = format!("/orders/{order}/participants/{user}");
    let (status, answer) = match role {
        Some(role) => call(hub, Method::PUT, &path, json!({ "role": role })).await,
        None => call(hub, Method::DELETE, &path, Value::Null).await,
    };
    assert_eq!(status, 200, "{answer}");
}

async fn joins(client: &mut Client, order: &str) -> String {
    let answer = client.request("order:join", json!({ "orderId": order })).await;
    if answer["ok"] == true { "ok".to_owned() } else { code(&answer).to_owned() }
}

#[tokio::test]
async fn a_removed_participant_gets_order_left_on_every_device_and_the_token_gives_no_right() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        put(&hub, "o1", json!({ "participants": [{ "userId": "bob", "role": "customer" }] })).await;
        let mut phone = hub.connect("bob", "customer", &[]).await;
        let mut tablet = hub.connect("bob", "customer", &["o1"]).await;
        let mut ann = hub.connect("ann", "driver", &["o1"]).await;
        for client in [&mut phone, &mut tablet, &mut ann] {
            client.join("o1").await;
        }
        take_part(&hub, "o1", "bob", None).await;
        for client in [&mut phone, &mut tablet] {
            let left = client.expect("order:left").await;
            assert_eq!(left, json!({ "orderId": "o1", "reason": "removed" }));
        }
        assert_eq!(ann.expect("presence:left").await["userId"], "bob");
        say(&mut ann, "o1", "among us").await;
        ann.request("driver:location", fix("o1", 13.7)).await;
        set_status(&hub, "o1", json!({ "status": "NEW" })).await;
        ann.expect("order:status").await;
        for client in [&mut phone, &mut tablet] {
            for event in ["chat:message", "location:updated", "order:status"] {
                assert_eq!(client.drain(event).await, Vec::<Value>::new(), "{event}");
            }
            assert_eq!(joins(client, "o1").await, "forbidden");
        }
        let mut fresh = hub.connect("bob", "customer", &["o1"]).await;
        assert_eq!(joins(&mut fresh, "o1").await, "forbidden");
        // It is remembered over a restart, and undone by the back end alone.
        let hub = hub.kill_and_restart();
        let mut fresh = hub.connect("bob", "customer", &["o1"]).await;
        assert_eq!(joins(&mut fresh, "o1").await, "forbidden");
        take_part(&hub, "o1", "bob", Some("customer")).await;
        assert_eq!(joins(&mut fresh, "o1").await, "ok", "at once, though refused a moment ago");
    })
    .await;
}

#[tokio::test]
async fn a_removed_participant_with_a_broken_connection_is_not_awaited() {
    // Longer than the test may wait.
    let hub = Hub::builder().env("PRESENCE_GRACE_SECS", 3600).start();
    put(&hub, "o1", json!({ "participants": [{ "userId": "bob", "role": "customer" }] })).await;
    let mut ann = hub.connect("ann", "driver", &["o1"]).await;
    ann.join("o1").await;
    let mut bob = hub.connect("bob", "customer", &[]).await;
    bob.join("o1").await;
    drop(bob);
    hub.until_admin("/admin/v1/rooms/o1", |_, room| room["sessions"] == 1).await;
    assert_eq!(ann.drain("presence:left").await.len(), 0);
    take_part(&hub, "o1", "bob", None).await;
    assert_eq!(ann.expect("presence:left").await["userId"], "bob");
}

#[tokio::test]
async fn a_user_whom_only_the_token_names_can_be_removed() {
    let hub = Hub::start();
    put(&hub, "o1", json!({})).await;
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    bob.join("o1").await;
    take_part(&hub, "o1", "bob", None).await;
    assert_eq!(bob.expect("order:left").await["reason"], "removed");
    assert_eq!(joins(&mut bob, "o1").await, "forbidden");
}

#[tokio::test]
async fn an_unassigned_drivers_next_position_is_forbidden() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        put(&hub, "o1", json!({ "driverId": "ann", "driverName": "Ann" })).await;
        // One by the assignment alone, who sends; one whose token names the order too, who joined.
        let mut sender = hub.connect("ann", "driver", &[]).await;
        let mut member = hub.connect("ann", "driver", &["o1"]).await;
        member.join("o1").await;
        for client in [&mut sender, &mut member] {
            assert_eq!(client.request("driver:location", fix("o1", 13.7)).await["accepted"], 1);
        }
        let mut next = hub.connect("dan", "driver", &["o1"]).await;
        let refused = next.request("driver:location", fix("o1", 13.7)).await;
        assert_eq!(code(&refused), "forbidden");
        assign(&hub, "o1", json!({ "driverId": null, "at": "2026-05-04T12:30:00.000Z" })).await;
        let expected = json!({
            "orderId": "o1", "driverId": "ann", "driverName": "Ann",
            "at": "2026-05-04T12:30:00.000Z",
        });
        for client in [&mut sender, &mut member] {
            assert_eq!(client.expect("order:unassigned").await, expected);
            let refused = client.request("driver:location", fix("o1", 13.8)).await;
            assert_eq!(code(&refused), "forbidden");
        }
        assign(&hub, "o1", json!({ "driverId": "dan", "driverName": "Dan" })).await;
        assert_eq!(next.expect("order:assigned").await["driverName"], "Dan");
        assert_eq!(member.expect("order:assigned").await["driverId"], "dan");
        assert_eq!(next.request("driver:location", fix("o1", 13.9)).await["accepted"], 1);
        assert_eq!(sender.drain("order:assigned").await.len(), 0, "no longer her order");
    })
    .await;
}

#[tokio::test]
async fn a_driver_without_any_other_right_leaves_with_the_assignment() {
    let hub = Hub::start();
    put(&hub, "o1", json!({ "driverId": "ann" })).await;
    let mut ann = hub.connect("ann", "driver", &[]).await;
    ann.join("o1").await;
    assign(&hub, "o1", json!({ "driverId": "dan" })).await;
    assert_eq!(ann.next().await["event"], "order:unassigned", "first that, then the door");
    assert_eq!(ann.next().await["event"], "order:left");
    assert_eq!(joins(&mut ann, "o1").await, "forbidden");
}

#[tokio::test]
async fn a_changed_role_changes_the_rights_of_a_participant() {
    let hub = Hub::start();
    put(&hub, "o1", json!({ "participants": [{ "userId": "ann", "role": "customer" }] })).await;
    let mut ann = hub.connect("ann", "customer", &[]).await;
    ann.join("o1").await;
    let refused = ann.request("driver:location", fix("o1", 13.7)).await;
    assert_eq!(code(&refused), "forbidden");
    take_part(&hub, "o1", "ann", Some("driver")).await;
    assert_eq!(ann.request("driver:location", fix("o1", 13.7)).await["accepted"], 1);
    take_part(&hub, "o1", "ann", Some("customer")).await;
    let refused = ann.request("driver:location", fix("o1", 13.7)).await;
    assert_eq!(code(&refused), "forbidden");
    assert_eq!(ann.drain("order:left").await.len(), 0);
}

#[tokio::test]
async fn a_status_reaches_the_room_and_those_it_concerns_elsewhere_once() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        let participants = json!([
            { "userId": "bob", "role": "customer" }, { "userId": "eve", "role": "customer" },
        ]);
        put(&hub, "o1", json!({ "status": "NEW", "participants": participants })).await;
        assign(&hub, "o1", json!({ "driverId": "ann" })).await;
        let mut bob = hub.connect("bob", "customer", &[]).await;
        bob.join("o1").await;
        let mut elsewhere = hub.connect("bob", "customer", &[]).await;
        let mut ann = hub.connect("ann", "driver", &[]).await;
        let mut token_only = hub.connect("tom", "customer", &["o1"]).await;
        token_only.join("o1").await;
        let mut stranger = hub.connect("sam", "customer", &["o1"]).await;
        let body = json!({
            "status": "PICKED_UP", "at": "2026-05-04T12:30:00Z", "data": { "eta": 12 },
        });
        set_status(&hub, "o1", body.clone()).await;
        let expected = json!({
            "orderId": "o1", "status": "PICKED_UP", "previousStatus": "NEW",
            "at": "2026-05-04T12:30:00.000Z", "data": { "eta": 12 },
        });
        for client in [&mut bob, &mut elsewhere, &mut ann, &mut token_only] {
            assert_eq!(client.expect("order:status").await, expected);
        }
        set_status(&hub, "o1", body).await;
        for client in [&mut bob, &mut elsewhere, &mut ann, &mut token_only, &mut stranger] {
            assert_eq!(client.drain("order:status").await.len(), 0, "once, and not again");
        }
        take_part(&hub, "o1", "eve", None).await;
        let mut eve = hub.connect("eve", "customer", &[]).await;
        set_status(&hub, "o1", json!({ "status": "NEAR" })).await;
        bob.expect("order:status").await;
        assert_eq!(eve.drain("order:status").await.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_customer_begins_to_see_the_driver_with_the_status() {
    let hub = Hub::builder().env("LOCATION_VISIBLE_STATUSES", "PICKED_UP,NEAR").start();
    put(&hub, "o1", json!({ "status": "NEW", "driverId": "ann" })).await;
    let mut ann = hub.connect("ann", "driver", &[]).await;
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    let mut sue = hub.connect("sue", "support", &[]).await;
    ann.join("o1").await;
    sue.join("o1").await;
    ann.request("driver:location", fix("o1", 1.0)).await;
    assert_eq!(bob.join("o1").await["lastLocation"], Value::Null);
    assert_eq!(sue.join("o1").await["lastLocation"]["lng"], 1.0);
    ann.request("driver:location", fix("o1", 2.0)).await;
    assert_eq!(bob.drain("location:updated").await.len(), 0);
    assert_eq!(sue.drain("location:updated").await.len(), 2);
    assert_eq!(ann.drain("location:updated").await.len(), 2, "her own");
    set_status(&hub, "o1", json!({ "status": "PICKED_UP" })).await;
    bob.expect("order:status").await;
    ann.request("driver:location", fix("o1", 3.0)).await;
    assert_eq!(bob.expect("location:updated").await["lng"], 3.0);
    assert_eq!(bob.join("o1").await["lastLocation"]["lng"], 3.0);
    set_status(&hub, "o1", json!({ "status": "WAITING" })).await;
    ann.request("driver:location", fix("o1", 4.0)).await;
    assert_eq!(bob.drain("location:updated").await.len(), 0, "hidden again");
    let read = async |user: &str, role: &str| {
        let request = reqwest::Client::new().get(hub.url("/api/v1/orders/o1"));
        let request = request.bearer_auth(super::support::token(user, role, &["o1"]));
        let order: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        order["lastLocation"]["lng"].clone()
    };
    assert_eq!(read("bob", "customer").await, Value::Null);
    assert_eq!(read("sue", "support").await, json!(4.0));
    assert_eq!(read("back-end", "service").await, json!(4.0));
    set_status(&hub, "o1", json!({ "status": "DELIVERED" })).await;
    let refused = ann.request("driver:location", fix("o1", 5.0)).await;
    assert_eq!(code(&refused), "order_closed");
}

#[tokio::test]
async fn members_of_a_deleted_order_get_order_left_and_nothing_of_it_returns() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        put(&hub, "o1", json!({ "status": "NEW", "driverId": "ann" })).await;
        let mut bob = hub.connect("bob", "customer", &["o1"]).await;
        let mut ann = hub.connect("ann", "driver", &[]).await;
        let mut sue = hub.connect("sue", "support", &[]).await;
        bob.join("o1").await;
        sue.join("o1").await;
        say(&mut bob, "o1", "secret").await;
        bob.expect("chat:message").await;
        ann.request("driver:location", fix("o1", 13.7)).await;
        assert_eq!(call(&hub, Method::DELETE, "/orders/o1", Value::Null).await.0, 200);
        for client in [&mut bob, &mut sue] {
            let left = client.expect("order:left").await;
            assert_eq!(left, json!({ "orderId": "o1", "reason": "closed" }));
        }
        assert_eq!(joins(&mut bob, "o1").await, "forbidden");
        assert_eq!(joins(&mut sue, "o1").await, "not_found");
        let refused = ann.request("driver:location", fix("o1", 13.8)).await;
        assert_eq!(code(&refused), "forbidden");
        put(
            &hub,
            "o1",
            json!({ "status": "NEW", "participants": [
            { "userId": "bob", "role": "customer" },
        ] }),
        )
        .await;
        let shown = bob.join("o1").await;
        assert_eq!((&shown["messages"], &shown["lastLocation"]), (&json!([]), &Value::Null));
        assert_eq!((&shown["lastSeq"], &shown["status"]), (&json!(1), &json!("NEW")));
        assert_eq!(say(&mut bob, "o1", "anew").await["seq"], 2);
        assert_eq!(bob.expect("chat:message").await["content"], "anew");
    })
    .await;
}

#[tokio::test]
async fn a_position_for_no_order_follows_the_drivers_orders() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        put(&hub, "o1", json!({ "driverId": "ann" })).await;
        put(&hub, "o2", json!({ "participants": [{ "userId": "ann", "role": "driver" }] })).await;
        put(&hub, "o3", json!({ "driverId": "ann", "status": "DELIVERED" })).await;
        put(&hub, "o4", json!({ "driverId": "dan" })).await;
        let mut ann = hub.connect("ann", "driver", &[]).await;
        let mut accepted = async || {
            let taken = ann.request("driver:location", json!({ "lat": 45, "lng": 13 })).await;
            (taken["accepted"].as_u64(), taken["rejected"].is_null())
        };
        assert_eq!(accepted().await, (Some(2), true));
        assign(&hub, "o4", json!({ "driverId": "ann" })).await;
        assert_eq!(accepted().await, (Some(3), true), "one more");
        set_status(&hub, "o4", json!({ "status": "DELIVERED" })).await;
        assign(&hub, "o1", json!({ "driverId": null })).await;
        assert_eq!(accepted().await, (Some(1), true), "one has ended, one is another's");
        take_part(&hub, "o2", "ann", None).await;
        assert_eq!(accepted().await, (Some(0), true));
    })
    .await;
}

#[tokio::test]
async fn a_driver_by_assignment_alone_comes_in_at_once() {
    let hub = Hub::start();
    put(&hub, "o1", json!({})).await;
    let mut ann = hub.connect("ann", "driver", &[]).await;
    assert_eq!(joins(&mut ann, "o1").await, "forbidden");
    assign(&hub, "o1", json!({ "driverId": "ann" })).await;
    assert_eq!(ann.expect("order:assigned").await["orderId"], "o1");
    assert_eq!(joins(&mut ann, "o1").await, "ok");
}
