//! HTTP as callers expect it: limits of time and size, pages of browsers, problems everywhere.

use reqwest::Method;
use serde_json::json;

use super::support::back_end::problem_or_status;
use super::support::raw::RawConnection;
use super::support::{Hub, token};

const PAGE: &str = "https://app.example.com";

/// A call whose body ends before it is whole.
fn begun(path: &str, rest: &str) -> String {
    let bearer = token("back-end", "service", &[]);
    format!(
        "POST {path} HTTP/1.1\r\nHost: hub.test\r\nAuthorization: Bearer {bearer}\r\n\
         Content-Type: application/json\r\n{rest}"
    )
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408_and_holds_no_connection() {
    // Long enough for the head, for which actix has the same time from when it last looked at a clock.
    let hub = Hub::builder().env("CONNECT_TIMEOUT_MS", 1500).start();
    let refused = async |rest: &str| {
        let mut raw = RawConnection::connect(hub.addr).await;
        raw.send(begun("/api/v1/orders/o1/status", rest).as_bytes()).await;
        let answer = raw.answer().await;
        assert_eq!(answer.problem(), (408, "request_timeout"), "{rest}");
        assert!(raw.ends().await, "{rest}");
    };
    tokio::join!(
        refused("Content-Length: 100\r\n\r\n{\"status\""),
        refused("Transfer-Encoding: chunked\r\n\r\n9\r\n{\"status\""),
        refused("Content-Length: 100\r\n\r\n"),
    );
}

#[tokio::test]
async fn a_body_that_is_too_long_is_413_and_the_rest_is_not_waited_for() {
    let hub = Hub::start();
    let mut raw = RawConnection::connect(hub.addr).await;
    let rest = "Transfer-Encoding: chunked\r\n\r\n200000\r\n";
    raw.send(begun("/api/v1/orders/o1/status", rest).as_bytes()).await;
    raw.send_until_refused(&vec![b' '; 1024 * 1024 + 1]).await;
    assert_eq!(raw.answer().await.problem(), (413, "invalid_payload"));
    assert!(raw.ends().await);
}

#[tokio::test]
async fn calls_follow_each_other_on_one_connection() {
    let hub = Hub::start();
    let mut raw = RawConnection::connect(hub.addr).await;
    let body = json!({ "event": "x", "data": {} }).to_string();
    let rest = format!("Content-Length: {}\r\n\r\n{body}", body.len());
    for _ in 0..3 {
        raw.send(begun("/api/v1/orders/o1/events", &rest).as_bytes()).await;
        assert_eq!(raw.answer().await.status, 200);
    }
}

#[tokio::test]
async fn pages_of_allowed_origins_may_call_the_api_and_others_get_no_leave() {
    let hub = Hub::builder().env("ALLOWED_ORIGINS", PAGE).start();
    let url = hub.url("/api/v1/orders/o1/status");
    let http = reqwest::Client::new();
    let asked = "authorization,content-type,idempotency-key";
    for (origin, allowed) in [(PAGE, Some(PAGE)), ("https://evil.example.com", None)] {
        let preflight = http.request(Method::OPTIONS, &url).header("origin", origin);
        let preflight = preflight.header("access-control-request-method", "POST");
        let preflight = preflight.header("access-control-request-headers", asked);
        let answer = preflight.send().await.expect("an answer");
        let leave = answer.headers().get("access-control-allow-origin");
        assert_eq!(leave.map(|leave| leave.to_str().expect("text")), allowed, "{origin}");
        assert!(!answer.headers().contains_key("access-control-allow-credentials"));
        if allowed.is_some() {
            let headers = answer.headers()["access-control-allow-headers"].to_str().expect("text");
            let headers = headers.to_lowercase();
            assert!(asked.split(',').all(|name| headers.contains(name)), "{headers}");
        }
        // A refusal is readable for the page too.
        let call = http.post(&url).header("origin", origin).json(&json!({ "status": "NEW" }));
        let answer = call.send().await.expect("an answer");
        let leave = answer.headers().get("access-control-allow-origin");
        assert_eq!(leave.map(|leave| leave.to_str().expect("text")), allowed, "{origin}");
        assert_eq!(problem_or_status(answer).await, "401 unauthenticated ");
    }
}

#[tokio::test]
async fn an_unknown_field_is_named_wherever_it_stands() {
    let hub = Hub::start();
    let admin = token("root", "admin", &[]);
    for (method, path, body) in [
        (Method::GET, "/api/v1/orders?colour=red", None),
        (Method::GET, "/admin/v1/rooms?colour=red", None),
        (Method::DELETE, "/admin/v1/users/bob/sessions?colour=red", None),
        (Method::DELETE, "/admin/v1/users/bob/sessions", Some(json!({ "colour": "red" }))),
        (Method::PUT, "/api/v1/orders/o1", Some(json!({ "colour": "red" }))),
        (Method::POST, "/api/v1/orders/o1/status", Some(json!({ "status": "N", "colour": 1 }))),
        (Method::POST, "/api/v1/orders/o1/assign", Some(json!({ "driverId": 1, "colour": 1 }))),
        (Method::PUT, "/api/v1/orders/o1/participants/b", Some(json!({ "colour": 1 }))),
        (Method::POST, "/api/v1/orders/o1/events", Some(json!({ "colour": 1 }))),
        (Method::POST, "/api/v1/users/b/events", Some(json!({ "colour": 1 }))),
        (Method::POST, "/api/v1/users:events", Some(json!({ "colour": 1 }))),
        (Method::POST, "/api/v1/users/b/revoke", Some(json!({ "colour": 1 }))),
    ] {
        let request = reqwest::Client::new().request(method.clone(), hub.url(path));
        let request = request.bearer_auth(&admin);
        let request = if let Some(body) = &body { request.json(body) } else { request };
        let answer = problem_or_status(request.send().await.expect("an answer")).await;
        assert_eq!(answer, "400 invalid_payload colour", "{method} {path}");
    }
}
