//! Joins are counted per connection, in the order in which they were sent: screens of one app share
//! a socket, each joins and each leaves.

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::support::{Client, Hub};

/// Sends events in one go and gives their results.
async fn together(client: &mut Client, events: &[(&str, Value)]) -> Vec<Value> {
    let ids = 1_000_000..;
    for ((event, data), id) in events.iter().zip(ids.clone()) {
        let text = json!({ "event": event, "data": data, "id": id }).to_string();
        client.socket.feed(Message::text(text)).await.expect("an open socket");
    }
    client.socket.flush().await.expect("an open socket");
    let mut results = Vec::new();
    for (_, id) in events.iter().zip(ids) {
        results.push(client.reply(id).await);
    }
    results
}

fn o1() -> Value {
    json!({ "orderId": "o1" })
}

/// Whether the client is in the room: it hears what somebody else says there.
async fn hears(hub: &Hub, client: &mut Client) -> bool {
    let mut other = hub.connect("bob", "customer", &["o1"]).await;
    client.drain("chat:message").await;
    other.join("o1").await;
    let said = other.request("chat:message", json!({ "orderId": "o1", "content": "x" })).await;
    assert_eq!(said["ok"], true);
    other.expect("chat:message").await;
    !client.drain("chat:message").await.is_empty()
}

#[tokio::test]
async fn a_leave_undoes_one_join_also_when_it_follows_at_once() {
    let hub = Hub::start();
    let mut client = hub.connect("ann", "customer", &["o1"]).await;
    client.join("o1").await;
    let results = together(&mut client, &[("order:join", o1()), ("order:leave", o1())]).await;
    assert_eq!(results[0]["ok"], true);
    assert_eq!(results[1], json!({ "ok": true, "remaining": 1 }));
    assert!(hears(&hub, &mut client).await);
    assert_eq!(client.request("order:leave", o1()).await["remaining"], 0);
    assert!(!hears(&hub, &mut client).await);
}

#[tokio::test]
async fn the_first_joins_may_be_left_before_they_are_answered() {
    let hub = Hub::start();
    let mut client = hub.connect("ann", "customer", &["o1"]).await;
    let events = ["order:join", "order:join", "order:leave"].map(|event| (event, o1()));
    let results = together(&mut client, &events).await;
    assert_eq!(results[2], json!({ "ok": true, "remaining": 1 }));
    assert_eq!(client.request("order:leave", o1()).await["remaining"], 0);
    let code = client.request("order:leave", o1()).await["error"]["code"].take();
    assert_eq!(code, "not_joined");
}

#[tokio::test]
async fn a_leave_of_all_joins_followed_by_a_join_counts_one_join() {
    let hub = Hub::builder().env("EVENTS_PER_SECOND", 0).start();
    let mut client = hub.connect("ann", "customer", &["o1"]).await;
    client.join("o1").await;
    for _ in 0..10 {
        let events = [
            ("order:join", o1()),
            ("order:leave", json!({ "orderId": "o1", "all": true })),
            ("order:join", o1()),
            ("chat:history", o1()),
        ];
        let results = together(&mut client, &events).await;
        assert!(results.iter().all(|result| result["ok"] == true), "{results:?}");
        assert_eq!(results[1]["remaining"], 0);
    }
    assert_eq!(client.request("order:leave", o1()).await["remaining"], 0);
    assert!(!hears(&hub, &mut client).await);
}

#[tokio::test]
async fn a_room_is_not_removed_when_a_session_enters_while_its_position_is_saved() {
    let rates = Hub::builder().without_rates();
    let hub = rates.env("ROOM_IDLE_SECS", 0).start();
    let mut driver = hub.connect("dan", "driver", &["o1"]).await;
    driver.join("o1").await;
    for round in 0..30 {
        let events = [
            ("driver:location", json!({ "orderId": "o1", "lat": round, "lng": 1 })),
            // The last one goes, and comes back at once.
            ("order:leave", o1()),
            ("order:join", o1()),
            ("chat:message", json!({ "orderId": "o1", "content": "back" })),
        ];
        let results = together(&mut driver, &events).await;
        assert!(results.iter().all(|result| result["ok"] == true), "{round} {results:?}");
    }
}

#[tokio::test]
async fn a_sender_becomes_a_member_and_leaves_again() {
    let hub = Hub::start();
    let mut client = hub.connect("ann", "customer", &["o1"]).await;
    let said = json!({ "orderId": "o1", "content": "x" });
    assert_eq!(client.request("chat:message", said).await["ok"], true);
    assert!(!hears(&hub, &mut client).await, "to send is not to join");
    let events = ["order:join", "order:join", "order:leave"].map(|event| (event, o1()));
    assert_eq!(together(&mut client, &events).await[2]["remaining"], 1);
    assert!(hears(&hub, &mut client).await);
    assert_eq!(client.request("order:leave", o1()).await["remaining"], 0);
}
