//! Revoked tokens: refused wherever a token is shown, and whoever came in with one is closed.

use std::collections::HashMap;

use diesel::RunQueryDsl;
use diesel::connection::SimpleConnection;
use futures_util::future::join_all;
use protocol::time::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::support::back_end::{call, call_as, problem_or_status};
use super::support::raw::UpgradeRequest;
use super::support::socketio::{EVENTS, SocketIoClient};
use super::support::{Client, Database, Hub, claims, each_database, token};

fn now_secs() -> i64 {
    Timestamp::now().as_millis() / 1000
}

/// A token that was issued so many seconds from now.
fn issued(user: &str, from_now: i64) -> String {
    let issued_at = now_secs() + from_now;
    claims(json!({ "sub": user, "orders": ["o1"], "iat": issued_at, "exp": now_secs() + 3600 }))
}

/// A token that does not say when it was issued.
fn undated(user: &str) -> String {
    claims(json!({ "sub": user, "orders": ["o1"], "exp": now_secs() + 3600 }))
}

async fn revoke(hub: &Hub, user: &str, body: Value) -> (u16, Value) {
    call(hub, Method::POST, &format!("/users/{user}/revoke"), body).await
}

/// Time as the API writes it.
fn at(from_now: i64) -> Value {
    json!(Timestamp::from_secs(now_secs() + from_now))
}

async fn over_http(hub: &Hub, token: &str) -> StatusCode {
    let request = reqwest::Client::new().get(hub.url("/api/v1/orders/o1")).bearer_auth(token);
    request.send().await.expect("an answer").status()
}

#[tokio::test]
async fn an_older_token_is_refused_everywhere_and_a_newer_one_nowhere() {
    let hub = Hub::start();
    call(&hub, Method::PUT, "/orders/o1", json!({})).await;
    let (old, new, undated) = (issued("bob", -100), issued("bob", -10), undated("bob"));
    let mut newer = hub.connect_with(&new).await;
    let (status, answer) = revoke(&hub, "bob", json!({ "issuedBefore": at(-50) })).await;
    assert_eq!((status, &answer["userId"]), (200, &json!("bob")), "{answer}");
    for token in [&old, &undated] {
        assert_eq!(
            UpgradeRequest::bearer(token).ask(&hub).await.problem(),
            (401, "unauthenticated")
        );
        let (mut raw, _) = UpgradeRequest::browser(token).open(&hub).await;
        assert_eq!(raw.ending().await.announced(), 4401);
        let refused = SocketIoClient::open(&hub).await.connect(json!({ "token": token })).await;
        assert_eq!(refused.expect_err("refused")["data"]["code"], "unauthenticated");
        assert_eq!(over_http(&hub, token).await, 401);
        let refresh = newer.request("auth:refresh", json!({ "token": token })).await;
        assert_eq!(refresh["error"]["code"], "unauthenticated", "{refresh}");
    }
    hub.connect_with(&new).await.join("o1").await;
    SocketIoClient::open(&hub).await.connect(json!({ "token": new })).await.expect("let in");
    assert_eq!(over_http(&hub, &new).await, 200);
    assert_eq!(newer.request("auth:refresh", json!({ "token": new })).await["ok"], true);
    hub.connect_with(&issued("eve", -100)).await.join("o1").await;
}

