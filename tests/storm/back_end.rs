//! A back end: it sets statuses, writes into chats and pushes events, and calls again with the
//! same `Idempotency-Key` until it is answered.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use reqwest::Method;
use serde_json::{Value, json};

use super::world::{Call, Rng, World, number};

/// Makes an order with its driver and a guest.
pub async fn create_order(world: &World, order: &str, driver: &str, guest: Option<&str>) {
    let people: Vec<Value> =
        guest.iter().map(|user| json!({ "userId": user, "role": "customer" })).collect();
    let body = json!({ "status": "STEP_0", "driverId": driver, "participants": people });
    world.insist(&Call::service(Method::PUT, &format!("/orders/{order}"), body)).await;
    world.orders[order].changes.fetch_add(1, SeqCst);
}

/// Works for these orders, until the run is over. No other back end does.
pub async fn run(world: Arc<World>, orders: Vec<String>, number: u64) {
    let mut rng = Rng::new(world.seed, number + 2000);
    let gauge = world.gauge(&format!("back end {number}"));
    gauge.live.store(true, SeqCst);
    for count in 0_u64.. {
        tokio::time::sleep(rng.millis(20, 200)).await;
        if world.is_over() {
            return;
        }
        if !world.talks() {
            continue;
        }
        gauge.unacked.store(1, SeqCst);
        let order = rng.pick(&orders).clone();
        let key = format!("back-end-{number}-{count}");
        match rng.between(0, 3) {
            0 => status(&world, &order, key, rng.once_in(5)).await,
            1 => message(&world, &order, key, rng.once_in(5)).await,
            _ => {
                let event = json!({ "event": "order:eta", "data": { "minutes": count } });
                let path = format!("/orders/{order}/events");
                world.call(&Call::service(Method::POST, &path, event)).await;
            }
        }
        gauge.unacked.store(0, SeqCst);
    }
}

async fn status(world: &World, order: &str, key: String, again: bool) {
    let state = &world.orders[order];
    let number = state.status_sent.fetch_add(1, SeqCst) + 1;
    let body = json!({ "status": format!("STEP_{number}") });
    post(world, &format!("/orders/{order}/status"), key, body, again).await;
    state.status_acked.store(number, SeqCst);
    state.changes.fetch_add(1, SeqCst);
}

async fn message(world: &World, order: &str, key: String, again: bool) {
    let body = json!({ "type": "SYSTEM", "content": key });
    let answer = post(world, &format!("/orders/{order}/messages"), key.clone(), body, again).await;
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    if let Some(id) = answer["id"].as_str() {
        world.acknowledged(order, &key, id, number(&answer["seq"]));
    }
}

/// Posts with a key until it is answered; once more, it is answered the same.
async fn post(world: &World, path: &str, key: String, body: Value, again: bool) -> String {
    let call = Call { key: Some(key), ..Call::service(Method::POST, path, body) };
    let first = world.insist(&call).await;
    if again {
        let second = world.insist(&call).await;
        if first != second {
            world.broken(&format!("{path} with one key: {first}, and then {second}"));
        }
    }
    first
}
