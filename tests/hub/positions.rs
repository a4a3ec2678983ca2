//! Positions that phones post over HTTP: in every form, for every order, by whoever may, and as bad
//! as they come.

use futures_util::future::join_all;
use orderhub::auth::Scope;
use protocol::time::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::support::back_end::{call, put};
use super::support::fixes::{ago, at, ms_ago, post, post_raw, row};
use super::support::rooms::fix;
use super::support::socketio::SocketIoClient;
use super::support::{Database, Hub, each_database, token};

/// What react-native-background-geolocation has of a fix.
fn transistor(lat: f64, secs_ago: i64, extras: Value) -> Value {
    json!({
        "event": "motionchange", "is_moving": true, "uuid": "43F86BBA-8A5C-4E7D-9D4D-0C5C9D8F2D11",
        "timestamp": ago(secs_ago), "odometer": 1245.3, "age": 3,
        "coords": {
            "latitude": lat, "longitude": 13.7, "accuracy": 5.4, "speed": 8.25, "speed_accuracy": 1.0,
            "heading": 270.5, "heading_accuracy": -1, "altitude": 12.7, "altitude_accuracy": 3,
        },
        "activity": { "type": "in_vehicle", "confidence": 100 },
        "battery": { "is_charging": true, "level": 0.83 },
        "extras": extras,
    })
}

/// What Expo has of a fix.
fn expo(lat: f64, secs_ago: i64) -> Value {
    json!({
        "timestamp": ms_ago(secs_ago),
        "coords": {
            "latitude": lat, "longitude": 13.7, "altitude": null, "accuracy": 20, "heading": -1,
            "altitudeAccuracy": null, "speed": 3.5,
        },
    })
}

fn taken(accepted: usize, stale: usize) -> Value {
    json!({ "accepted": accepted, "stale": stale, "rejected": [] })
}

/// All of so many fixes rejected with this code.
fn all_rejected(count: usize, code: &str) -> Value {
    let rejected: Vec<_> =
        (0..count).map(|index| json!({ "index": index, "code": code })).collect();
    json!({ "accepted": 0, "stale": 0, "rejected": rejected })
}

#[tokio::test]
async fn every_form_of_a_body_is_taken_and_its_newest_reaches_every_member() {
    let hub = Hub::start();
    put(&hub, "o1", json!({ "driverId": "dan" })).await;
    let mut plain = hub.connect("bob", "customer", &["o1"]).await;
    let mut framed = SocketIoClient::login(&hub, "eve", "customer", &["o1"]).await;
    let mut staff = hub.connect("sue", "support", &[]).await;
    plain.join("o1").await;
    framed.join("o1").await;
    staff.join("o1").await;
    let dan = token("dan", "driver", &[]);
    for (number, (count, body)) in [
        (2, json!({ "locations": [at(1.0, 64), at(0.5, 65)] })),
        (1, at(2.0, 62)),
        (1, json!({ "location": transistor(3.0, 60, json!({})), "device": { "model": "x" } })),
        (
            2,
            json!({ "location": [transistor(4.0, 50, json!({})), transistor(3.5, 55, json!({}))] }),
        ),
        (2, json!([expo(4.5, 45), expo(5.0, 40)])),
        (2, json!({ "locations": [expo(5.5, 35), expo(6.0, 30)] })),
        (1, transistor(7.0, 20, json!({ "orderId": "o1" }))),
    ]
    .into_iter()
    .enumerate()
    {
        let path = if number % 2 == 0 { "/orders/o1/locations" } else { "/drivers/me/locations" };
        assert_eq!(post(&hub, &dan, path, body.clone()).await, taken(count, 0), "{body}");
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let lat = json!((number + 1) as f64);
        let heard = plain.expect("location:updated").await;
        assert_eq!((&heard["lat"], &heard["driverId"]), (&lat, &json!("dan")), "{body}");
        assert_eq!(framed.expect("location:updated").await["lat"], lat);
        let told = staff.expect("location:updated").await;
        let has_battery = body.to_string().contains("0.83");
        assert_eq!(told["battery"] == 0.83, has_battery, "{told}");
        assert_eq!(heard["battery"], Value::Null, "{heard}");
    }
    assert_eq!(plain.drain("location:updated").await, Vec::<Value>::new(), "only the newest");
    let mut late = hub.connect("late", "customer", &["o1"]).await;
    let last = late.join("o1").await["lastLocation"].take();
    assert_eq!((&last["lat"], &last["speed"]), (&json!(7.0), &json!(8.25)));
}