#[tokio::test]
async fn every_connection_with_an_older_token_is_closed_with_4401() {
    let hub = Hub::start();
    let mut desk = hub.connect_with(&issued("bob", -100)).await;
    let mut phone = SocketIoClient::open(&hub).await;
    phone.connect(json!({ "token": issued("bob", -100) })).await.expect("let in");
    let mut dateless = hub.connect_with(&undated("bob")).await;
    let mut newer = hub.connect_with(&issued("bob", -10)).await;
    let mut refreshed = hub.connect_with(&issued("bob", -100)).await;
    let token = issued("bob", -10);
    assert_eq!(refreshed.request("auth:refresh", json!({ "token": token })).await["ok"], true);
    let mut other = hub.connect_with(&issued("eve", -100)).await;
    assert_eq!(revoke(&hub, "bob", json!({ "issuedBefore": at(-50) })).await.0, 200);
    for client in [&mut desk, &mut dateless] {
        let closed = client.closed().await;
        assert_eq!((closed.code, closed.reason.as_str()), (4401, "token_revoked"));
        let end = client.expect_seen("session:end");
        assert_eq!((&end["code"], &end["retry"]), (&json!(4401), &json!(true)), "{end}");
        assert!(end["reconnectAfterMs"].as_u64().is_some_and(|ms| ms >= 1000), "{end}");
    }
    assert_eq!(phone.ending().await.announced(EVENTS), (4401, false));
    for client in [&mut newer, &mut refreshed, &mut other] {
        assert_eq!(client.drain("session:end").await.len(), 0);
    }
    hub.logged("closed 3 connections").await;
}

#[tokio::test]
async fn a_session_resumes_with_a_newer_token_only() {
    let hub = Hub::start();
    let mut io = SocketIoClient::open(&hub).await;
    io.connect(json!({ "token": issued("bob", -100) })).await.expect("let in");
    io.join("o1").await;
    let memory = io.cut();
    assert_eq!(revoke(&hub, "bob", json!({ "issuedBefore": at(-50) })).await.0, 200);
    let pid = json!(memory.pid.clone().expect("a pid"));
    let mut again = SocketIoClient::open(&hub).await;
    let old = again.connect(json!({ "token": issued("bob", -100), "pid": pid })).await;
    assert_eq!(old.expect_err("refused")["data"]["code"], "unauthenticated");
    let new = again.connect(json!({ "token": issued("bob", -10), "pid": pid })).await;
    assert_eq!(new.expect("let in")["pid"], pid);
}

#[tokio::test]
async fn a_client_of_a_back_end_with_a_slow_clock_can_log_in_again() {
    let hub = Hub::start();
    let mut io = SocketIoClient::open(&hub).await;
    io.connect(json!({ "token": issued("bob", -100) })).await.expect("let in");
    io.join("o1").await;
    assert_eq!(revoke(&hub, "bob", json!({})).await.0, 200);
    assert_eq!(io.ending().await.announced(EVENTS), (4401, false));
    let pid = json!(io.memory().pid.clone().expect("a pid"));
    // To a stock client a refusal is final. It comes back from an end of its connection, and asks
    // its app for the next token.
    let behind = json!({ "token": issued("bob", -3), "pid": pid });
    for polls in [false, true] {
        let client = if polls {
            SocketIoClient::open_polling(&hub).await
        } else {
            SocketIoClient::open(&hub).await
        };
        let mut client = client;
        client.send_connect(behind.clone()).await;
        let ending = client.ending().await;
        assert_eq!((ending.code, ending.said.len()), (None, 0), "{ending:?}");
    }
    let ahead = json!({ "token": issued("bob", 1), "pid": pid });
    let mut back = SocketIoClient::open(&hub).await;
    assert_eq!(back.connect(ahead).await.expect("let in")["pid"], pid);
    // Others are told what counts.
    let plain = UpgradeRequest::bearer(&issued("bob", -3)).ask(&hub).await;
    assert_eq!(plain.problem(), (401, "unauthenticated"));
    assert!(plain.body["detail"].as_str().is_some_and(|text| text.contains("later second")));
    let (mut browser, _) = UpgradeRequest::browser(&issued("bob", -3)).open(&hub).await;
    let ending = browser.ending().await;
    assert_eq!(
        (ending.announced(), &ending.session_end()["reconnectAfterMs"]),
        (4401, &json!(1000))
    );
    let refresh = json!({ "token": issued("bob", -3) });
    let refused = &back.request("auth:refresh", refresh).await["error"];
    assert_eq!(
        (&refused["code"], &refused["retryAfterMs"]),
        (&json!("unauthenticated"), &json!(1000))
    );
    // What is older than any clock is behind is refused for good.
    for old in [issued("bob", -100), undated("bob")] {
        let refused = SocketIoClient::open(&hub).await.connect(json!({ "token": old })).await;
        assert_eq!(refused.expect_err("refused")["data"], json!({ "code": "unauthenticated" }));
    }
}

