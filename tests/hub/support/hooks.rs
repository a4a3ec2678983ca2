//! A hub with webhooks, its back end, and its admin.

use reqwest::Method;
use serde_json::{Value, json};

use super::receiver::WebhooksFile;
use super::{Client, Hub, HubBuilder, token, until};

/// A hub that tells the endpoints of this file, and tries again soon.
pub fn telling(builder: HubBuilder, file: &WebhooksFile) -> HubBuilder {
    builder.env("WEBHOOKS_FILE", file.path()).env("WEBHOOK_RETRY_SCHEDULE", "50ms,100ms,200ms")
}

/// Calls the API as a back end; gives the status.
pub async fn call(hub: &Hub, method: Method, path: &str, body: Value) -> u16 {
    let request = reqwest::Client::new().request(method, hub.url(path));
    let answer = request.bearer_auth(token("shop", "service", &[])).json(&body).send().await;
    answer.expect("an answer").status().as_u16()
}

/// Puts an order.
pub async fn put(hub: &Hub, order: &str, body: Value) {
    let status = call(hub, Method::PUT, &format!("/api/v1/orders/{order}"), body).await;
    assert!(status == 200 || status == 201, "{status}");
}

/// Asks as an admin, with a body where it is not null.
pub async fn admin(hub: &Hub, method: Method, path: &str, body: Value) -> (u16, Value) {
    let request = reqwest::Client::new().request(method, hub.url(path));
    let mut request = request.bearer_auth(token("root", "admin", &[]));
    if !body.is_null() {
        request = request.json(&body);
    }
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

/// An endpoint as an admin sees it.
pub async fn endpoint(hub: &Hub, name: &str) -> Value {
    let (status, list) = admin(hub, Method::GET, "/admin/v1/webhooks", Value::Null).await;
    assert_eq!(status, 200, "{list}");
    let endpoints = list["endpoints"].as_array().expect("a list");
    endpoints.iter().find(|endpoint| endpoint["name"] == name).cloned().unwrap_or(Value::Null)
}

/// Waits until an endpoint is as wanted.
pub async fn endpoint_is(hub: &Hub, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
    until(&format!("the endpoint {name}"), async || fits(&endpoint(hub, name).await)).await;
    endpoint(hub, name).await
}

/// A user who may write in these orders.
pub async fn writer(hub: &Hub, orders: &[&str]) -> Client {
    let mut client = hub.connect("ann", "customer", orders).await;
    for order in orders {
        client.join(order).await;
    }
    client
}

/// Writes a message and waits for its ack.
pub async fn say(client: &mut Client, order: &str, text: &str) -> Value {
    let ack = client.request("chat:message", json!({"orderId": order, "content": text})).await;
    assert_eq!(ack["ok"], true, "{ack}");
    ack
}
