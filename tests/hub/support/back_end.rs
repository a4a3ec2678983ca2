//! The HTTP API as a back end calls it.

use reqwest::{Method, Response};
use serde_json::Value;

use super::{Hub, token};

/// Calls as a user with this role.
pub async fn call_as(hub: &Hub, role: &str, method: Method, path: &str, body: Value) -> Response {
    let request = reqwest::Client::new().request(method, hub.url(&format!("/api/v1{path}")));
    let request = request.bearer_auth(token("back-end", role, &[]));
    let request = if body.is_null() { request } else { request.json(&body) };
    request.send().await.expect("an answer")
}

/// Calls as a back end: the status and the JSON body.
pub async fn call(hub: &Hub, method: Method, path: &str, body: Value) -> (u16, Value) {
    let response = call_as(hub, "service", method, path, body).await;
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or(Value::Null))
}

pub async fn problem_or_status(response: Response) -> String {
    if response.status().is_success() {
        return response.status().as_u16().to_string();
    }
    let (status, code, field) = problem(response).await;
    format!("{status} {code} {field}")
}

/// The status, code and field of an answer that must be a problem.
pub async fn problem(response: Response) -> (u16, String, String) {
    let kind = response.headers()["content-type"].to_str().expect("text").to_owned();
    assert_eq!(kind, "application/problem+json");
    let body: Value = response.json().await.expect("JSON");
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let status = u16::try_from(body["status"].as_u64().expect("a status")).expect("a status");
    (status, text("code"), text("field"))
}

pub async fn bulk(hub: &Hub, lines: &str) -> Vec<Value> {
    let request = reqwest::Client::new().post(hub.url("/api/v1/orders:batch"));
    let request = request.bearer_auth(token("back-end", "service", &[]));
    let request = request.header("content-type", "application/x-ndjson").body(lines.to_owned());
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let text = response.text().await.expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

pub async fn put(hub: &Hub, order: &str, body: Value) {
    let (status, answer) = call(hub, Method::PUT, &format!("/orders/{order}"), body).await;
    assert!(status < 300, "{answer}");
}
