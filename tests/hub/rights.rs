//! Who may do what in a room, and what those hear who may not.

use serde_json::{Value, json};

use super::support::orders_table::{order, sql};
use super::support::rooms::{code, fix, say};
use super::support::{Hub, claims, token};

fn now_ms() -> i64 {
    protocol::time::Timestamp::now().as_millis()
}

#[tokio::test]
async fn a_user_without_rights_gets_the_same_error_for_existing_and_unknown_orders() {
    let hub = Hub::start();
    order(&hub, "known", "ASSIGNED", "ann", 0);
    let mut stranger = hub.connect("eve", "customer", &["own"]).await;
    for event in [
        ("order:join", json!({})),
        ("chat:message", json!({ "content": "let me in" })),
        ("chat:history", json!({})),
        ("driver:location", json!({ "lat": 1, "lng": 2 })),
    ] {
        let mut answers = Vec::new();
        for id in ["known", "unknown"] {
            let mut data = event.1.clone();
            data["orderId"] = json!(id);
            answers.push(stranger.request(event.0, data).await);
        }
        assert_eq!(code(&answers[0]), "forbidden", "{event:?}");
        assert_eq!(answers[0], answers[1], "{event:?}");
    }
}

#[tokio::test]
async fn numbers_in_a_token_are_ids_and_an_unknown_role_is_a_customer() {
    let hub = Hub::start();
    let exp = now_ms() / 1000 + 60;
    let pass = claims(json!({ "id": 7, "role": "WIZARD", "orders": [12], "exp": exp }));
    let mut client = hub.connect_with(&pass).await;
    let connected = client.expect("connected").await;
    assert_eq!((&connected["userId"], &connected["role"]), (&json!("7"), &json!("customer")));
    client.join("12").await;
}

#[tokio::test]
async fn a_new_token_is_applied_to_a_room_that_is_being_entered() {
    let hub = Hub::start();
    let without = token("bob", "customer", &[]);
    for number in 0..10 {
        let id = format!("o{number}");
        let mut client = hub.connect("bob", "customer", &[&id]).await;
        let joined = client.ask("order:join", json!({ "orderId": id })).await;
        let refreshed = client.ask("auth:refresh", json!({ "token": without })).await;
        assert_eq!(client.reply(refreshed).await["ok"], true);
        if client.reply(joined).await["ok"] == true {
            assert_eq!(client.expect("order:left").await["reason"], "removed");
        }
        let refused = client.request("order:join", json!({ "orderId": id })).await;
        assert_eq!(code(&refused), "forbidden");
    }
}

#[tokio::test]
async fn support_gets_not_found_for_an_unknown_order() {
    let hub = Hub::start();
    order(&hub, "known", "ASSIGNED", "ann", 0);
    let mut support = hub.connect("sue", "support", &[]).await;
    let shown = support.join("known").await;
    assert_eq!((&shown["status"], &shown["driverId"]), (&json!("ASSIGNED"), &json!("ann")));
    let refused = support.request("order:join", json!({ "orderId": "unknown" })).await;
    assert_eq!(code(&refused), "not_found");
    let mut customer = hub.connect("bob", "customer", &["new"]).await;
    customer.join("new").await;
    support.join("new").await;
}

#[tokio::test]
async fn the_open_policy_lets_every_user_join() {
    let hub = Hub::builder().env("JOIN_POLICY", "open").start();
    let mut stranger = hub.connect("eve", "customer", &[]).await;
    stranger.join("any").await;
    let service = hub.connect("backend", "service", &[]).await;
    let mut service = service;
    let refused = service.request("order:join", json!({ "orderId": "any" })).await;
    assert_eq!(code(&refused), "forbidden", "a service is no user");
}

#[tokio::test]
async fn a_driver_who_never_joined_sends_positions_and_receives_no_events() {
    let hub = Hub::start();
    let mut customer = hub.connect("bob", "customer", &["o1"]).await;
    customer.join("o1").await;
    let mut driver = hub.connect("ann", "driver", &["o1"]).await;
    let taken = driver.request("driver:location", fix("o1", 13.7)).await;
    assert_eq!(taken, json!({ "ok": true, "accepted": 1 }));
    say(&mut driver, "o1", "outside").await;
    customer.expect("location:updated").await;
    assert_eq!(customer.expect("chat:message").await["senderId"], "ann");
    say(&mut customer, "o1", "come in").await;
    assert_eq!(customer.drain("presence:joined").await.len(), 0, "a sender is not here");
    for event in ["location:updated", "chat:message", "order:joined"] {
        assert_eq!(driver.drain(event).await.len(), 0, "{event}");
    }
    let mut late = hub.connect("carl", "customer", &["o1"]).await;
    assert_eq!(late.join("o1").await["members"].as_array().map(Vec::len), Some(2));
    // A sender that joins becomes a member, and is one once.
    driver.join("o1").await;
    assert_eq!(customer.drain("presence:joined").await.len(), 2);
    say(&mut customer, "o1", "there you are").await;
    assert_eq!(driver.drain("chat:message").await.len(), 1);
}