#[tokio::test]
async fn posted_fixes_older_than_the_last_position_are_stale_and_not_relayed() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        put(&hub, "o1", json!({ "driverId": "dan" })).await;
        let dan = token("dan", "driver", &[]);
        let path = "/orders/o1/locations";
        let batch = json!({ "locations": [at(1.0, 40), at(2.0, 30), at(3.0, 20)] });
        // Without anybody in the room, and with somebody.
        assert_eq!(post(&hub, &dan, path, batch.clone()).await, taken(3, 0));
        assert_eq!(post(&hub, &dan, path, batch.clone()).await["stale"], 2, "once more");
        let mut bob = hub.connect("bob", "customer", &["o1"]).await;
        assert_eq!(bob.join("o1").await["lastLocation"]["lat"], 3.0);
        assert_eq!(post(&hub, &dan, path, json!([at(0.5, 50)])).await, taken(0, 1));
        assert_eq!(post(&hub, &dan, path, json!([at(0.5, 50), at(4.0, 10)])).await, taken(1, 1));
        assert_eq!(bob.expect("location:updated").await["lat"], 4.0);
        let ancient = json!([at(9.0, 25 * 3600)]);
        assert_eq!(post(&hub, &dan, path, ancient).await, taken(0, 1), "of yesterday");
        assert_eq!(bob.drain("location:updated").await, Vec::<Value>::new());
        // A live position goes on from there.
        let mut phone = hub.connect("dan", "driver", &[]).await;
        let old = json!({ "orderId": "o1", "lat": 1.0, "lng": 1.0, "recordedAt": ago(15) });
        assert_eq!(phone.request("driver:location", old).await["accepted"], 0);
        assert_eq!(phone.request("driver:location", fix("o1", 8.0)).await["accepted"], 1);
    })
    .await;
}

#[tokio::test]
async fn a_position_posted_without_a_room_is_in_the_next_snapshot_also_after_a_kill() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        let dan = token("dan", "driver", &["by-token"]);
        put(&hub, "o1", json!({ "driverId": "dan" })).await;
        let body = json!({ "locations": [at(1.0, 20), at(2.0, 10)] });
        assert_eq!(post(&hub, &dan, "/drivers/me/locations", body).await, taken(2, 0));
        let hub = hub.kill_and_restart();
        for order in ["o1", "by-token"] {
            let mut bob = hub.connect("bob", "customer", &[order]).await;
            let last = bob.join(order).await["lastLocation"].take();
            assert_eq!((&last["lat"], &last["driverId"]), (&json!(2.0), &json!("dan")), "{order}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_phone_whose_clock_is_ahead_is_moved_back_as_a_whole() {
    let hub = Hub::start();
    put(&hub, "o1", json!({ "driverId": "dan" })).await;
    let dan = token("dan", "driver", &[]);
    let before = ms_ago(0);
    let (mut first, mut second) = (expo(1.0, 0), expo(2.0, 0));
    first["timestamp"] = json!(before + 7_200_000);
    second["timestamp"] = json!(before + 7_230_000);
    let body = json!([first, second]);
    assert_eq!(post(&hub, &dan, "/orders/o1/locations", body).await, taken(2, 0));
    let (_, trail) = call(&hub, Method::GET, "/orders/o1/locations", Value::Null).await;
    let points = trail["locations"].as_array().expect("points");
    let time = |place: usize| -> i64 {
        let text = points[place]["recordedAt"].as_str().expect("a time");
        text.parse::<Timestamp>().expect("a time").as_millis()
    };
    assert_eq!(points.len(), 2, "{trail}");
    assert_eq!(time(1) - time(0), 30_000, "the time between them stays");
    assert!((before..=ms_ago(0)).contains(&time(1)), "{trail}");
}

#[tokio::test]
async fn a_fix_goes_to_the_orders_that_it_is_for() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        for order in ["o1", "o2", "ended"] {
            put(&hub, order, json!({ "driverId": "dan" })).await;
        }
        put(&hub, "ended", json!({ "status": "DELIVERED" })).await;
        put(&hub, "other", json!({ "driverId": "else" })).await;
        let dan = token("dan", "driver", &["other"]);
        let last = async |order: &str| {
            let path = format!("/orders/{order}");
            call(&hub, Method::GET, &path, Value::Null).await.1["lastLocation"]["lat"].take()
        };
        let me = "/drivers/me/locations";
        assert_eq!(post(&hub, &dan, me, json!([at(1.0, 50)])).await, taken(1, 0));
        assert_eq!([last("o1").await, last("o2").await], [1.0, 1.0]);
        let for_o2 = json!({ "location": transistor(2.0, 40, json!({ "orderId": "o2" })) });
        assert_eq!(post(&hub, &dan, me, for_o2.clone()).await, taken(1, 0));
        assert_eq!([last("o1").await, last("o2").await], [1.0, 2.0]);
        // The app has gone on to another order; what waits is for the one before.
        assert_eq!(post(&hub, &dan, "/orders/o1/locations", for_o2).await, taken(1, 0));
        assert_eq!(last("o1").await, 1.0);
        let mixed = json!({ "locations": [
            { "lat": 3.0, "lng": 1.0, "orderId": "other", "recordedAt": ago(30) },
            { "lat": 4.0, "lng": 1.0, "orderIds": ["other", "o1"], "recordedAt": ago(20) },
            { "lat": 5.0, "lng": 1.0, "orderId": "ended", "recordedAt": ago(10) },
        ] });
        let answer = post(&hub, &dan, me, mixed).await;
        assert_eq!(
            answer,
            json!({ "accepted": 1, "stale": 0, "rejected": [
            { "index": 0, "code": "forbidden" }, { "index": 2, "code": "order_closed" },
        ] })
        );
        assert_eq!([last("o1").await, last("other").await], [json!(4.0), Value::Null]);
        let idle = token("idle", "driver", &[]);
        let nowhere = post(&hub, &idle, me, json!([at(1.0, 5), at(1.0, 4)])).await;
        assert_eq!(nowhere, all_rejected(2, "not_found"));
    })
    .await;
}

