//! Coming in and going out: snapshots, counted joins, and rooms that are forgotten and found again.

use serde_json::{Value, json};

use super::support::Hub;
use super::support::rooms::{code, fix, say, seqs};

#[tokio::test]
async fn a_join_shows_what_the_room_is() {
    let hub = Hub::start();
    let mut driver = hub.connect("ann", "driver", &["o1"]).await;
    driver.join("o1").await;
    say(&mut driver, "o1", "on my way").await;
    driver.request("driver:location", fix("o1", 13.7)).await;
    let mut customer = hub.connect("bob", "customer", &["o1"]).await;
    let shown = customer.join("o1").await;
    assert_eq!((&shown["orderId"], &shown["lastSeq"]), (&json!("o1"), &json!(1)));
    assert_eq!((&shown["status"], &shown["driverId"]), (&Value::Null, &Value::Null));
    assert_eq!(shown["recovered"], false);
    let message = &shown["messages"][0];
    assert_eq!(message["content"], "on my way");
    assert_eq!((&message["senderId"], &message["senderRole"]), (&json!("ann"), &json!("driver")));
    let last = &shown["lastLocation"];
    assert_eq!((&last["lng"], &last["driverId"]), (&json!(13.7), &json!("ann")));
    assert_eq!(last["stale"], false);
    assert!(last["ageMs"].as_u64().is_some_and(|age| age < 15_000), "{last}");
    let ann = json!({ "userId": "ann", "name": "Name of ann", "role": "driver" });
    let bob = json!({ "userId": "bob", "name": "Name of bob", "role": "customer" });
    assert_eq!(shown["members"], json!([ann, bob]));
}

#[tokio::test]
async fn the_snapshot_is_the_ack_or_an_event_and_never_both() {
    let hub = Hub::start();
    let mut client = hub.connect("bob", "customer", &["o1", "o2"]).await;
    client.join("o1").await;
    assert_eq!(client.drain("order:joined").await.len(), 0, "it was the ack");
    client.send("order:join", json!({ "orderId": "o2" })).await;
    assert_eq!(client.expect("order:joined").await["orderId"], "o2");
    assert_eq!(client.drain("ack").await.len(), 0, "none was asked for");
}

#[tokio::test]
async fn a_snapshot_ends_at_its_limit_and_begins_after_since_seq() {
    let hub = Hub::without_rates();
    let mut client = hub.connect("bob", "customer", &["o1"]).await;
    for number in 1..=6 {
        say(&mut client, "o1", &format!("message {number}")).await;
    }
    for (join, seen, recovered) in [
        (json!({}), vec![1, 2, 3, 4, 5, 6], false),
        (json!({ "limit": 2 }), vec![5, 6], false),
        (json!({ "limit": 0 }), vec![], false),
        (json!({ "sinceSeq": 4 }), vec![5, 6], true),
        (json!({ "sinceSeq": 0 }), vec![1, 2, 3, 4, 5, 6], true),
        (json!({ "sinceSeq": 1, "limit": 3 }), vec![4, 5, 6], false),
        (json!({ "sinceSeq": 6 }), vec![], true),
        (json!({ "sinceSeq": 99 }), vec![], true),
    ] {
        let mut asked = join.clone();
        asked["orderId"] = json!("o1");
        let shown = client.request("order:join", asked).await;
        assert_eq!(seqs(&shown["messages"]), seen, "{join}");
        assert_eq!((&shown["recovered"], &shown["lastSeq"]), (&json!(recovered), &json!(6)));
    }
}

#[tokio::test]
async fn joins_are_counted_and_each_is_left() {
    let hub = Hub::start();
    let mut client = hub.connect("bob", "customer", &["o1"]).await;
    let mut other = hub.connect("ann", "driver", &["o1"]).await;
    client.join("o1").await;
    client.join("o1").await;
    let leave = json!({ "orderId": "o1" });
    let left = client.request("order:leave", leave.clone()).await;
    assert_eq!(left, json!({ "ok": true, "remaining": 1 }));
    say(&mut other, "o1", "still there?").await;
    client.expect("chat:message").await;
    let left = client.request("order:leave", leave.clone()).await;
    assert_eq!(left, json!({ "ok": true, "remaining": 0 }));
    assert_eq!(client.drain("order:left").await.len(), 0, "the ack said it");
    say(&mut other, "o1", "gone?").await;
    assert_eq!(client.drain("chat:message").await.len(), 0);
    let again = client.request("order:leave", leave).await;
    assert_eq!(code(&again), "not_joined");
}

#[tokio::test]
async fn a_leave_of_all_joins_without_an_ack_gets_order_left() {
    let hub = Hub::start();
    let mut client = hub.connect("bob", "customer", &["o1"]).await;
    client.join("o1").await;
    client.join("o1").await;
    client.send("order:leave", json!({ "orderId": "o1", "all": true })).await;
    let left = client.expect("order:left").await;
    assert_eq!(left, json!({ "orderId": "o1", "reason": "requested" }));
    client.send("order:leave", json!({ "orderId": "o1" })).await;
    assert_eq!(client.expect("exception").await["code"], "not_joined");
}

