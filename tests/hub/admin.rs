//! What operation sees and does: the node, its rooms, removing users, health and metrics.

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::support::orders_table::sql;
use super::support::rooms::{code, fix, say};
use super::support::{Client, Closed, Hub, SECRET, token, until};

/// Asks as a user with this role.
async fn ask(hub: &Hub, role: &str, method: Method, path: &str) -> Response {
    let request = reqwest::Client::new().request(method, hub.url(path));
    request.bearer_auth(token("someone", role, &[])).send().await.expect("an answer")
}

/// The status and code of an answer that must be a problem.
async fn problem(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].to_str().expect("text").to_owned();
    assert_eq!(kind, "application/problem+json");
    let body: Value = response.json().await.expect("JSON");
    assert_eq!((&body["status"], &body["type"]), (&json!(status), &json!("about:blank")));
    assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
    (status, body["code"].as_str().expect("a code").to_owned())
}

/// Rooms with one member each.
async fn rooms(hub: &Hub, orders: &[&str]) -> Client {
    let mut client = hub.connect("bob", "customer", orders).await;
    for order in orders {
        client.join(order).await;
    }
    client
}

fn ids(list: &Value) -> Vec<&str> {
    let rooms = list["rooms"].as_array().expect("rooms");
    rooms.iter().map(|room| room["orderId"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn the_stats_show_what_the_hub_does() {
    let hub = Hub::start();
    let mut client = rooms(&hub, &["o1"]).await;
    client.request("order:join", json!({ "orderId": "foreign" })).await;
    hub.connect("ann", "driver", &[]).await.close().await;
    hub.until_admin("/admin/v1/stats", |_, stats| {
        stats["closes"]["peer_closed"] == 1 && stats["connections"]["open"] == 1
    })
    .await;
    let (answered, stats) = hub.admin(Method::GET, "/admin/v1/stats").await;
    assert_eq!((answered, &stats["rooms"]), (200, &json!(1)));
    assert_eq!(stats["connections"]["by"]["plain"]["customer"], 1);
    assert_eq!(stats["rejected"]["forbidden"], 1);
    assert_eq!((&stats["draining"], &stats["storeQueue"]), (&json!(false), &json!(0)));
    assert!(stats["memoryBytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{stats}");
    assert!(stats["perSecond"]["deliveries"].is_number(), "{stats}");
}

#[tokio::test]
async fn pages_of_rooms_show_each_room_once() {
    let hub = Hub::start();
    let orders = ["o1", "o2", "o3", "o4", "o5"];
    let _client = rooms(&hub, &orders).await;
    let (mut seen, mut path) = (Vec::new(), "/admin/v1/rooms?limit=2".to_owned());
    loop {
        let (status, list) = hub.admin(Method::GET, &path).await;
        assert_eq!(status, 200, "{list}");
        assert!(ids(&list).len() <= 2);
        seen.extend(ids(&list).into_iter().map(ToOwned::to_owned));
        let Some(cursor) = list["nextCursor"].as_str() else { break };
        path = format!("/admin/v1/rooms?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, orders);
    let (_, whole) = hub.admin(Method::GET, "/admin/v1/rooms?limit=5").await;
    assert_eq!((ids(&whole).len(), &whole["nextCursor"]), (5, &Value::Null), "a full last page");
}

#[tokio::test]
async fn rooms_are_sorted_by_what_is_asked_for() {
    let hub = Hub::start();
    let _bob = rooms(&hub, &["o1", "o2", "o3"]).await;
    let mut ann = hub.connect("ann", "driver", &["o2", "o3"]).await;
    ann.join("o2").await;
    let mut twice = hub.connect("bob", "customer", &["o3"]).await;
    twice.join("o3").await;
    let mut thrice = hub.connect("bob", "customer", &["o3"]).await;
    thrice.join("o3").await;
    let (_, by_users) = hub.admin(Method::GET, "/admin/v1/rooms?sort=users&limit=1").await;
    assert_eq!(ids(&by_users), ["o2"]);
    assert_eq!(by_users["rooms"][0]["users"], 2);
    let (_, by_sessions) = hub.admin(Method::GET, "/admin/v1/rooms?sort=sessions").await;
    assert_eq!(ids(&by_sessions), ["o3", "o2", "o1"]);
    assert_eq!(by_sessions["rooms"][0]["sessions"], 3);
    say(&mut ann, "o2", "the latest").await;
    let (_, by_activity) = hub.admin(Method::GET, "/admin/v1/rooms?sort=activity&limit=1").await;
    assert_eq!(ids(&by_activity), ["o2"]);
}

#[tokio::test]
async fn one_room_is_shown_with_its_sessions() {
    let hub = Hub::start();
    let mut bob = rooms(&hub, &["o1"]).await;
    let mut ann = hub.connect("ann", "driver", &["o1"]).await;
    ann.request("driver:location", fix("o1", 13.7)).await;
    say(&mut bob, "o1", "hello").await;
    let (status, room) = hub.admin(Method::GET, "/admin/v1/rooms/o1").await;
    assert_eq!(status, 200);
    assert_eq!((&room["orderId"], &room["lastSeq"]), (&json!("o1"), &json!(1)));
    assert_eq!((&room["users"], &room["sessions"]), (&json!(1), &json!(1)));
    assert_eq!(room["lastLocation"]["lng"], 13.7);
    let sessions = room["sessionsDetail"].as_array().expect("a list");
    let of = |user: &str| sessions.iter().find(|session| session["userId"] == user);
    let (bob, ann) = (of("bob").expect("bob"), of("ann").expect("ann"));
    assert_eq!((&bob["member"], &bob["role"]), (&json!(true), &json!("customer")));
    assert_eq!((&ann["member"], &ann["role"]), (&json!(false), &json!("driver")));
    assert!(
        bob["backlogFrames"].is_u64()
            && bob["backlogBytes"].is_u64()
            && bob["sessionId"].is_string()
    );
    let (status, _) = hub.admin(Method::GET, "/admin/v1/rooms/nobody").await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_removed_member_gets_order_left_and_cannot_return() {
    let hub = Hub::start();
    let mut bob = rooms(&hub, &["o1", "o2"]).await;
    let mut second = hub.connect("bob", "customer", &["o1"]).await;
    say(&mut second, "o1", "only a sender").await;
    let mut ann = hub.connect("ann", "driver", &["o1"]).await;
    ann.join("o1").await;
    let (status, _) = hub.admin(Method::DELETE, "/admin/v1/rooms/o1/members/bob").await;
    assert_eq!(status, 200);
    let left = bob.expect("order:left").await;
    assert_eq!(left, json!({ "orderId": "o1", "reason": "removed" }));
    assert_eq!(ann.expect("presence:left").await["userId"], "bob");
    let join = json!({ "orderId": "o1" });
    let chat = json!({ "orderId": "o1", "content": "let me in" });
    for client in [&mut bob, &mut second] {
        assert_eq!(code(&client.request("order:join", join.clone()).await), "forbidden");
        assert_eq!(code(&client.request("chat:message", chat.clone()).await), "forbidden");
    }
    let mut fresh = hub.connect("bob", "customer", &["o1"]).await;
    assert_eq!(code(&fresh.request("order:join", join).await), "forbidden");
    say(&mut bob, "o2", "the other room is open").await;
    say(&mut ann, "o1", "others stay").await;
}

#[tokio::test]
async fn a_member_removed_for_no_time_may_come_back_at_once() {
    let hub = Hub::start();
    let mut bob = rooms(&hub, &["o1"]).await;
    let path = "/admin/v1/rooms/o1/members/bob?banSecs=0&reason=too%20loud";
    assert_eq!(hub.admin(Method::DELETE, path).await.0, 200);
    assert_eq!(bob.expect("order:left").await["reason"], "removed");
    bob.join("o1").await;
}

#[tokio::test]
async fn a_removed_user_is_closed_and_kept_out_even_by_the_next_process() {
    let hub = Hub::start();
    let mut bob = rooms(&hub, &["o1"]).await;
    let mut second = hub.connect("bob", "customer", &[]).await;
    let mut ann = hub.connect("ann", "driver", &["o1"]).await;
    ann.join("o1").await;
    let path = "/admin/v1/users/bob/sessions?reason=fraud";
    assert_eq!(hub.admin(Method::DELETE, path).await, (200, json!({ "closed": 2 })));
    for client in [&mut bob, &mut second] {
        let end = client.expect("session:end").await;
        assert_eq!(end, json!({ "code": 4403, "reason": "fraud", "retry": false }));
        assert_eq!(client.closed().await, Closed { code: 4403, reason: "removed".to_owned() });
    }
    assert_eq!(ann.expect("presence:left").await["userId"], "bob");
    assert_eq!(login(&hub, "bob").await, 403);
    let hub = hub.kill_and_restart();
    assert_eq!(login(&hub, "bob").await, 403);
    let path = "/admin/v1/users/bob/sessions?banSecs=0";
    assert_eq!(hub.admin(Method::DELETE, path).await, (200, json!({ "closed": 0 })));
    hub.connect("bob", "customer", &[]).await;
}

/// The status that a login is answered with.
async fn login(hub: &Hub, user: &str) -> u16 {
    let request =
        reqwest::Client::new().get(hub.url("/ws")).bearer_auth(token(user, "customer", &[]));
    let request = request
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    request.send().await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn the_body_of_a_removal_wins_over_its_query() {
    let hub = Hub::start();
    let mut bob = rooms(&hub, &["o1"]).await;
    let url = hub.url("/admin/v1/users/bob/sessions?reason=query");
    let request = reqwest::Client::new().delete(url).bearer_auth(token("root", "admin", &[]));
    let response = request.json(&json!({ "reason": "body", "banSecs": 0 })).send().await;
    assert_eq!(response.expect("an answer").status(), StatusCode::OK);
    assert_eq!(bob.expect("session:end").await["reason"], "body");
    rooms(&hub, &["o1"]).await;
}

#[tokio::test]
async fn support_reads_admins_change_and_others_see_nothing() {
    let hub = Hub::start();
    let _bob = rooms(&hub, &["o1"]).await;
    for path in ["/admin/v1/stats", "/admin/v1/rooms", "/admin/v1/rooms/o1"] {
        assert_eq!(ask(&hub, "support", Method::GET, path).await.status(), StatusCode::OK);
        assert_eq!(ask(&hub, "admin", Method::GET, path).await.status(), StatusCode::OK);
        for role in ["customer", "driver", "service"] {
            let refused = problem(ask(&hub, role, Method::GET, path).await).await;
            assert_eq!(refused, (403, "forbidden".to_owned()), "{role} {path}");
        }
        let nobody = reqwest::get(hub.url(path)).await.expect("an answer");
        assert_eq!(nobody.headers()["www-authenticate"], "Bearer");
        assert_eq!(problem(nobody).await, (401, "unauthenticated".to_owned()));
    }
    for path in ["/admin/v1/rooms/o1/members/bob", "/admin/v1/users/bob/sessions"] {
        for role in ["support", "customer"] {
            let refused = problem(ask(&hub, role, Method::DELETE, path).await).await;
            assert_eq!(refused, (403, "forbidden".to_owned()), "{role} {path}");
        }
        let nobody = reqwest::Client::new().delete(hub.url(path)).send().await;
        assert_eq!(problem(nobody.expect("an answer")).await.0, 401);
    }
}

#[tokio::test]
async fn requests_that_cannot_be_answered_are_problems() {
    let hub = Hub::start();
    let reads = |path: &'static str| (Method::GET, path);
    for ((method, path), expected) in [
        (reads("/admin/v1/nothing"), (404, "not_found")),
        (reads("/"), (404, "not_found")),
        (reads("/admin/v1/rooms/nobody"), (404, "not_found")),
        ((Method::POST, "/admin/v1/stats"), (405, "method_not_allowed")),
        ((Method::DELETE, "/admin/v1/rooms/o1"), (405, "method_not_allowed")),
        (reads("/admin/v1/rooms/o1/members/bob"), (405, "method_not_allowed")),
        ((Method::PUT, "/healthz"), (405, "method_not_allowed")),
        (reads("/admin/v1/rooms?limit=many"), (400, "invalid_payload")),
        (reads("/admin/v1/rooms?limit=0"), (400, "invalid_payload")),
        (reads("/admin/v1/rooms?limit=501"), (400, "invalid_payload")),
        (reads("/admin/v1/rooms?sort=beauty"), (400, "invalid_payload")),
        (reads("/admin/v1/rooms?colour=red"), (400, "invalid_payload")),
        (reads("/admin/v1/rooms?sort=users&cursor=o1"), (400, "invalid_payload")),
        (reads("/admin/v1/rooms/no%20id"), (400, "invalid_payload")),
        ((Method::DELETE, "/admin/v1/users/bob/sessions?banSecs=-1"), (400, "invalid_payload")),
        ((Method::DELETE, "/admin/v1/users/bob/sessions?ban=1"), (400, "invalid_payload")),
    ] {
        let answer = problem(ask(&hub, "admin", method.clone(), path).await).await;
        assert_eq!(answer, (expected.0, expected.1.to_owned()), "{method} {path}");
    }
    let allowed = ask(&hub, "admin", Method::POST, "/admin/v1/stats").await;
    assert_eq!(allowed.headers()["allow"], "GET");
}

#[tokio::test]
async fn the_metrics_have_their_names_and_count() {
    let hub = Hub::start();
    let mut bob = rooms(&hub, &["o1"]).await;
    say(&mut bob, "o1", "hello").await;
    let answer = reqwest::get(hub.url("/metrics")).await.expect("an answer");
    let kind = answer.headers()["content-type"].to_str().expect("text").to_owned();
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = answer.text().await.expect("text");
    assert!(text.ends_with("# EOF\n"));
    for line in [
        "orderhub_connections{framing=\"plain\",role=\"customer\"} 1",
        "orderhub_rooms 1",
        "orderhub_events_in_total{event=\"chat:message\"} 1",
        "orderhub_events_out_total{event=\"chat:message\"} 1",
        "orderhub_deliveries_total 1",
        "orderhub_rejected_total{code=\"forbidden\"} 0",
        "orderhub_chat_commit_seconds_count 1",
        "orderhub_chat_batch_messages_count 1",
        "orderhub_store_errors_total 0",
        "orderhub_room_panics_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn old_scrapers_get_the_metrics_in_the_classic_format() {
    let hub = Hub::builder().env("MAX_CONNECTIONS", 77).start();
    let mut bob = rooms(&hub, &["o1"]).await;
    say(&mut bob, "o1", "hello").await;
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let classic = "text/plain; version=0.0.4; charset=utf-8";
    for (accept, expected) in [
        ("*/*", open),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            open,
        ),
        ("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.6", open),
        ("image/png", open),
        ("text/plain", classic),
        ("text/plain;version=0.0.4;q=1,*/*;q=0.1", classic),
        ("text/*", classic),
    ] {
        let request = reqwest::Client::new().get(hub.url("/metrics")).header("accept", accept);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.headers()["content-type"], expected, "{accept}");
        let text = answer.text().await.expect("text");
        let is_open = expected == open;
        assert_eq!(text.ends_with("# EOF\n"), is_open, "{accept}");
        assert_eq!(text.contains("# UNIT "), is_open, "{accept}");
        let version = env!("CARGO_PKG_VERSION");
        let build = if is_open { "orderhub_build info" } else { "orderhub_build_info gauge" };
        let counter = if is_open { "" } else { "_total" };
        for line in [
            format!("# TYPE orderhub_deliveries{counter} counter"),
            format!("# HELP orderhub_deliveries{counter} Frames handed to outboxes."),
            format!("# TYPE {build}"),
            "orderhub_deliveries_total 1".to_owned(),
            "# TYPE orderhub_chat_commit_seconds histogram".to_owned(),
            "orderhub_chat_commit_seconds_bucket{le=\"+Inf\"} 1".to_owned(),
            "orderhub_limit{limit=\"connections\"} 77".to_owned(),
            "orderhub_limit{limit=\"store_queue_messages\"} 4096".to_owned(),
            format!("orderhub_build_info{{version=\"{version}\"}} 1"),
        ] {
            assert!(text.lines().any(|found| found == line), "{accept}: {line} is not in\n{text}");
        }
        assert!(text.contains("\nprocess_max_fds "), "{text}");
    }
    assert!(hub.log().contains(&format!("version={}", env!("CARGO_PKG_VERSION"))), "{}", hub.log());
}

#[tokio::test]
async fn operation_moves_to_an_address_of_its_own() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let admin = free.local_addr().expect("an address");
    drop(free);
    let hub = Hub::builder().env("ADMIN_BIND", admin).start();
    for path in ["/metrics", "/openapi.json", "/docs", "/admin/v1/stats", "/admin/v1/rooms"] {
        let refused = problem(ask(&hub, "admin", Method::GET, path).await).await;
        assert_eq!(refused.0, 404, "{path}");
    }
    let at = |path: &str| format!("http://{admin}{path}");
    let status = async |path: &str| reqwest::get(at(path)).await.expect("an answer").status();
    for path in ["/metrics", "/openapi.json", "/docs"] {
        assert_eq!(status(path).await, 200, "whoever reaches it may see {path}");
    }
    assert_eq!(status("/admin/v1/stats").await, 401);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(status(path).await, 200);
        let first = reqwest::get(hub.url(path)).await.expect("an answer");
        assert_eq!(first.status(), 200, "{path}");
    }
    hub.connect("bob", "customer", &[]).await;
}

#[tokio::test]
async fn health_is_public_and_readiness_asks_the_database() {
    let hub = Hub::start();
    let status = async |path: &str| reqwest::get(hub.url(path)).await.expect("an answer");
    assert_eq!(status("/healthz").await.json::<Value>().await.expect("JSON")["status"], "ok");
    assert_eq!(status("/readyz").await.json::<Value>().await.expect("JSON")["status"], "ready");
    sql(&hub, "ALTER TABLE orders RENAME TO away");
    assert_eq!(status("/healthz").await.status(), 200);
    // A good answer counts for a second.
    until("503", async || status("/readyz").await.status() == 503).await;
    assert_eq!(problem(status("/readyz").await).await, (503, "unavailable".to_owned()));
    sql(&hub, "ALTER TABLE away RENAME TO orders");
    assert_eq!(status("/readyz").await.status(), 200);
}

#[tokio::test]
async fn the_log_names_users_and_no_secrets() {
    let mut hub = Hub::start();
    let pass = token("bob", "customer", &["o1"]);
    let mut bob = hub.connect_with(&pass).await;
    say(&mut bob, "o1", "the code of the door is 1234").await;
    bob.close().await;
    hub.until_admin("/admin/v1/stats", |_, stats| stats["connections"]["open"] == 0).await;
    let log = hub.whole_log().await;
    assert!(log.contains("session started") && log.contains("user=bob"), "{log}");
    for secret in [pass.as_str(), SECRET, "1234"] {
        assert!(!log.contains(secret), "{log}");
    }
}