#[tokio::test]
async fn only_drivers_send_positions() {
    let hub = Hub::start();
    let mut customer = hub.connect("bob", "customer", &["o1"]).await;
    let refused = customer.request("driver:location", fix("o1", 13.7)).await;
    assert_eq!(code(&refused), "forbidden", "without having joined");
    customer.join("o1").await;
    let refused = customer.request("driver:location", fix("o1", 13.7)).await;
    assert_eq!(code(&refused), "forbidden", "as a member");
    assert_eq!(customer.drain("location:updated").await.len(), 0);
}

#[tokio::test]
async fn an_assigned_driver_comes_in_by_the_assignment_and_is_the_only_one_to_send() {
    let hub = Hub::start();
    order(&hub, "o1", "ASSIGNED", "ann", 0);
    let mut assigned = hub.connect("ann", "driver", &[]).await;
    let mut other = hub.connect("dan", "driver", &["o1"]).await;
    assigned.join("o1").await;
    other.join("o1").await;
    let taken = assigned.request("driver:location", fix("o1", 13.7)).await;
    assert_eq!(taken["accepted"], 1);
    let refused = other.request("driver:location", fix("o1", 13.8)).await;
    assert_eq!(code(&refused), "forbidden");
    assert_eq!(other.drain("location:updated").await.len(), 1);
}

#[tokio::test]
async fn an_ended_order_takes_no_positions_and_shows_none() {
    let hub = Hub::start();
    order(&hub, "o1", "DELIVERED", "ann", now_ms());
    let last =
        json!({ "lat": 1, "lng": 2, "timestamp": "2026-01-01T00:00:00.000Z", "driverId": "ann" });
    sql(&hub, &format!("UPDATE orders SET last_location = '{last}' WHERE id = 'o1'"));
    order(&hub, "o2", "PICKED_UP", "ann", 0);
    sql(&hub, &format!("UPDATE orders SET last_location = '{last}' WHERE id = 'o2'"));
    let mut driver = hub.connect("ann", "driver", &["o1", "o2"]).await;
    let shown = driver.join("o1").await;
    assert_eq!((&shown["status"], &shown["lastLocation"]), (&json!("DELIVERED"), &Value::Null));
    let shown = driver.join("o2").await;
    assert_eq!(shown["lastLocation"]["lng"], 2.0, "under way it is shown");
    assert_eq!(shown["lastLocation"]["stale"], true);
    let refused = driver.request("driver:location", fix("o1", 13.7)).await;
    assert_eq!(code(&refused), "order_closed");
    say(&mut driver, "o1", "chat stays open for a while").await;
}

#[tokio::test]
async fn chat_closes_some_hours_after_the_end() {
    const HOUR_MS: i64 = 3_600_000;
    let hub = Hub::builder().env("CHAT_OPEN_HOURS", 2).start();
    order(&hub, "early", "CANCELLED", "", now_ms() - HOUR_MS);
    order(&hub, "late", "CANCELLED", "", now_ms() - 3 * HOUR_MS);
    let mut customer = hub.connect("bob", "customer", &["early", "late"]).await;
    say(&mut customer, "early", "where was it?").await;
    let chat = json!({ "orderId": "late", "content": "where was it?" });
    assert_eq!(code(&customer.request("chat:message", chat).await), "order_closed");
    customer.join("late").await;
    let page = customer.request("chat:history", json!({ "orderId": "late" })).await;
    assert_eq!(page["ok"], true, "it can still be read");
}

#[tokio::test]
async fn the_battery_is_for_staff() {
    let hub = Hub::start();
    let mut driver = hub.connect("ann", "driver", &["o1"]).await;
    let mut customer = hub.connect("bob", "customer", &["o1"]).await;
    driver.join("o1").await;
    customer.join("o1").await;
    let mut support = hub.connect("sue", "support", &[]).await;
    support.join("o1").await;
    let mut place = fix("o1", 13.7);
    place["battery"] = json!(0.25);
    driver.request("driver:location", place).await;
    assert_eq!(support.expect("location:updated").await["battery"], 0.25);
    assert_eq!(customer.expect("location:updated").await.get("battery"), None);
    assert_eq!(driver.expect("location:updated").await.get("battery"), None);
    let shown = customer.join("o1").await;
    assert_eq!(shown["lastLocation"].get("battery"), None, "{shown}");
}

