//! Customers see where the driver is from when he is shown to them, and never where he was before:
//! in the snapshot, over HTTP, live and in the trail alike.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::back_end::call;
use super::support::fixes::{ago, at, post};
use super::support::socketio::SocketIoClient;
use super::support::{Client, Database, Hub, each_database, token};

const PATH: &str = "/orders/o1/locations";

/// A hub with an order on which customers see the driver while it is `NEAR` or `THERE`.
async fn hub_with_order(database: &Database, body: Value) -> Hub {
    let hub = database.hub().env("LOCATION_VISIBLE_STATUSES", "NEAR,THERE").start();
    back_end(&hub, Method::PUT, "", body).await;
    hub
}

fn new_order() -> Value {
    let bob = json!([{ "userId": "bob", "role": "customer" }]);
    json!({ "status": "NEW", "driverId": "dan", "participants": bob })
}

async fn back_end(hub: &Hub, method: Method, path: &str, body: Value) {
    let (status, answer) = call(hub, method, &format!("/orders/o1{path}"), body).await;
    assert!(status < 300, "{answer}");
}

async fn set_status(hub: &Hub, status: &str) {
    back_end(hub, Method::POST, "/status", json!({ "status": status })).await;
}

async fn get(hub: &Hub, user: &str, role: &str, path: &str) -> Value {
    let request = reqwest::Client::new().get(hub.url(&format!("/api/v1/orders/o1{path}")));
    let response = request.bearer_auth(token(user, role, &[])).send().await.expect("an answer");
    response.json().await.expect("JSON")
}

/// The latitudes that somebody finds: in a snapshot, over HTTP, and last in the trail.
async fn found(hub: &Hub, user: &str, role: &str) -> [Value; 3] {
    let mut client = hub.connect(user, role, &[]).await;
    let snapshot = client.join("o1").await["lastLocation"]["lat"].take();
    client.close().await;
    let order = get(hub, user, role, "").await["lastLocation"]["lat"].take();
    let mut trail = get(hub, user, role, "/locations").await;
    let last = trail["locations"].as_array_mut().and_then(Vec::pop);
    [snapshot, order, last.map_or(Value::Null, |mut point| point["lat"].take())]
}

/// The same of all three places.
fn each(lat: impl Into<Value>) -> [Value; 3] {
    let lat = lat.into();
    [lat.clone(), lat.clone(), lat]
}

/// The latitudes of the positions that have come by now.
async fn live(client: &mut Client) -> Vec<f64> {
    let updates = client.drain("location:updated").await;
    updates.iter().map(|update| update["lat"].as_f64().expect("a number")).collect()
}

#[tokio::test]
async fn customers_never_see_positions_recorded_while_the_driver_was_hidden() {
    each_database(async |database: Database| {
        let hub = hub_with_order(&database, new_order()).await;
        let mut bob = hub.connect("bob", "customer", &[]).await;
        bob.join("o1").await;
        post(&hub, &token("dan", "driver", &[]), PATH, json!([at(1.0, 30), at(2.0, 1)])).await;
        set_status(&hub, "NEAR").await;
        assert_eq!(found(&hub, "bob", "customer").await, each(Value::Null));
        for (user, role) in [("dan", "driver"), ("sue", "support"), ("x", "admin")] {
            assert_eq!(found(&hub, user, role).await[..2], each(2.0)[..2], "{user}");
        }
        let back_end = get(&hub, "shop", "service", "").await;
        assert_eq!(back_end["lastLocation"]["lat"], 2.0);
        // The next point of the trail is due only some seconds later; the position is there at once.
        post(&hub, &token("dan", "driver", &[]), PATH, json!([at(3.0, 0)])).await;
        assert_eq!(found(&hub, "bob", "customer").await[..2], each(3.0)[..2]);
        assert_eq!(live(&mut bob).await, [3.0]);
        set_status(&hub, "NEW").await;
        set_status(&hub, "THERE").await;
        assert_eq!(found(&hub, "bob", "customer").await, each(Value::Null), "hidden in between");
    })
    .await;
}

