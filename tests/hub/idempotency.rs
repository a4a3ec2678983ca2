//! `Idempotency-Key`: the same call has one effect and one answer, however often it comes.

use futures_util::future::join_all;
use orderhub::auth::{Scope, new_key};
use reqwest::Response;
use serde_json::{Value, json};

use super::support::back_end::{call, problem_or_status, put};
use super::support::orders_table::sql;
use super::support::{Database, Hub, each_database, token};

/// Posts with a key, as a back end.
async fn post(hub: &Hub, path: &str, key: &str, body: &Value) -> (u16, String) {
    let (status, text) = post_as(hub, &token("back-end", "service", &[]), path, key, body).await;
    (status, text)
}

async fn post_as(hub: &Hub, bearer: &str, path: &str, key: &str, body: &Value) -> (u16, String) {
    let answer = sent(hub, bearer, path, key, body).await;
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

async fn sent(hub: &Hub, bearer: &str, path: &str, key: &str, body: &Value) -> Response {
    let request = reqwest::Client::new().post(hub.url(&format!("/api/v1{path}")));
    let request = request.bearer_auth(bearer).header("Idempotency-Key", key).json(body);
    request.send().await.expect("an answer")
}

async fn get(hub: &Hub, order: &str) -> Value {
    call(hub, reqwest::Method::GET, &format!("/orders/{order}"), Value::Null).await.1
}

#[tokio::test]
async fn the_same_key_at_the_same_moment_has_one_effect_and_one_answer() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        put(&hub, "o1", json!({})).await;
        let mut bob = hub.connect("bob", "customer", &["o1"]).await;
        bob.join("o1").await;
        for (number, path, body) in [
            (0, "/orders/o1/status", json!({ "status": "NEW" })),
            (1, "/orders/o1/assign", json!({ "driverId": "dan" })),
            (2, "/users/eve/revoke", json!({})),
            (3, "/orders/o1/messages", json!({ "type": "SYSTEM", "content": "hello" })),
        ] {
            let key = format!("key-{number}");
            let answers = join_all((0..8).map(|_| post(&hub, path, &key, &body))).await;
            assert_eq!(answers[0].0, if number == 3 { 201 } else { 200 }, "{answers:?}");
            for answer in &answers {
                assert_eq!(answer, &answers[0], "{path}");
            }
        }
        assert_eq!(get(&hub, "o1").await["rev"], 3);
        assert_eq!(bob.drain("order:status").await.len(), 1);
        assert_eq!(bob.drain("order:assigned").await.len(), 1);
        assert_eq!(bob.drain("chat:message").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_repeated_call_gets_the_first_answer_also_after_a_kill() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        put(&hub, "o1", json!({})).await;
        let new = json!({ "status": "NEW" });
        let (status, first) = post(&hub, "/orders/o1/status", "k", &new).await;
        assert_eq!(status, 200);
        assert!(first.contains("\"changed\":true"), "{first}");
        let revoked = post(&hub, "/users/eve/revoke", "k", &json!({})).await;
        assert_eq!(revoked.0, 200);
        let hello = json!({ "type": "SYSTEM", "content": "hello" });
        let said = post(&hub, "/orders/o1/messages", "k", &hello).await;
        assert_eq!(said.0, 201);
        let ready = json!({ "status": "READY" });
        assert_eq!(post(&hub, "/orders/o1/status", "other", &ready).await.0, 200);
        let hub = hub.kill_and_restart();
        assert_eq!(post(&hub, "/orders/o1/status", "k", &new).await, (200, first));
        assert_eq!(post(&hub, "/users/eve/revoke", "k", &json!({})).await, revoked);
        assert_eq!(post(&hub, "/orders/o1/messages", "k", &hello).await, said);
        let order = get(&hub, "o1").await;
        assert_eq!((&order["status"], &order["lastSeq"]), (&json!("READY"), &json!(1)), "once");
    })
    .await;
}

#[tokio::test]
async fn another_body_under_the_same_key_is_422_and_does_nothing() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        put(&hub, "o1", json!({})).await;
        let service = token("back-end", "service", &[]);
        for (path, body, other) in [
            ("/orders/o1/status", json!({ "status": "NEW" }), json!({ "status": "READY" })),
            ("/orders/o1/assign", json!({ "driverId": "dan" }), json!({ "driverId": null })),
            (
                "/orders/o1/messages",
                json!({ "senderId": "eve", "content": "hello" }),
                json!({ "senderId": "bob", "content": "hello" }),
            ),
            ("/users/eve/revoke", json!({}), json!({ "issuedBefore": "2026-01-01T00:00:00Z" })),
        ] {
            let first = post(&hub, path, "k", &body).await;
            assert!(matches!(first.0, 200 | 201), "{path}: {first:?}");
            let refused = sent(&hub, &service, path, "k", &other).await;
            assert_eq!(problem_or_status(refused).await, "422 conflict Idempotency-Key", "{path}");
            assert_eq!(post(&hub, path, "k", &body).await, first, "{path}");
        }
        let order = get(&hub, "o1").await;
        assert_eq!((&order["status"], &order["driverId"]), (&json!("NEW"), &json!("dan")));
        assert_eq!(order["lastSeq"], 1);
    })
    .await;
}