#[tokio::test]
async fn events_of_one_client_are_admitted_in_order_without_waiting() {
    let hub = Hub::without_rates();
    let mut client = hub.connect("ann", "driver", &["o1"]).await;
    let order = json!({ "orderId": "o1" });
    let chat = |content: &str| json!({ "orderId": "o1", "content": content });
    for round in 0..20 {
        let seq = round * 2;
        let joined = client.ask("order:join", order.clone()).await;
        let first = client.ask("chat:message", chat("one")).await;
        let again = client.ask("order:join", order.clone()).await;
        let left = client.ask("order:leave", order.clone()).await;
        let out = client.ask("order:leave", order.clone()).await;
        let second = client.ask("chat:message", chat("two")).await;
        let back = client.ask("order:join", order.clone()).await;
        let end = client.ask("order:leave", order.clone()).await;
        let nothing = client.ask("order:leave", order.clone()).await;
        let shown = client.reply(joined).await;
        assert_eq!(shown["lastSeq"], seq, "{shown}");
        assert_eq!(client.reply(first).await["seq"], seq + 1);
        assert_eq!(client.reply(again).await["ok"], true);
        assert_eq!(client.reply(left).await["remaining"], 1, "joined twice by then");
        assert_eq!(client.reply(out).await["remaining"], 0);
        assert_eq!(client.reply(second).await["seq"], seq + 2, "said from outside");
        assert_eq!(client.reply(back).await["ok"], true);
        assert_eq!(client.reply(end).await["remaining"], 0);
        assert_eq!(code(&client.reply(nothing).await), "not_joined");
    }
}

#[tokio::test]
async fn an_empty_room_is_forgotten_and_found_again_as_it_was() {
    let hub = Hub::builder().env("ROOM_IDLE_SECS", 0).start();
    let mut driver = hub.connect("ann", "driver", &["o1"]).await;
    driver.join("o1").await;
    say(&mut driver, "o1", "hello").await;
    driver.request("driver:location", fix("o1", 13.71)).await;
    hub.until_admin("/admin/v1/rooms", |_, body| body["rooms"][0]["orderId"] == "o1").await;
    driver.request("order:leave", json!({ "orderId": "o1" })).await;
    hub.until_admin("/admin/v1/rooms", |_, body| body["rooms"] == json!([])).await;
    let mut customer = hub.connect("bob", "customer", &["o1"]).await;
    let shown = customer.join("o1").await;
    assert_eq!((&shown["lastSeq"], seqs(&shown["messages"])), (&json!(1), vec![1]));
    assert_eq!(shown["lastLocation"]["lng"], 13.71);
    assert_eq!(say(&mut customer, "o1", "hi").await["seq"], 2);
}

#[tokio::test]
async fn a_room_is_not_removed_while_a_member_joins() {
    let hub = Hub::builder().without_rates().env("ROOM_IDLE_SECS", 0).start();
    let mut driver = hub.connect("ann", "driver", &["o1"]).await;
    let mut customer = hub.connect("bob", "customer", &["o1"]).await;
    let order = json!({ "orderId": "o1" });
    for round in 1..=60 {
        customer.join("o1").await;
        // The position makes the room write before it goes.
        driver.request("driver:location", fix("o1", 13.0)).await;
        assert_eq!(say(&mut driver, "o1", "is anybody there?").await["seq"], round);
        assert_eq!(customer.expect("chat:message").await["seq"], round);
        customer.request("order:leave", order.clone()).await;
        driver.close().await;
        driver = hub.connect("ann", "driver", &["o1"]).await;
    }
}

#[tokio::test]
async fn a_session_that_ends_while_entering_leaves_no_member() {
    let hub = Hub::builder().env("ROOM_IDLE_SECS", 0).start();
    for _ in 0..20 {
        let mut client = hub.connect("bob", "customer", &["o1", "o2"]).await;
        for order in ["o1", "o2", "o1"] {
            client.send("order:join", json!({ "orderId": order })).await;
        }
        client.close().await;
    }
    hub.until_admin("/admin/v1/rooms", |_, body| body["rooms"] == json!([])).await;
}

#[tokio::test]
async fn rooms_of_a_connection_are_bounded_except_for_staff() {
    let hub = Hub::builder().env("MAX_ROOMS_PER_CONNECTION", 2).start();
    let mut driver = hub.connect("ann", "driver", &["o1", "o2", "o3"]).await;
    // One that only sent counts when it joins.
    say(&mut driver, "o3", "coming").await;
    driver.join("o1").await;
    driver.join("o2").await;
    driver.join("o1").await;
    let refused = driver.request("order:join", json!({ "orderId": "o3" })).await;
    assert_eq!(code(&refused), "too_many_rooms");
    let leave = json!({ "orderId": "o2" });
    driver.request("order:leave", leave).await;
    driver.join("o3").await;
    let mut support = hub.connect("sue", "support", &["o1", "o2", "o3"]).await;
    for order in ["o1", "o2", "o3"] {
        support.join(order).await;
    }
}

#[tokio::test]
async fn events_without_an_ack_id_are_handled_in_order() {
    let hub = Hub::start();
    let mut driver = hub.connect("ann", "driver", &["o1"]).await;
    let mut customer = hub.connect("bob", "customer", &["o1"]).await;
    customer.join("o1").await;
    driver.join("o1").await;
    for lng in [1.0, 2.0] {
        driver.send("driver:location", fix("o1", lng)).await;
    }
    driver.send("order:leave", json!({ "orderId": "o1" })).await;
    driver.send("driver:location", fix("o1", 3.0)).await;
    let mut heard = Vec::new();
    while heard.last().is_none_or(|last| *last != json!(3.0)) {
        let message = customer.next().await;
        match message["event"].as_str() {
            Some("location:updated") => heard.push(message["data"]["lng"].clone()),
            Some("presence:left") => heard.push(json!("left")),
            _ => {}
        }
    }
    assert_eq!(heard, [json!(1.0), json!(2.0), json!("left"), json!(3.0)]);
}