#[tokio::test]
async fn a_revocation_without_a_time_or_body_revokes_all_tokens_until_now() {
    let hub = Hub::start();
    let mut bob = hub.connect("bob", "customer", &[]).await;
    let request = reqwest::Client::new().post(hub.url("/api/v1/users/bob/revoke"));
    let request = request.bearer_auth(token("back-end", "service", &[]));
    let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    let before: Timestamp = serde_json::from_value(answer["issuedBefore"].clone()).expect("a time");
    assert!(Timestamp::now().millis_since(before) < 60_000, "{answer}");
    assert_eq!(bob.closed().await.code, 4401);
    hub.connect_with(&issued("bob", 1)).await.join("o1").await;
}

#[tokio::test]
async fn a_revocation_only_moves_forward_and_survives_a_restart() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        let first = at(-50);
        assert_eq!(
            revoke(&hub, "bob", json!({ "issuedBefore": first })).await.1["issuedBefore"],
            first
        );
        let (status, answer) = revoke(&hub, "bob", json!({ "issuedBefore": at(-500) })).await;
        assert_eq!(
            (status, &answer["issuedBefore"]),
            (200, &first),
            "an older one changes nothing"
        );
        let later = at(-20);
        revoke(&hub, "eve", json!({ "issuedBefore": first })).await;
        revoke(&hub, "eve", json!({ "issuedBefore": later })).await;
        let hub = hub.kill_and_restart();
        for (token, expected) in [
            (issued("bob", -100), 401),
            (issued("bob", -30), 404),
            (issued("eve", -30), 401),
            (issued("eve", -10), 404),
        ] {
            let staff = claims_of_staff(&token);
            assert_eq!(over_http(&hub, &staff).await, expected, "{token}");
        }
    })
    .await;
}

/// The same token for somebody who is told that an order is not there.
fn claims_of_staff(token: &str) -> String {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).expect("a payload");
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).expect("base64");
    let mut said: HashMap<String, Value> = serde_json::from_slice(&payload).expect("claims");
    said.insert("role".to_owned(), json!("support"));
    claims(json!(said))
}

#[tokio::test]
async fn a_revocation_that_meets_a_login_wins() {
    let hub = Hub::start();
    for number in 0..20 {
        let user = format!("u{number}");
        let old = issued(&user, -100);
        let body = json!({ "issuedBefore": at(-50) });
        let logins = join_all((0..4).map(|_| try_login(&hub, &old)));
        let (clients, revoked) = tokio::join!(logins, revoke(&hub, &user, body));
        assert_eq!(revoked.0, 200);
        for mut client in clients.into_iter().flatten() {
            assert_eq!(client.closed().await.code, 4401, "slipped in between");
        }
    }
}

async fn try_login(hub: &Hub, token: &str) -> Option<Client> {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let mut request = format!("ws://{}/ws", hub.addr).into_client_request().expect("a request");
    let bearer = format!("Bearer {token}").parse().expect("a header");
    request.headers_mut().insert("authorization", bearer);
    let (socket, _) = tokio_tungstenite::connect_async(request).await.ok()?;
    Some(Client::over(socket))
}