#[tokio::test]
async fn a_key_belongs_to_its_caller_and_to_one_call() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("keys.toml");
    let api_key = new_key("back-end", &[Scope::OrdersWrite]).expect("random bytes");
    std::fs::write(&path, &api_key.entry).expect("writes");
    let hub = Hub::builder().env("API_KEYS_FILE", path.display()).start();
    put(&hub, "o1", json!({})).await;
    put(&hub, "o2", json!({})).await;
    let body = |number: usize| json!({ "status": format!("STEP_{number}") });
    let service = token("back-end", "service", &[]);
    let (another, status) = (token("another", "service", &[]), "/orders/o1/status");
    let mut changed = Vec::new();
    for (number, bearer, path) in [
        (0, &service, status),
        (1, &another, status),
        (2, &api_key.key, status),
        (3, &service, "/orders/o2/status"),
    ] {
        changed.push(post_as(&hub, bearer, path, "k", &body(number)).await.0);
    }
    assert_eq!(changed, [200; 4]);
    // The same user with another token is the same caller.
    let (_, again) = post_as(&hub, &token("back-end", "admin", &[]), status, "k", &body(0)).await;
    assert!(again.contains("STEP_0"), "{again}");
    let (_, again) = post(&hub, "/orders/%6f1/status", "k", &body(0)).await;
    assert!(again.contains("STEP_0"), "the same path, written in another way: {again}");
    assert_eq!(get(&hub, "o1").await["status"], "STEP_2");
}

#[tokio::test]
async fn a_refused_call_leaves_its_key_free() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        let body = json!({ "status": "NEW", "version": 5 });
        let path = "/orders/o1/status";
        assert_eq!(post(&hub, path, "k", &body).await.0, 404);
        put(&hub, "o1", json!({ "version": 6 })).await;
        assert_eq!(post(&hub, path, "k", &body).await.0, 409);
        assert_eq!(post(&hub, path, "k", &json!({ "status": "new" })).await.0, 400);
        let newer = json!({ "status": "NEW", "version": 7 });
        let (status, answer) = post(&hub, path, "k", &newer).await;
        assert_eq!(status, 200, "the key was still free: {answer}");
        assert!(answer.contains("\"changed\":true"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn each_line_of_a_batch_is_done_once() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        let lines = "{\"orderId\":\"o1\",\"status\":\"NEW\"}\n{\"orderId\":\"o2\",\"status\":\"bad\"}\n\
                     {\"orderId\":\"o3\",\"driverId\":\"dan\"}\n";
        let batch = async |key: &str, lines: &str| {
            let request = reqwest::Client::new().post(hub.url("/api/v1/orders:batch"));
            let request = request.bearer_auth(token("back-end", "service", &[]));
            let request = request.header("content-type", "application/x-ndjson");
            let request = request.header("Idempotency-Key", key).body(lines.to_owned());
            let answer = request.send().await.expect("an answer");
            (answer.status().as_u16(), answer.text().await.expect("text"))
        };
        let answers = join_all((0..4).map(|_| batch("k", lines))).await;
        assert_eq!(answers[0].1.matches("\"created\":true").count(), 2, "{answers:?}");
        for answer in &answers {
            assert_eq!(answer, &answers[0]);
        }
        put(&hub, "o1", json!({ "status": "READY" })).await;
        assert_eq!(batch("k", lines).await, answers[0], "also later");
        assert_eq!(get(&hub, "o1").await["status"], "READY", "it is not done again");
        let (status, refused) = batch("k", &lines.replace("NEW", "OLD")).await;
        assert_eq!(status, 422, "{refused}");
        assert!(refused.contains("Idempotency-Key"), "{refused}");
        assert_eq!(batch("other", lines).await.1.matches("\"created\":false").count(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_invalid_key_is_refused() {
    let hub = Hub::start();
    put(&hub, "o1", json!({})).await;
    let service = token("back-end", "service", &[]);
    let body = json!({ "status": "NEW" });
    for key in ["", "two words", &"x".repeat(256)] {
        let answer = sent(&hub, &service, "/orders/o1/status", key, &body).await;
        let answer = problem_or_status(answer).await;
        assert_eq!(answer, "400 invalid_payload Idempotency-Key", "{key}");
    }
    let customer = token("bob", "customer", &[]);
    let answer = sent(&hub, &customer, "/orders/o1/status", "k", &body).await;
    assert_eq!(problem_or_status(answer).await, "403 forbidden ");
}

#[tokio::test]
async fn a_repeated_idempotent_call_updates_a_room_that_missed_the_change() {
    let hub = Hub::start();
    put(&hub, "o1", json!({})).await;
    let mut bob = hub.connect("bob", "customer", &["o1"]).await;
    bob.join("o1").await;
    let body = json!({ "status": "NEW" });
    let first = post(&hub, "/orders/o1/status", "k", &body).await;
    bob.expect("order:status").await;
    // As if the connection had been lost during a commit that nobody was told of.
    sql(&hub, "UPDATE orders SET rev = rev + 1, status = 'READY' WHERE id = 'o1'");
    assert_eq!(post(&hub, "/orders/o1/status", "k", &body).await, first);
    assert_eq!(bob.expect("order:status").await["status"], "READY");
}
