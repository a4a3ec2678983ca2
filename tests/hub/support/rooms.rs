//! What clients do in a room, and what they see of it.

use serde_json::{Value, json};

use super::Client;

/// Says something and gives its ack.
pub async fn say(client: &mut Client, order: &str, content: &str) -> Value {
    let ack = client.request("chat:message", json!({ "orderId": order, "content": content })).await;
    assert_eq!(ack["ok"], true, "{ack}");
    ack
}

/// Sends a message whose content is its key too, and gives the outcome.
pub async fn say_keyed(client: &mut Client, key: &str) -> Value {
    let said = json!({ "orderId": "o1", "content": key, "clientMsgId": key });
    client.request("chat:message", said).await
}

/// The seqs of messages.
pub fn seqs(messages: &Value) -> Vec<i64> {
    let messages = messages.as_array().expect("messages");
    messages.iter().map(|message| message["seq"].as_i64().expect("a seq")).collect()
}

/// The error code of a result.
pub fn code(result: &Value) -> &str {
    result["error"]["code"].as_str().unwrap_or("none")
}

/// A place, at this longitude.
pub fn fix(order: &str, lng: f64) -> Value {
    json!({ "orderId": order, "lat": 45.27, "lng": lng })
}

/// What an order's history holds: the contents, in the order of their numbers.
pub async fn contents(client: &mut Client) -> Vec<String> {
    let page = client.request("chat:history", json!({ "orderId": "o1", "limit": 200 })).await;
    assert_eq!(page["ok"], true, "{page}");
    let messages = page["messages"].as_array().expect("messages");
    for (place, message) in messages.iter().enumerate() {
        assert_eq!(message["seq"], place + 1, "dense");
    }
    messages.iter().map(|message| message["content"].as_str().expect("text").to_owned()).collect()
}