#[tokio::test]
async fn back_ends_revoke_and_mistakes_are_problems() {
    let hub = Hub::start();
    for (role, expected) in [
        ("customer", "403 forbidden "),
        ("driver", "403 forbidden "),
        ("support", "403 forbidden "),
        ("service", "200"),
        ("admin", "200"),
    ] {
        let answer = call_as(&hub, role, Method::POST, "/users/bob/revoke", json!({})).await;
        assert_eq!(problem_or_status(answer).await, expected, "{role}");
    }
    for (method, path, body, expected) in [
        (
            Method::POST,
            "/users/bob/revoke",
            json!({ "issuedBefore": at(3600) }),
            "400 invalid_payload issuedBefore",
        ),
        (
            Method::POST,
            "/users/bob/revoke",
            json!({ "issuedBefore": 7 }),
            "400 invalid_payload issuedBefore",
        ),
        (
            Method::POST,
            "/users/bob/revoke",
            json!({ "issuedBefore": "2026-01-01T00:00:00" }),
            "400 invalid_payload issuedBefore",
        ),
        (
            Method::POST,
            "/users/bob/revoke",
            json!({ "before": at(0) }),
            "400 invalid_payload before",
        ),
        (Method::POST, "/users/bob/revoke", json!([]), "400 invalid_payload body"),
        (Method::POST, "/users/b%20b/revoke", json!({}), "400 invalid_payload "),
        (Method::GET, "/users/bob/revoke", Value::Null, "405 method_not_allowed "),
    ] {
        let answer = call_as(&hub, "service", method, path, body.clone()).await;
        assert_eq!(problem_or_status(answer).await, expected, "{path} {body}");
    }
    let text = reqwest::Client::new().post(hub.url("/api/v1/users/bob/revoke")).body("{}");
    let text =
        text.bearer_auth(token("back-end", "service", &[])).header("content-type", "text/plain");
    let answer = problem_or_status(text.send().await.expect("an answer")).await;
    assert_eq!(answer, "415 unsupported_media_type ");
}

#[tokio::test]
async fn a_locked_database_revokes_nothing() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        let mut bob = hub.connect_with(&issued("bob", -100)).await;
        let lock = database.lock(&hub);
        let body = json!({ "issuedBefore": at(-50) });
        // PostgreSQL's lock is on chat and orders.
        let (status, _) = revoke(&hub, "bob", body.clone()).await;
        if database.postgres.is_none() {
            assert_eq!(status, 503);
            assert_eq!(bob.drain("session:end").await.len(), 0);
        }
        drop(lock);
        super::support::until("the database to serve again", async || {
            revoke(&hub, "bob", body.clone()).await.0 == 200
        })
        .await;
        assert_eq!(bob.closed().await.code, 4401);
    })
    .await;
}

#[derive(diesel::QueryableByName)]
struct Waiters {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    waiters: i64,
}

#[tokio::test]
async fn a_session_that_is_on_its_way_in_does_not_slip_through() {
    // SQLite has one writer, which would do one after the other.
    let Some(database) = Database::postgres() else { return };
    let hub = database.hub().start();
    let eve = SocketIoClient::login(&hub, "eve", "customer", &[]).await;
    let unknown_to_bob = json!(eve.memory().pid.clone().expect("a pid"));
    let mut lock = database.connection(&hub);
    lock.batch_execute("BEGIN; LOCK TABLE resumes IN ACCESS EXCLUSIVE MODE").expect("locked");
    let mut bob = SocketIoClient::open(&hub).await;
    bob.send_connect(json!({ "token": issued("bob", -100), "pid": unknown_to_bob })).await;
    super::support::until("its look for what it had", async || {
        let waiting = "SELECT count(*) AS waiters FROM pg_locks JOIN pg_database d ON d.oid = database \
             WHERE NOT granted AND datname = current_database()";
        let found: Waiters = diesel::sql_query(waiting).get_result(&mut lock).expect("a count");
        found.waiters > 0
    })
    .await;
    assert_eq!(revoke(&hub, "bob", json!({ "issuedBefore": at(-50) })).await.0, 200);
    lock.batch_execute("ROLLBACK").expect("unlocked");
    assert_eq!(bob.ending().await.announced(EVENTS), (4401, false));
}
