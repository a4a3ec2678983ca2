//! Positions that phones post over HTTP.

use protocol::time::Timestamp;
use reqwest::Response;
use serde_json::{Value, json};

use super::Hub;

/// Posts a body as it is.
pub async fn post_raw(hub: &Hub, bearer: &str, path: &str, body: impl Into<String>) -> Response {
    let request = reqwest::Client::new().post(hub.url(&format!("/api/v1{path}")));
    request.bearer_auth(bearer).body(body.into()).send().await.expect("an answer")
}

/// Posts what must be taken, or refused with 200: the answer.
pub async fn post(hub: &Hub, bearer: &str, path: &str, body: Value) -> Value {
    let response = post_raw(hub, bearer, path, body.to_string()).await;
    assert_eq!(response.status(), 200, "{body}");
    response.json().await.expect("JSON")
}

/// A time so many seconds ago, in milliseconds.
pub fn ms_ago(secs: i64) -> i64 {
    Timestamp::now().as_millis() - secs * 1000
}

/// The same as text.
pub fn ago(secs: i64) -> String {
    Timestamp::from_millis(ms_ago(secs)).to_string()
}

/// A fix in the hub's own form, at this latitude.
pub fn at(lat: f64, secs_ago: i64) -> Value {
    json!({ "lat": lat, "lng": 13.7, "recordedAt": ago(secs_ago) })
}

/// So many of them, each so many seconds behind the one before, the last now; the latitude of the
/// last is 0.
pub fn row(count: i64, secs: i64) -> Value {
    let now = ms_ago(0);
    let fix = |number: i64| {
        let at = Timestamp::from_millis(now - number * secs * 1000).to_string();
        json!({ "lat": number.rem_euclid(90), "lng": 13.7, "recordedAt": at })
    };
    json!((0..count).rev().map(fix).collect::<Vec<_>>())
}