#[tokio::test]
async fn a_position_for_several_orders_names_those_that_refused_it() {
    let hub = Hub::start();
    order(&hub, "ended", "DELIVERED", "", now_ms());
    let mut driver = hub.connect("ann", "driver", &["o1", "o2", "ended"]).await;
    let mut customer = hub.connect("bob", "customer", &["o2"]).await;
    customer.join("o2").await;
    let place = |orders: Value| json!({ "orderIds": orders, "lat": 45, "lng": 13 });
    let taken = driver.request("driver:location", place(json!(["o1", "o2"]))).await;
    assert_eq!(taken, json!({ "ok": true, "accepted": 2 }));
    customer.expect("location:updated").await;
    let orders = json!(["o1", "foreign", "ended", "o2"]);
    let mut taken = driver.request("driver:location", place(orders)).await;
    assert_eq!(taken["accepted"], 2);
    let rejected = taken["rejected"].as_array_mut().expect("a list");
    rejected.sort_by_key(|one| one["orderId"].to_string());
    let code = |order, code| json!({ "orderId": order, "code": code });
    assert_eq!(*rejected, [code("ended", "order_closed"), code("foreign", "forbidden")]);
    customer.expect("location:updated").await;
}

#[tokio::test]
async fn a_position_without_an_order_goes_to_all_open_orders_of_the_driver() {
    let hub = Hub::start();
    let mut driver = hub.connect("ann", "driver", &["o1", "o2"]).await;
    let mut customers = Vec::new();
    for id in ["o1", "o2", "o3"] {
        let mut customer = hub.connect("bob", "customer", &[id]).await;
        customer.join(id).await;
        customers.push(customer);
    }
    let taken = driver.request("driver:location", json!({ "lat": 45, "lng": 13 })).await;
    assert_eq!(taken, json!({ "ok": true, "accepted": 2 }));
    for (customer, heard) in customers.iter_mut().zip([1, 1, 0]) {
        assert_eq!(customer.drain("location:updated").await.len(), heard);
    }
    let mut nobody = hub.connect("dan", "driver", &[]).await;
    let taken = nobody.request("driver:location", json!({ "lat": 45, "lng": 13 })).await;
    assert_eq!(taken, json!({ "ok": true, "accepted": 0 }));
}

#[tokio::test]
async fn a_refused_position_without_an_ack_id_gets_an_exception() {
    let hub = Hub::start();
    let mut customer = hub.connect("bob", "customer", &["o1"]).await;
    let mut driver = hub.connect("ann", "driver", &["o1"]).await;
    customer.join("o1").await;
    customer.send("driver:location", fix("o1", 1.0)).await;
    let exception = customer.expect("exception").await;
    assert_eq!(exception["code"], "forbidden");
    assert_eq!(exception["event"], "driver:location");
    driver.join("o1").await;
    driver.send("driver:location", fix("o1", 2.0)).await;
    assert_eq!(customer.expect("location:updated").await["lng"], 2.0, "and only this one");
}

#[tokio::test]
async fn a_refusal_is_remembered_and_creates_no_room() {
    let hub = Hub::start();
    let mut driver = hub.connect("ann", "driver", &[]).await;
    let join = json!({ "orderId": "o1" });
    assert_eq!(code(&driver.request("order:join", join.clone()).await), "forbidden");
    // Now there is a right, but this connection was told a moment ago that there is none.
    order(&hub, "o1", "ASSIGNED", "ann", 0);
    assert_eq!(code(&driver.request("order:join", join.clone()).await), "forbidden");
    assert_eq!(code(&driver.request("driver:location", fix("o1", 1.0)).await), "forbidden");
    let (_, rooms) = hub.admin(reqwest::Method::GET, "/admin/v1/rooms").await;
    assert_eq!(rooms["rooms"], json!([]));
    // A new token is a reason to look again.
    let token = token("ann", "driver", &[]);
    assert_eq!(driver.request("auth:refresh", json!({ "token": token })).await["ok"], true);
    driver.join("o1").await;
}

#[tokio::test]
async fn a_token_without_the_order_ends_the_membership() {
    let hub = Hub::start();
    let mut customer = hub.connect("bob", "customer", &["o1"]).await;
    let mut other = hub.connect("ann", "driver", &["o1"]).await;
    other.join("o1").await;
    customer.join("o1").await;
    let token = token("bob", "customer", &["o2"]);
    assert_eq!(customer.request("auth:refresh", json!({ "token": token })).await["ok"], true);
    let left = customer.expect("order:left").await;
    assert_eq!(left, json!({ "orderId": "o1", "reason": "removed" }));
    assert_eq!(other.expect("presence:left").await["userId"], "bob");
    let refused = customer.request("order:join", json!({ "orderId": "o1" })).await;
    assert_eq!(code(&refused), "forbidden");
    customer.join("o2").await;
}