#[tokio::test]
async fn only_the_driver_and_back_ends_post_and_no_refusal_blocks_a_phone() {
    let hub = Hub::start();
    let bob = json!([{ "userId": "bob", "role": "customer" }]);
    put(&hub, "o1", json!({ "driverId": "dan", "participants": bob })).await;
    let mut seen = hub.connect("bob", "customer", &[]).await;
    seen.join("o1").await;
    let path = "/orders/o1/locations";
    let body = || json!({ "locations": [at(1.0, 9), at(1.0, 8)] });
    for (user, role) in [("bob", "customer"), ("eve", "driver"), ("sue", "support")] {
        let refused = post(&hub, &token(user, role, &["o1"]), path, body()).await;
        assert_eq!(refused, all_rejected(2, "forbidden"), "{user}");
    }
    let nowhere = post(&hub, &token("dan", "driver", &[]), "/orders/none/locations", body()).await;
    assert_eq!(nowhere, all_rejected(2, "forbidden"), "as one that is not there");
    let no_id = post(&hub, &token("dan", "driver", &[]), "/orders/no%20id/locations", body()).await;
    assert_eq!(no_id, all_rejected(2, "invalid_payload"));
    assert_eq!(seen.drain("location:updated").await, Vec::<Value>::new());
    // A back end posts for whoever drives.
    for role in ["service", "admin"] {
        assert_eq!(post(&hub, &token("x", role, &[]), path, body()).await["rejected"], json!([]));
        assert_eq!(seen.expect("location:updated").await["driverId"], "dan");
    }
    let service = token("shop", "service", &[]);
    let none = post(&hub, &service, "/orders/none/locations", body()).await;
    assert_eq!(none, all_rejected(2, "not_found"));
    let dan = token("dan", "driver", &[]);
    call(&hub, Method::POST, "/orders/o1/assign", json!({ "driverId": null })).await;
    assert_eq!(post(&hub, &dan, path, body()).await, all_rejected(2, "forbidden"), "unassigned");
    assert_eq!(post(&hub, &service, path, body()).await, all_rejected(2, "not_found"));
    call(&hub, Method::POST, "/orders/o1/assign", json!({ "driverId": "dan" })).await;
    assert_eq!(post(&hub, &dan, path, body()).await["rejected"], json!([]));
    call(&hub, Method::POST, "/orders/o1/status", json!({ "status": "DELIVERED" })).await;
    assert_eq!(post(&hub, &dan, path, body()).await, all_rejected(2, "order_closed"));
    let stranger = post_raw(&hub, "no-token", path, body().to_string()).await;
    assert_eq!(stranger.status(), 401);
}