#[tokio::test]
async fn late_positions_from_a_hidden_time_reach_staff_only() {
    each_database(async |database: Database| {
        let hub = hub_with_order(&database, new_order()).await;
        let mut bob = hub.connect("bob", "customer", &[]).await;
        let mut framed = SocketIoClient::login(&hub, "bob", "customer", &[]).await;
        let mut sue = hub.connect("sue", "support", &[]).await;
        let mut dan = hub.connect("dan", "driver", &[]).await;
        for client in [&mut bob, &mut sue, &mut dan] {
            client.join("o1").await;
        }
        framed.join("o1").await;
        set_status(&hub, "NEAR").await;
        let send = async |dan: &mut Client, lat: f64, secs_ago: i64| {
            let fix = json!({ "orderId": "o1", "lat": lat, "lng": 2, "recordedAt": ago(secs_ago) });
            assert_eq!(dan.request("driver:location", fix).await["accepted"], 1);
        };
        send(&mut dan, 1.0, 30).await;
        post(&hub, &token("dan", "driver", &[]), PATH, json!([at(2.0, 25), at(3.0, 20)])).await;
        assert_eq!(found(&hub, "bob", "customer").await[..2], each(Value::Null)[..2]);
        send(&mut dan, 4.0, 0).await;
        assert_eq!(live(&mut sue).await, [1.0, 3.0, 4.0]);
        assert_eq!(live(&mut dan).await, [1.0, 3.0, 4.0]);
        assert_eq!(live(&mut bob).await, [4.0]);
        assert_eq!(framed.expect("location:updated").await["lat"], 4.0);
        assert_eq!(found(&hub, "bob", "customer").await[..2], each(4.0)[..2]);
    })
    .await;
}

#[tokio::test]
async fn a_restart_shows_nothing_that_was_hidden_and_all_that_was_shown() {
    each_database(async |database: Database| {
        let hub = hub_with_order(&database, new_order()).await;
        let dan = token("dan", "driver", &[]);
        post(&hub, &dan, PATH, json!([at(1.0, 1)])).await;
        set_status(&hub, "NEAR").await;
        let hub = hub.kill_and_restart();
        assert_eq!(found(&hub, "bob", "customer").await, each(Value::Null));
        assert_eq!(found(&hub, "sue", "support").await, each(1.0));
        post(&hub, &dan, PATH, json!([at(2.0, 0)])).await;
        let hub = hub.kill_and_restart();
        assert_eq!(found(&hub, "bob", "customer").await[..2], each(2.0)[..2]);
    })
    .await;
}

#[tokio::test]
async fn a_new_driver_is_shown_from_the_assignment_on() {
    each_database(async |database: Database| {
        let hub = hub_with_order(&database, new_order()).await;
        set_status(&hub, "NEAR").await;
        let mut bob = hub.connect("bob", "customer", &[]).await;
        bob.join("o1").await;
        post(&hub, &token("dan", "driver", &[]), PATH, json!([at(1.0, 0)])).await;
        assert_eq!(found(&hub, "bob", "customer").await, each(1.0));
        back_end(&hub, Method::POST, "/assign", json!({ "driverId": "eve" })).await;
        assert_eq!(found(&hub, "bob", "customer").await, each(Value::Null));
        // Her phone still had what it recorded on the way to another customer.
        let eve = token("eve", "driver", &[]);
        post(&hub, &eve, PATH, json!([at(2.0, 60), at(3.0, 40)])).await;
        assert_eq!(found(&hub, "bob", "customer").await, each(Value::Null));
        post(&hub, &eve, PATH, json!([at(4.0, 0)])).await;
        assert_eq!(found(&hub, "bob", "customer").await, each(4.0));
        assert_eq!(live(&mut bob).await, [1.0, 4.0]);
    })
    .await;
}

#[tokio::test]
async fn a_status_that_the_settings_make_visible_shows_what_came_since_the_start() {
    let database = Database { postgres: None };
    let hub = hub_with_order(&database, new_order()).await;
    let dan = token("dan", "driver", &[]);
    post(&hub, &dan, PATH, json!([at(1.0, 0)])).await;
    let hub = hub.kill_and_restart_with("LOCATION_VISIBLE_STATUSES", "NEW");
    assert_eq!(found(&hub, "bob", "customer").await, each(Value::Null));
    post(&hub, &dan, PATH, json!([at(2.0, 0)])).await;
    assert_eq!(found(&hub, "bob", "customer").await[..2], each(2.0)[..2]);
}
