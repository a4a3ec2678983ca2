//! Changes of back ends that meet each other, joins, and the end of the process.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::back_end::call;
use super::support::orders_table::sql;
use super::support::rooms::{fix, say};
use super::support::{Database, Hub, each_database};

/// The statuses of events, which must follow each other without a gap.
fn chain(events: &[Value]) -> Vec<&str> {
    for pair in events.windows(2) {
        assert_eq!(pair[1]["previousStatus"], pair[0]["status"], "{events:?}");
    }
    events.iter().map(|event| event["status"].as_str().expect("a status")).collect()
}

#[tokio::test]
async fn concurrent_changes_reach_members_in_the_order_in_which_they_were_stored() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        let bob = json!({ "participants": [{ "userId": "bob", "role": "customer" }] });
        call(&hub, Method::PUT, "/orders/o1", bob).await;
        let mut inside = hub.connect("bob", "customer", &[]).await;
        inside.join("o1").await;
        let mut outside = hub.connect("bob", "customer", &[]).await;
        let set = async |number: usize| {
            let body = json!({ "status": format!("STEP_{number}") });
            assert_eq!(call(&hub, Method::POST, "/orders/o1/status", body).await.0, 200);
        };
        join_all((0..40).map(set)).await;
        let (_, order) = call(&hub, Method::GET, "/orders/o1", Value::Null).await;
        for client in [&mut inside, &mut outside] {
            let mut events = Vec::new();
            while events.len() < 40 {
                events.push(client.expect("order:status").await);
            }
            assert_eq!(chain(&events).last().copied(), order["status"].as_str());
            assert_eq!(client.drain("order:status").await.len(), 0);
        }
        assert_eq!(order["rev"], 41);
    })
    .await;
}

#[tokio::test]
async fn a_removal_that_meets_a_join_wins() {
    let hub = Hub::start();
    for number in 0..25 {
        let order = format!("o{number}");
        let person = format!("/orders/{order}/participants/bob");
        call(&hub, Method::PUT, &format!("/orders/{order}"), json!({})).await;
        let mut bob = hub.connect("bob", "customer", &[&order]).await;
        let joined = bob.ask("order:join", json!({ "orderId": order })).await;
        let removed = call(&hub, Method::DELETE, &person, Value::Null).await;
        assert_eq!(removed.0, 200, "{removed:?}");
        if bob.reply(joined).await["ok"] == true {
            assert_eq!(bob.expect("order:left").await["reason"], "removed");
        }
        let mut ann = hub.connect("ann", "driver", &[&order]).await;
        say(&mut ann, &order, "among us").await;
        assert_eq!(ann.request("driver:location", fix(&order, 13.7)).await["accepted"], 1);
        for event in ["chat:message", "location:updated"] {
            assert_eq!(bob.drain(event).await.len(), 0, "{event} of {order}");
        }
    }
}

#[tokio::test]
async fn a_repeated_change_updates_a_room_that_missed_it() {
    let hub = Hub::start();
    let both = json!([
        { "userId": "bob", "role": "customer" }, { "userId": "ann", "role": "customer" },
    ]);
    call(&hub, Method::PUT, "/orders/o1", json!({ "participants": both })).await;
    let mut bob = hub.connect("bob", "customer", &[]).await;
    let mut ann = hub.connect("ann", "customer", &[]).await;
    bob.join("o1").await;
    ann.join("o1").await;
    // As if the connection had been lost during the commit of both.
    sql(&hub, "UPDATE participants SET removed = TRUE WHERE user_id = 'bob'");
    sql(&hub, "UPDATE orders SET rev = rev + 1, status = 'READY' WHERE id = 'o1'");
    let path = "/orders/o1/participants/bob";
    let (status, answer) = call(&hub, Method::DELETE, path, Value::Null).await;
    assert_eq!((status, &answer["changed"]), (200, &json!(false)));
    assert_eq!(bob.expect("order:left").await["reason"], "removed");
    assert_eq!(ann.expect("order:status").await["status"], "READY");
}

#[tokio::test]
async fn answered_changes_survive_a_kill() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        let body = json!({
            "status": "NEW", "driverId": "ann",
            "participants": [{ "userId": "bob", "role": "customer", "name": "Bob" }],
        });
        for number in 0..20 {
            let path = format!("/orders/o{number}");
            assert_eq!(call(&hub, Method::PUT, &path, body.clone()).await.0, 201);
        }
        let hub = hub.kill_and_restart();
        let (_, list) = call(&hub, Method::GET, "/orders?participant=bob", Value::Null).await;
        assert_eq!(list["orders"].as_array().map(Vec::len), Some(20));
        let mut bob = hub.connect("bob", "customer", &[]).await;
        assert_eq!(bob.join("o7").await["status"], "NEW");
    })
    .await;
}

#[tokio::test]
async fn back_ends_get_503_while_the_database_is_locked_and_nothing_changes() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        call(&hub, Method::PUT, "/orders/o1", json!({ "status": "NEW" })).await;
        let mut bob = hub.connect("bob", "customer", &["o1"]).await;
        bob.join("o1").await;
        let lock = database.lock(&hub);
        let body = json!({ "status": "READY" });
        let (status, answer) = call(&hub, Method::POST, "/orders/o1/status", body.clone()).await;
        assert_eq!((status, &answer["code"]), (503, &json!("unavailable")));
        assert_eq!(bob.drain("order:status").await.len(), 0);
        drop(lock);
        super::support::until("the database to serve again", async || {
            call(&hub, Method::POST, "/orders/o1/status", body.clone()).await.0 == 200
        })
        .await;
        assert_eq!(bob.expect("order:status").await["previousStatus"], "NEW");
    })
    .await;
}