#[tokio::test]
async fn an_api_key_posts_for_an_order_by_its_scope_and_is_no_driver() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("keys.toml");
    let made = |name, scope| orderhub::auth::new_key(name, &[scope]).expect("random bytes");
    let (reads, writes) = (made("reads", Scope::OrdersRead), made("writes", Scope::OrdersWrite));
    std::fs::write(&path, format!("{}{}", reads.entry, writes.entry)).expect("writes");
    let hub = Hub::builder().env("API_KEYS_FILE", path.display()).start();
    put(&hub, "o1", json!({ "driverId": "dan" })).await;
    let status = async |key: &str, path: &str| {
        post_raw(&hub, key, path, json!([at(1.0, 1)]).to_string()).await.status()
    };
    assert_eq!(status(&reads.key, "/orders/o1/locations").await, StatusCode::FORBIDDEN);
    assert_eq!(status(&writes.key, "/orders/o1/locations").await, StatusCode::OK);
    assert_eq!(status(&writes.key, "/drivers/me/locations").await, StatusCode::FORBIDDEN);
    let read = async |key: &str| {
        let request = reqwest::Client::new().get(hub.url("/api/v1/orders/o1/locations"));
        request.bearer_auth(key).send().await.expect("an answer").status()
    };
    assert_eq!(read(&reads.key).await, StatusCode::OK);
    assert_eq!(read(&writes.key).await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_bad_fix_is_listed_in_a_200_and_good_ones_are_taken() {
    let hub = Hub::start();
    put(&hub, "o1", json!({ "driverId": "dan" })).await;
    let dan = token("dan", "driver", &[]);
    let path = "/orders/o1/locations";
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert_eq!(post_raw(&hub, &dan, path, deep.clone()).await.status(), 422);
    let deep = format!("[{deep},{}]", at(1.0, 10));
    assert_eq!(post_raw(&hub, &dan, path, deep).await.status(), 200);
    let mixed = json!({ "locations": [
        at(1.0, 9),
        { "lat": 91, "lng": 1 },
        { "lat": 1, "lng": 1, "orderId": "a b" },
        { "coords": { "latitude": 1, "longitude": 181 } },
        null,
        at(2.0, 8),
    ] });
    let answer = post(&hub, &dan, path, mixed).await;
    let bad = |index: usize, field: &str| json!({ "index": index, "code": "invalid_payload", "field": field });
    let rejected =
        json!([bad(1, "lat"), bad(2, "orderId"), bad(3, "coords.longitude"), bad(4, "location")]);
    assert_eq!(answer, json!({ "accepted": 2, "stale": 0, "rejected": rejected }));
    assert_eq!(post(&hub, &dan, path, json!({ "locations": [] })).await, taken(0, 0));
}

#[tokio::test]
async fn a_thousand_fixes_are_taken_and_one_more_is_too_many() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        put(&hub, "o1", json!({ "driverId": "dan" })).await;
        let dan = token("dan", "driver", &[]);
        let path = "/orders/o1/locations";
        assert_eq!(post(&hub, &dan, path, row(1000, 10)).await, taken(1000, 0));
        for body in [row(1001, 10).to_string(), " ".repeat(1024 * 1024 + 1)] {
            let response = post_raw(&hub, &dan, path, body).await;
            assert_eq!(response.status(), 413);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
        }
        let (_, trail) = call(&hub, Method::GET, path, Value::Null).await;
        assert_eq!(trail["locations"].as_array().map(Vec::len), Some(1000));
    })
    .await;
}

#[tokio::test]
async fn a_user_who_posts_too_often_waits_and_others_do_not() {
    let hub = Hub::builder().env("EVENTS_PER_SECOND", 1).env("EVENTS_BURST", 2).start();
    put(&hub, "o1", json!({ "driverId": "dan" })).await;
    let post = async |user: &str, role: &str, path: &str| {
        post_raw(&hub, &token(user, role, &[]), path, json!([at(1.0, 1)]).to_string()).await
    };
    let me = "/drivers/me/locations";
    let posts = join_all((0..30).map(|_| post("dan", "driver", me))).await;
    let refused = posts.into_iter().find(|response| response.status() != 200).expect("one");
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.json::<Value>().await.expect("JSON")["code"], "rate_limited");
    assert_eq!(post("ann", "driver", me).await.status(), 200, "another user");
    for _ in 0..10 {
        let back_end = post("dan", "service", "/orders/o1/locations").await;
        assert_eq!(back_end.status(), 200, "a back end posts for many");
    }
}

#[tokio::test]
async fn a_failing_database_is_503_for_a_post_and_members_get_its_position() {
    let database = Database { postgres: None };
    let hub = database.hub().start();
    put(&hub, "o1", json!({ "driverId": "dan" })).await;
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    bob.join("o1").await;
    let dan = token("dan", "driver", &[]);
    let lock = database.lock(&hub);
    let body = json!([at(1.0, 1)]).to_string();
    let refused = post_raw(&hub, &dan, "/orders/o1/locations", body.clone()).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(bob.expect("location:updated").await["lat"], 1.0);
    drop(lock);
    let answer = post_raw(&hub, &dan, "/orders/o1/locations", body).await;
    assert_eq!(answer.status(), 200);
}
