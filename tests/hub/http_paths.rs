//! Paths as they are written, and HEAD.

use serde_json::json;

use super::support::raw::RawConnection;
use super::support::{Hub, token};

/// Asks as an admin for exactly this target.
async fn asked(hub: &Hub, method: &str, target: &str) -> u16 {
    let mut raw = RawConnection::connect(hub.addr).await;
    let bearer = token("root", "admin", &[]);
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: hub.test\r\nAuthorization: Bearer {bearer}\r\n\
         Connection: close\r\n\r\n"
    );
    raw.send(head.as_bytes()).await;
    raw.status().await.expect("an answer")
}

#[tokio::test]
async fn a_path_whose_fixed_parts_are_escaped_is_not_there() {
    let hub = Hub::start();
    let http = reqwest::Client::new();
    let order = hub.url("/api/v1/orders/o-1");
    let made = http.put(order).bearer_auth(token("back-end", "service", &[])).json(&json!({}));
    assert!(made.send().await.expect("an answer").status().is_success());
    for hidden in [
        "/%61dmin/v1/stats",
        "/%41dmin/v1/stats",
        "/admin%2Fv1/stats",
        "/admin/v1/%73tats",
        "/admin/v1/rooms/o-1/%6dembers/bob",
        "/%6detrics",
        "/metrics%2f",
        "/%6Detrics",
        "/%64ocs",
        "/docs%2Findex.css",
        "/%6fpenapi.json",
        "/%68ealthz",
        "/%72eadyz",
        "/%61pi/v1/orders/o-1",
        "/api/v1/%6frders/o-1",
        "/api/v1/orders/o-1/%6dessages",
        "/%73ocket.io/?EIO=4&transport=polling",
        "/socket%2eio/?EIO=4&transport=polling",
        "/%77s",
        "//admin/v1/stats",
        "/%2fadmin/v1/stats",
        "/./admin/v1/stats",
        "/%2e/admin/v1/stats",
        "/api/%2e%2e/admin/v1/stats",
        "/api/../admin/v1/stats",
    ] {
        assert_eq!(asked(&hub, "GET", hidden).await, 404, "{hidden}");
    }
    for (shown, status) in [
        ("/admin/v1/stats", 200),
        ("/metrics", 200),
        // Ids may be escaped, and are judged decoded.
        ("/api/v1/orders/o-1", 200),
        ("/api/v1/orders/%6f-1", 200),
        ("/api/v1/orders/%6F%2d1", 200),
        ("/api/v1/orders/%6f-2", 404),
        ("/api/v1/orders/o%2F1", 400),
        ("/api/v1/orders/o%252d1", 400),
        // What stands behind the path is no part of it.
        ("/admin/v1/rooms?limit=%31", 200),
    ] {
        assert_eq!(asked(&hub, "GET", shown).await, status, "{shown}");
    }
}

#[tokio::test]
async fn dots_are_no_ids_of_a_path() {
    // A proxy takes them for steps in the path, and judges another path than the hub.
    let hub = Hub::start();
    for path in [
        "/api/v1/orders/.",
        "/api/v1/orders/..",
        "/api/v1/orders/%2e%2e",
        "/api/v1/orders/%2E%2e/messages",
        "/admin/v1/rooms/%2e%2e",
        "/admin/v1/rooms/../stats",
        "/docs/%2e%2e",
    ] {
        assert_eq!(asked(&hub, "GET", path).await, 404, "{path}");
    }
    for (path, status) in [
        ("..", 404),
        (".", 404),
        ("%2e", 404),
        ("%2E%2e", 404),
        (".%2e", 404),
        ("...", 201),
        ("a..", 201),
    ] {
        let bearer = token("back-end", "service", &[]);
        let mut raw = RawConnection::connect(hub.addr).await;
        let head = format!(
            "PUT /api/v1/orders/{path} HTTP/1.1\r\nHost: hub.test\r\nAuthorization: Bearer {bearer}\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        );
        raw.send(head.as_bytes()).await;
        assert_eq!(raw.status().await, Some(status), "{path}");
    }
}

#[tokio::test]
async fn an_upgrade_by_an_escaped_path_is_refused_too() {
    let hub = Hub::start();
    for path in ["/%77s", "/%73ocket.io/?EIO=4&transport=websocket", "/ws%2f", "//ws"] {
        let mut raw = RawConnection::connect(hub.addr).await;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: hub.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        raw.send(head.as_bytes()).await;
        assert_eq!(raw.answer().await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn head_works_wherever_get_does() {
    let hub = Hub::start();
    let http = reqwest::Client::new();
    let back_end = token("back-end", "service", &[]);
    let order = http.put(hub.url("/api/v1/orders/o1")).bearer_auth(&back_end).json(&json!({}));
    assert!(order.send().await.expect("an answer").status().is_success());
    let admin = token("root", "admin", &[]);
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/docs",
        "/docs/index.css",
        "/openapi.json",
        "/asyncapi.json",
        "/admin/v1/stats",
        "/admin/v1/rooms",
        "/api/v1/orders",
        "/api/v1/orders/o1",
        "/api/v1/orders/o1/messages",
        "/api/v1/orders/o1/trail",
        "/api/v1/orders/o2",
        "/api/v1/nothing",
        "/ws",
    ] {
        let get = http.get(hub.url(path)).bearer_auth(&admin).send().await.expect("an answer");
        let head = http.head(hub.url(path)).bearer_auth(&admin).send().await.expect("an answer");
        assert_eq!(head.status(), get.status(), "{path}");
        let (one, two) = (head.headers(), get.headers());
        assert_eq!(one.get("content-type"), two.get("content-type"), "{path}");
        assert!(one.contains_key("content-length"), "{path}");
        assert_eq!(head.bytes().await.expect("a body").len(), 0, "{path}");
    }
    // A call that changes something is none of them.
    let head = http.head(hub.url("/api/v1/orders/o1/status")).bearer_auth(&admin).send().await;
    assert_eq!(head.expect("an answer").status(), 405);
    // Engine.IO knows GET and POST.
    let handshake = http.head(hub.url("/socket.io/?EIO=4&transport=polling")).send().await;
    assert_eq!(handshake.expect("an answer").status(), 400);
}

#[tokio::test]
async fn pages_and_socket_io_are_found_with_and_without_a_slash() {
    let hub = Hub::start();
    let page = async |path: &str| {
        let answer = reqwest::get(hub.url(path)).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.expect("text")
    };
    assert_eq!(page("/docs").await, page("/docs/").await);
    for path in ["/socket.io", "/socket.io/"] {
        assert!(page(&format!("{path}?EIO=4&transport=polling")).await.starts_with("0{"), "{path}");
    }
}
