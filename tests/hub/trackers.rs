//! Apps that only track a phone: `OwnTracks`, Overland and Traccar's `OsmAnd` protocol, with bodies as their
//! documents have them, and with a token as each of them can send it.

use orderhub::auth::Scope;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::support::api_keys::{made, put as put_keys};
use super::support::back_end::call;
use super::support::fixes::ms_ago;
use super::support::{Client, Hub, token};

const ME: &str = "/api/v1/drivers/me/locations";

/// A hub with an order of dan's, his token, and somebody of support who sees his battery too.
async fn world() -> (Hub, String, Client) {
    let hub = Hub::start();
    let (status, answer) =
        call(&hub, Method::PUT, "/orders/o1", json!({ "driverId": "dan" })).await;
    assert!(status < 300, "{answer}");
    let mut sue = hub.connect("sue", "support", &[]).await;
    sue.join("o1").await;
    (hub, token("dan", "driver", &[]), sue)
}

fn request(hub: &Hub, method: Method, path: &str) -> RequestBuilder {
    reqwest::Client::new().request(method, hub.url(&format!("{ME}{path}")))
}

async fn sent(request: RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

fn secs_ago(secs: i64) -> i64 {
    ms_ago(secs) / 1000
}

/// As the booklet of `OwnTracks` has it.
fn owntracks(lat: f64, secs: i64) -> Value {
    json!({
        "_type": "location", "BSSID": "b0:f2:8:45:94:33", "SSID": "Home", "acc": 13, "alt": 154,
        "batt": 87, "bs": 1, "cog": 270, "conn": "w", "created_at": secs_ago(secs), "inregions": ["Depot"],
        "lat": lat, "lon": 13.7142, "m": 2, "t": "u", "tid": "dn", "topic": "owntracks/dan/phone",
        "tst": secs_ago(secs), "vac": 10, "vel": 36,
    })
}

/// As the README of Overland has it.
fn overland(lat: f64, secs: i64) -> Value {
    let at = protocol::time::Timestamp::from_millis(ms_ago(secs)).to_string();
    json!({
        "type": "Feature",
        "geometry": { "type": "Point", "coordinates": [13.7142, lat] },
        "properties": {
            "timestamp": at.replace(".000Z", "+0000").replace('Z', "+0000"), "altitude": 12, "speed": 4,
            "horizontal_accuracy": 30, "vertical_accuracy": -1, "motion": ["driving", "stationary"],
            "pauses": false, "activity": "other_navigation", "desired_accuracy": 100,
            "deferred": 1000, "significant_change": "disabled", "locations_in_payload": 2,
            "battery_state": "charging", "battery_level": 0.89, "device_id": "", "wifi": "",
        },
    })
}

/// As Traccar Client has it in its query.
fn osmand(lat: f64, secs: i64) -> String {
    let at = secs_ago(secs);
    format!(
        "id=48241179&timestamp={at}&lat={lat}&lon=13.7142&speed=19.438445&bearing=270.0&\
         altitude=12.7&accuracy=5.4&batt=83.0"
    )
}

#[tokio::test]
async fn owntracks_posts_a_message_and_gets_an_empty_list() {
    let (hub, dan, mut sue) = world().await;
    let post = |body: String| {
        let request = request(&hub, Method::POST, "/owntracks").basic_auth("dan", Some(&dan));
        let request = request.header("x-limit-u", "dan").header("x-limit-d", "phone");
        sent(request.header("content-type", "application/json").body(body))
    };
    let answer = post(owntracks(45.5, 20).to_string()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.text().await.expect("text"), "[]");
    let heard = sue.expect("location:updated").await;
    assert_eq!((&heard["lat"], &heard["driverId"]), (&json!(45.5), &json!("dan")), "{heard}");
    assert_eq!((&heard["speed"], &heard["battery"]), (&json!(10.0), &json!(0.87)), "{heard}");
    for other in [
        String::new(),
        json!({ "_type": "lwt", "tst": secs_ago(5) }).to_string(),
        json!({ "_type": "transition", "lat": 1, "lon": 2, "event": "enter", "tst": 1 })
            .to_string(),
        owntracks(91.0, 5).to_string(),
    ] {
        let answer = post(other.clone()).await;
        assert_eq!(answer.status(), 200, "{other}");
        assert_eq!(answer.text().await.expect("text"), "[]");
    }
    assert_eq!(sue.drain("location:updated").await, Vec::<Value>::new());
    let encrypted = json!({ "_type": "encrypted", "data": "AAAA" }).to_string();
    for (body, status) in
        [("{\"_type\":", 400), (encrypted.as_str(), 422), ("{\"lat\":1,\"lon\":2}", 422)]
    {
        assert_eq!(post(body.to_owned()).await.status(), status, "{body}");
    }
}

#[tokio::test]
async fn overland_posts_a_batch_and_gets_result_ok() {
    let (hub, dan, mut sue) = world().await;
    let post = |body: Value| {
        let request = request(&hub, Method::POST, "/overland").bearer_auth(&dan);
        sent(request.json(&body))
    };
    let batch = json!({ "locations": [overland(45.1, 40), overland(45.2, 20)] });
    let answer = post(batch.clone()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.expect("JSON"), json!({ "result": "ok" }));
    let heard = sue.expect("location:updated").await;
    assert_eq!((&heard["lat"], &heard["lng"]), (&json!(45.2), &json!(13.7142)), "{heard}");
    assert_eq!((&heard["speed"], &heard["battery"]), (&json!(4.0), &json!(0.89)), "{heard}");
    let (_, trail) = call(&hub, Method::GET, "/orders/o1/locations", Value::Null).await;
    assert_eq!(trail["locations"].as_array().map(Vec::len), Some(2), "{trail}");
    // With a long queue the app says where it is now beside an older batch.
    let long = json!({ "locations": [overland(44.0, 300)], "current": overland(45.3, 1) });
    assert_eq!(post(long).await.status(), 200);
    assert_eq!(sue.expect("location:updated").await["lat"], 45.3);
    let odd = json!({ "locations": [{ "geometry": null }, overland(45.4, 0)], "trip": { "mode": "car" } });
    assert_eq!(post(odd).await.status(), 200);
    assert_eq!(sue.expect("location:updated").await["lat"], 45.4);
    assert_eq!(post(json!({ "locations": [] })).await.status(), 200);
    for body in [json!([]), json!({}), json!({ "locations": [{ "lat": 1, "lng": 2 }] })] {
        assert_eq!(post(body.clone()).await.status(), 422, "{body}");
    }
    let many = json!({ "locations": vec![json!({}); 1001] });
    assert_eq!(post(many).await.status(), 413);
}

#[tokio::test]
async fn traccar_client_sends_by_query_form_and_json() {
    let (hub, dan, mut sue) = world().await;
    let with = |query: &str| format!("/osmand?token={dan}&{query}");
    let form = "application/x-www-form-urlencoded";
    let json = json!({
        "location": {
            "timestamp": protocol::time::Timestamp::from_millis(ms_ago(5)), "is_moving": true,
            "coords": { "latitude": 45.5, "longitude": 13.7142, "accuracy": 5.4, "speed": 10.0,
                "heading": 270.0, "altitude": 12.7 },
            "odometer": 0, "event": "motionchange", "activity": { "type": "still" }, "extras": {},
            "battery": { "level": 0.83, "is_charging": false },
        },
        "device_id": "48241179",
    });
    for (number, (method, query, kind, body)) in [
        (Method::GET, osmand(1.5, 30), None, String::new()),
        // The app for Android posts, with all in the query and nothing in the body.
        (Method::POST, osmand(2.5, 20), Some(form), String::new()),
        (Method::POST, "id=48241179".to_owned(), Some(form), osmand(3.5, 10)),
        (Method::POST, String::new(), Some("application/json"), json.to_string()),
    ]
    .into_iter()
    .enumerate()
    {
        let request = request(&hub, method.clone(), &with(&query)).body(body);
        let request =
            if let Some(kind) = kind { request.header("content-type", kind) } else { request };
        let answer = sent(request).await;
        assert_eq!(answer.status(), 200, "{method} {query}");
        let heard = sue.expect("location:updated").await;
        let lats = [1.5, 2.5, 3.5, 45.5];
        assert_eq!(heard["lat"], lats[number], "{method} {query}");
        assert!((heard["speed"].as_f64().expect("known") - 10.0).abs() < 1e-6, "{heard}");
        assert_eq!(heard["battery"], 0.83, "{heard}");
    }
    for (query, status) in [("lat=91&lon=2", 200), ("lat=1&lon=2&valid=false", 200), ("id=7", 422)]
    {
        let answer = sent(request(&hub, Method::GET, &with(query))).await;
        assert_eq!(answer.status(), status, "{query}");
    }
    let zipped = request(&hub, Method::POST, &with("id=7")).body("{\"location\":");
    assert_eq!(sent(zipped.header("content-type", "application/json")).await.status(), 400);
    assert_eq!(sue.drain("location:updated").await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_token_is_accepted_as_each_app_can_send_it_and_only_here() {
    let (mut hub, dan, _) = world().await;
    let body = || owntracks(45.5, 1).to_string();
    let post = || request(&hub, Method::POST, "/owntracks").body(body());
    let in_query = |token: &str| {
        request(&hub, Method::POST, &format!("/owntracks?token={token}")).body(body())
    };
    assert_eq!(sent(post().bearer_auth(&dan)).await.status(), 200);
    assert_eq!(sent(post().basic_auth("", Some(&dan))).await.status(), 200);
    assert_eq!(sent(in_query(&dan)).await.status(), 200);
    // An address may be an old one: what is in the header counts.
    assert_eq!(sent(in_query("old").basic_auth("dan", Some(&dan))).await.status(), 200);
    for refused in
        [post(), post().basic_auth("dan", Some("password")), post().basic_auth(&dan, None::<&str>)]
    {
        let answer = sent(refused).await;
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.headers()["www-authenticate"], "Basic realm=\"orderhub\"");
    }
    // Elsewhere a password is no token, and neither is one in an address.
    let plain = |query: &str| {
        let request = reqwest::Client::new().post(hub.url(&format!("{ME}{query}")));
        request.body(json!([{ "lat": 1, "lng": 2 }]).to_string())
    };
    for refused in [plain("").basic_auth("dan", Some(&dan)), plain(&format!("?token={dan}"))] {
        let answer = sent(refused).await;
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    }
    let log = hub.whole_log().await;
    assert!(!log.contains(&dan) && !log.contains("token="), "{log}");
}

#[tokio::test]
async fn an_address_without_allowance_for_tokens_takes_none() {
    let mut hub = Hub::builder().env("ALLOW_QUERY_TOKEN", "false").env("RUST_LOG", "debug").start();
    let dan = token("dan", "driver", &[]);
    for path in ["/owntracks", "/overland", "/osmand"] {
        let query = format!("{path}?token={dan}&lat=1&lon=2");
        let answer = sent(request(&hub, Method::POST, &query)).await;
        assert_eq!(answer.status(), 401, "{path}");
        let problem: Value = answer.json().await.expect("JSON");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains("ALLOW_QUERY_TOKEN") && !detail.contains(&dan), "{detail}");
    }
    let log = hub.whole_log().await;
    assert!(!log.contains(&dan), "{log}");
}

#[tokio::test]
async fn an_app_that_tracks_is_held_to_what_a_phone_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("keys.toml");
    let key = made("shop", &[Scope::OrdersWrite]);
    put_keys(&path, &[&key]);
    let hub = Hub::builder().env("API_KEYS_FILE", path.display());
    let hub = hub.env("EVENTS_PER_SECOND", 1).env("EVENTS_BURST", 2).start();
    let by_key =
        sent(request(&hub, Method::GET, "/osmand?lat=1&lon=2").bearer_auth(&key.key)).await;
    assert_eq!(by_key.status(), StatusCode::FORBIDDEN);
    let dan = token("dan", "driver", &[]);
    let mut refused = None;
    for _ in 0..50 {
        let path = format!("/osmand?token={dan}&lat=1&lon=2");
        let answer = sent(request(&hub, Method::GET, &path)).await;
        if answer.status() != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("one too many");
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "1");
    for (path, allowed) in [("/owntracks", "POST"), ("/overland", "POST"), ("/osmand", "GET, POST")]
    {
        let answer = sent(request(&hub, Method::PUT, path).bearer_auth(&dan)).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers()["allow"], allowed);
    }
}
