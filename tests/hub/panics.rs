//! A room that panics costs its members a moment and nobody else anything.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::orders_table::{order, sql};
use super::support::rooms::{code, fix, say};
use super::support::{Client, Hub};

/// What makes a room panic, in a debug build.
const BOMB: &str = "explode";

fn fragile() -> Hub {
    Hub::builder().without_rates().env("ORDERHUB_TEST_PANIC_ON", BOMB).start()
}

async fn explode(client: &mut Client, order: &str) -> Value {
    client.request("chat:message", json!({ "orderId": order, "content": BOMB })).await
}

/// The seqs of the next `count` chat messages, as they come.
async fn hear(client: &mut Client, count: usize) -> Vec<i64> {
    let mut seqs = Vec::new();
    for _ in 0..count {
        seqs.push(client.expect("chat:message").await["seq"].as_i64().expect("a seq"));
    }
    seqs
}

/// Says something until it is taken: what meets the room in its last moment is refused.
async fn insist(client: &mut Client, order: &str, content: &str) -> i64 {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let chat = json!({ "orderId": order, "content": content, "clientMsgId": content });
        let ack = client.request("chat:message", chat).await;
        if let Some(seq) = ack["seq"].as_i64() {
            return seq;
        }
        assert!(code(&ack) == "unavailable" && Instant::now() < deadline, "{ack}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_room_panic_refuses_its_cause_and_members_stay_in_the_room() {
    let hub = fragile();
    let mut driver = hub.connect("ann", "driver", &["o1"]).await;
    let mut customer = hub.connect("bob", "customer", &["o1"]).await;
    driver.join("o1").await;
    customer.join("o1").await;
    customer.join("o1").await;
    say(&mut driver, "o1", "before").await;
    let refused = explode(&mut driver, "o1").await;
    assert_eq!(code(&refused), "unavailable");
    assert_eq!(refused["error"]["retryAfterMs"], 1000);
    assert_eq!(insist(&mut driver, "o1", "after").await, 2);
    assert_eq!(say(&mut driver, "o1", "after").await["seq"], 3);
    assert_eq!(say(&mut driver, "o1", "after").await["seq"], 4);
    let taken = driver.request("driver:location", fix("o1", 13.9)).await;
    assert_eq!(taken, json!({ "ok": true, "accepted": 1 }));
    for client in [&mut driver, &mut customer] {
        assert_eq!(hear(client, 4).await, [1, 2, 3, 4]);
        assert_eq!(client.expect("location:updated").await["lng"], 13.9);
        for event in ["chat:message", "order:joined", "order:left"] {
            assert_eq!(client.drain(event).await.len(), 0, "{event}");
        }
    }
    assert_eq!(customer.drain("presence:joined").await.len(), 0, "nobody was away");
    assert_eq!(customer.drain("presence:left").await.len(), 0);
    let shown = customer.join("o1").await;
    assert_eq!(shown["members"].as_array().map(Vec::len), Some(2));
    // The joins are counted as before: three by now.
    let left = customer.request("order:leave", json!({ "orderId": "o1" })).await;
    assert_eq!(left["remaining"], 2);
}

#[tokio::test]
async fn events_sent_while_the_room_is_lost_are_handled_in_order() {
    let hub = fragile();
    let mut driver = hub.connect("ann", "driver", &["o1"]).await;
    let mut customer = hub.connect("bob", "customer", &["o1"]).await;
    driver.join("o1").await;
    customer.join("o1").await;
    let chat = |content: &str| json!({ "orderId": "o1", "content": content });
    let mut stored = Vec::new();
    for _ in 0..10 {
        driver.ask("chat:message", chat("before")).await;
    }
    driver.ask("chat:message", chat(BOMB)).await;
    let mut last = 0;
    for _ in 0..10 {
        last = driver.ask("chat:message", chat("after")).await;
    }
    for id in last - 20..=last {
        // What was with the panicking room is refused; some of it may be stored all the same.
        let ack = driver.reply(id).await;
        match ack["seq"].as_i64() {
            Some(seq) => stored.push(seq),
            None => assert_eq!(code(&ack), "unavailable"),
        }
    }
    assert!(stored.is_sorted(), "{stored:?}");
    let end = insist(&mut driver, "o1", "the end").await;
    for client in [&mut customer, &mut driver] {
        let heard = hear(client, usize::try_from(end).expect("small")).await;
        assert_eq!(heard, (1..=end).collect::<Vec<_>>());
        assert_eq!(client.drain("chat:message").await.len(), 0);
    }
}

#[tokio::test]
async fn a_room_panic_does_not_affect_another_room() {
    let hub = fragile();
    let mut driver = hub.connect("ann", "driver", &["o1", "o2"]).await;
    let mut other = hub.connect("bob", "customer", &["o2"]).await;
    driver.join("o1").await;
    driver.join("o2").await;
    other.join("o2").await;
    explode(&mut driver, "o1").await;
    insist(&mut driver, "o1", "back").await;
    explode(&mut driver, "o1").await;
    say(&mut driver, "o2", "all well here").await;
    assert_eq!(hear(&mut other, 1).await, [1]);
}

#[tokio::test]
async fn a_second_panic_makes_the_order_wait_a_second() {
    let hub = fragile();
    let mut driver = hub.connect("ann", "driver", &["o1"]).await;
    let mut customer = hub.connect("bob", "customer", &["o1"]).await;
    driver.join("o1").await;
    customer.join("o1").await;
    explode(&mut driver, "o1").await;
    insist(&mut driver, "o1", "one").await;
    explode(&mut driver, "o1").await;
    let since = Instant::now();
    // One who gives up while the order waits does not appear in it later.
    let mut gone = hub.connect("gone", "customer", &["o1"]).await;
    gone.send("order:join", json!({ "orderId": "o1" })).await;
    gone.close().await;
    let mut late = hub.connect("late", "customer", &["o1"]).await;
    let shown = late.join("o1").await;
    assert!(since.elapsed() >= Duration::from_millis(900), "it was back too soon");
    let members = shown["members"].as_array().expect("members");
    assert!(members.iter().all(|member| member["userId"] != "gone"), "{shown}");
    insist(&mut driver, "o1", "two").await;
    assert_eq!(hear(&mut customer, 2).await, [1, 2]);
    let metrics = reqwest::get(hub.url("/metrics")).await.expect("metrics").text().await;
    assert!(metrics.expect("text").contains("\norderhub_room_panics_total 2\n"));
}

#[tokio::test]
async fn members_enter_the_next_room_after_a_database_outage() {
    let hub = fragile();
    let mut driver = hub.connect("ann", "driver", &["o1"]).await;
    let mut customer = hub.connect("bob", "customer", &["o1", "o2"]).await;
    driver.join("o1").await;
    customer.join("o1").await;
    customer.join("o1").await;
    say(&mut driver, "o1", "before").await;
    sql(&hub, "ALTER TABLE orders RENAME TO away");
    explode(&mut driver, "o1").await;
    let chat = json!({ "orderId": "o1", "content": "anybody?" });
    for client in [&mut driver, &mut customer] {
        let refused = client.request("chat:message", chat.clone()).await;
        assert_eq!(code(&refused), "unavailable");
    }
    // Somebody new is refused, and so learns of it; members stay.
    let mut late = hub.connect("carl", "customer", &["o1"]).await;
    let refused = late.request("order:join", json!({ "orderId": "o1" })).await;
    assert_eq!(code(&refused), "unavailable");
    // A leave counts meanwhile.
    let left = customer.request("order:leave", json!({ "orderId": "o1" })).await;
    assert_eq!(left, json!({ "ok": true, "remaining": 1 }));
    sql(&hub, "ALTER TABLE away RENAME TO orders");
    assert_eq!(insist(&mut driver, "o1", "after").await, 2);
    for client in [&mut driver, &mut customer] {
        assert_eq!(hear(client, 2).await, [1, 2]);
        assert_eq!(client.drain("order:left").await.len(), 0);
    }
    let left = customer.request("order:leave", json!({ "orderId": "o1" })).await;
    assert_eq!(left["remaining"], 0);
}

#[tokio::test]
async fn a_leave_during_a_lost_room_is_final() {
    let hub = fragile();
    let mut driver = hub.connect("ann", "driver", &["o1"]).await;
    let mut customer = hub.connect("bob", "customer", &["o1"]).await;
    driver.join("o1").await;
    customer.join("o1").await;
    sql(&hub, "ALTER TABLE orders RENAME TO away");
    explode(&mut driver, "o1").await;
    customer.send("order:leave", json!({ "orderId": "o1" })).await;
    assert_eq!(customer.expect("order:left").await["reason"], "requested");
    sql(&hub, "ALTER TABLE away RENAME TO orders");
    insist(&mut driver, "o1", "after").await;
    assert_eq!(hear(&mut driver, 1).await, [1]);
    assert_eq!(customer.drain("chat:message").await.len(), 0);
    let again = customer.request("order:leave", json!({ "orderId": "o1" })).await;
    assert_eq!(code(&again), "not_joined");
}

#[tokio::test]
async fn a_member_without_the_right_gets_order_left_after_a_room_panic() {
    let hub = fragile();
    order(&hub, "o1", "ASSIGNED", "ann", 0);
    let mut driver = hub.connect("ann", "driver", &[]).await;
    let mut customer = hub.connect("bob", "customer", &["o1"]).await;
    driver.join("o1").await;
    customer.join("o1").await;
    sql(&hub, "UPDATE orders SET driver_id = NULL");
    explode(&mut customer, "o1").await;
    let left = driver.expect("order:left").await;
    assert_eq!(left, json!({ "orderId": "o1", "reason": "removed" }));
    assert_eq!(driver.drain("order:left").await.len(), 0, "once");
    let refused = driver.request("order:join", json!({ "orderId": "o1" })).await;
    assert_eq!(code(&refused), "forbidden");
    insist(&mut customer, "o1", "still here").await;
}

#[tokio::test]
async fn support_enters_the_next_room_of_an_order_that_only_tokens_name() {
    let hub = fragile();
    let mut customer = hub.connect("bob", "customer", &["o1"]).await;
    customer.join("o1").await;
    let mut support = hub.connect("sue", "support", &[]).await;
    support.join("o1").await;
    customer.request("order:leave", json!({ "orderId": "o1" })).await;
    explode(&mut support, "o1").await;
    insist(&mut support, "o1", "hello?").await;
    assert_eq!(hear(&mut support, 1).await, [1]);
    assert_eq!(support.drain("order:left").await.len(), 0);
}

#[tokio::test]
async fn a_position_lost_in_a_room_panic_is_replaced_by_the_next() {
    let hub = fragile();
    let mut driver = hub.connect("ann", "driver", &["o1"]).await;
    let mut customer = hub.connect("bob", "customer", &["o1"]).await;
    driver.join("o1").await;
    customer.join("o1").await;
    let bomb = driver.ask("chat:message", json!({ "orderId": "o1", "content": BOMB })).await;
    driver.send("driver:location", fix("o1", 1.0)).await;
    assert_eq!(driver.reply(bomb).await["error"]["code"], "unavailable");
    insist(&mut driver, "o1", "after").await;
    driver.send("driver:location", fix("o1", 2.0)).await;
    customer.find(|message| message["data"]["lng"] == 2.0).await;
    assert!(driver.drain("exception").await.is_empty());
}
