//! Who comes in: where the token may stand, what it must say, and how a refusal looks to a client
//! that sees HTTP and to one that sees only close codes.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::support::raw::{RawConnection, TEXT, UpgradeRequest, frame};
use super::support::{Hub, claims, now, token};

/// A token of Ann's, for an hour and the order o1.
fn ann() -> String {
    token("ann", "customer", &["o1"])
}

/// A token of Ann's that ends in so many seconds.
fn ending_in(secs: i64) -> String {
    claims(json!({ "sub": "ann", "orders": ["o1"], "exp": now() + secs }))
}

/// Asks as a client that sees HTTP, and expects a refusal.
async fn refused(hub: &Hub, upgrade: &UpgradeRequest) -> (u16, String) {
    let answer = upgrade.ask(hub).await;
    let (status, code) = answer.problem();
    (status, code.to_owned())
}

/// Asks as a browser, and gives the code and the reason of the close that must follow at once.
async fn closed(hub: &Hub, upgrade: &UpgradeRequest) -> (u16, String) {
    let (mut raw, answer) = upgrade.open(hub).await;
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(answer.header("sec-websocket-protocol"), Some("orderhub.v1"));
    let ending = raw.ending().await;
    assert_eq!(ending.said.len(), 1, "no session starts: {ending:?}");
    (ending.announced(), ending.reason)
}

fn pair(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_token_may_come_in_the_header_the_subprotocol_or_the_address() {
    let hub = Hub::start();
    let (stale, others) = (ending_in(-3600), token("bob", "customer", &["o1"]));
    let token = ann();
    let query = format!("/ws?x=1&token={token}");
    let with_bearer = format!("/ws?token=Bearer%20{token}");
    let lines = UpgradeRequest::anonymous()
        .header("Sec-WebSocket-Protocol", "orderhub.v1")
        .header("Sec-WebSocket-Protocol", format!("orderhub.jwt.{token}"));
    for (case, upgrade, subprotocol) in [
        ("header", UpgradeRequest::bearer(&token), None),
        (
            "any case",
            UpgradeRequest::anonymous().header("authorization", format!("bEARER {token}")),
            None,
        ),
        ("subprotocol", UpgradeRequest::browser(&token), Some("orderhub.v1")),
        ("subprotocol in two lines", lines, Some("orderhub.v1")),
        ("address", UpgradeRequest::anonymous().path(&query), None),
        ("everywhere the same", UpgradeRequest::bearer(&token).path(&query), None),
        (
            "header without a scheme",
            UpgradeRequest::anonymous().header("Authorization", &*token),
            None,
        ),
        ("header with two schemes", UpgradeRequest::bearer(&format!("Bearer {token}")), None),
        ("address with a scheme", UpgradeRequest::anonymous().path(with_bearer), None),
        (
            "header, with another in the address",
            UpgradeRequest::bearer(&token).path(format!("/ws?token={others}")),
            None,
        ),
        (
            "subprotocol, with a stale one in the header",
            UpgradeRequest::browser(&token).header("Authorization", format!("Bearer {stale}")),
            Some("orderhub.v1"),
        ),
    ] {
        let (mut raw, answer) = upgrade.open(&hub).await;
        assert_eq!(answer.status, 101, "{case}: {answer:?}");
        assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(answer.header("sec-websocket-protocol"), subprotocol, "{case}");
        let connected = raw.event().await;
        assert_eq!(connected["event"], "connected", "{case}");
        assert_eq!(connected["data"]["userId"], "ann", "{case}");
        assert_eq!(connected["data"]["protocol"], 1, "{case}");
    }
}

#[tokio::test]
async fn the_address_carries_no_token_where_that_is_switched_off() {
    let hub = Hub::builder().env("ALLOW_QUERY_TOKEN", false).start();
    let upgrade = UpgradeRequest::anonymous().path(format!("/ws?token={}", ann()));
    assert_eq!(refused(&hub, &upgrade).await, pair(401, "unauthenticated"));
    let offered = upgrade.header("Sec-WebSocket-Protocol", "orderhub.v1");
    assert_eq!(closed(&hub, &offered).await, pair(4401, "unauthenticated"));
}

#[tokio::test]
async fn no_token_a_bad_one_and_two_in_one_place_are_401() {
    let hub = Hub::start();
    let (one, other) = (ann(), token("bob", "customer", &["o1"]));
    let two = format!("/ws?token={one}&token={other}");
    let mut torn = ann();
    torn.truncate(torn.len() - 2);
    let lonely = UpgradeRequest::anonymous()
        .header("Sec-WebSocket-Protocol", format!("orderhub.jwt.{one}, something"));
    for (case, upgrade) in [
        ("none", UpgradeRequest::anonymous()),
        (
            "another scheme",
            UpgradeRequest::anonymous().header("Authorization", format!("Basic {one}")),
        ),
        ("empty", UpgradeRequest::bearer("")),
        ("no JWT", UpgradeRequest::bearer("hello")),
        ("a torn signature", UpgradeRequest::bearer(&torn)),
        ("larger than any", UpgradeRequest::bearer(&"x".repeat(9000))),
        ("two in the address", UpgradeRequest::anonymous().path(two)),
        ("a subprotocol without orderhub.v1", lonely),
    ] {
        let answer = upgrade.ask(&hub).await;
        assert_eq!(answer.problem(), (401, "unauthenticated"), "{case}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{case}");
    }
    let two = UpgradeRequest::browser(&one)
        .header("Sec-WebSocket-Protocol", format!("orderhub.jwt.{other}"));
    assert_eq!(closed(&hub, &two).await, pair(4401, "unauthenticated"));
}

/// Tokens with a good signature or none, and the code that each is refused with.
fn bad_tokens() -> Vec<(&'static str, String, &'static str)> {
    let good = json!({ "sub": "ann", "orders": ["o1"], "exp": now() + 3600 });
    let with = |claim: &str, value: Value| {
        let mut changed = good.clone();
        changed[claim] = value;
        claims(changed)
    };
    let signed = |algorithm, secret: &str| {
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), &good, &key).expect("a token")
    };
    let payload = claims(good.clone()).split('.').nth(1).expect("three parts").to_owned();
    vec![
        ("expired", with("exp", json!(now() - 3600)), "token_expired"),
        ("no exp", claims(json!({ "sub": "ann" })), "unauthenticated"),
        ("exp in ms", with("exp", json!((now() + 3600) * 1000)), "unauthenticated"),
        ("exp as text", with("exp", json!((now() + 3600).to_string())), "unauthenticated"),
        ("exp in the past with a fraction", with("exp", json!(1e9 + 0.5)), "token_expired"),
        ("orders are no list", with("orders", json!("o1")), "unauthenticated"),
        ("an order is no id", with("orders", json!(["a b"])), "unauthenticated"),
        ("an empty user", with("sub", json!("")), "unauthenticated"),
        ("no user", with("sub", json!(null)), "unauthenticated"),
        ("a user of control characters", with("sub", json!("a\n")), "unauthenticated"),
        ("not yet", with("nbf", json!(now() + 3600)), "unauthenticated"),
        ("another secret", signed(Algorithm::HS256, &"x".repeat(32)), "unauthenticated"),
        ("another secret, HS512", signed(Algorithm::HS512, &"x".repeat(64)), "unauthenticated"),
        ("alg none", format!("eyJhbGciOiJub25lIn0.{payload}."), "unauthenticated"),
    ]
}

#[tokio::test]
async fn a_token_that_does_not_count_is_401_with_the_code() {
    let hub = Hub::start();
    for (case, token, code) in bad_tokens() {
        let answer = UpgradeRequest::bearer(&token).ask(&hub).await;
        assert_eq!(answer.problem(), (401, code), "{case}");
        let body = answer.body.to_string();
        assert!(!body.contains("nbf") && !body.contains("signature"), "{case}: {body}");
    }
}

#[tokio::test]
async fn a_refused_browser_gets_a_close_code() {
    let hub = Hub::start();
    for (case, token, code) in bad_tokens() {
        assert_eq!(
            closed(&hub, &UpgradeRequest::browser(&token)).await,
            pair(4401, code),
            "{case}"
        );
    }
    let none = UpgradeRequest::anonymous().header("Sec-WebSocket-Protocol", "orderhub.v1");
    assert_eq!(closed(&hub, &none).await, pair(4401, "unauthenticated"));
}

#[tokio::test]
async fn pages_of_other_origins_are_403_and_the_hubs_own_passes() {
    let origins = "https://app.example.com, https://b.example.com:443, file://";
    let hub = Hub::builder().env("ALLOWED_ORIGINS", origins).start();
    let token = ann();
    for (origin, status) in [
        ("https://app.example.com", 101),
        ("https://app.example.com:443", 101),
        ("https://b.example.com", 101),
        // Cordova's pages.
        ("file://", 101),
        ("http://hub.test", 101),
        ("https://hub.test", 101),
        // React Native makes it up from an address with a port.
        ("https://hub.test:443", 101),
        ("https://hub.test:8443", 403),
        ("https://app.example.com:80", 403),
        ("https://evil.example", 403),
        ("https://app.example.com.evil.example", 403),
        ("http://hub.test.evil.example", 403),
        ("null", 403),
    ] {
        for upgrade in [UpgradeRequest::bearer(&token), UpgradeRequest::browser(&token)] {
            let answer = upgrade.header("Origin", origin).ask(&hub).await;
            assert_eq!(answer.status, status, "{origin}");
            if status == 403 {
                assert_eq!(answer.problem(), (403, "forbidden"), "{origin}");
            }
        }
    }
    assert_eq!(UpgradeRequest::bearer(&token).ask(&hub).await.status, 101, "phones send none");
}

#[tokio::test]
async fn a_request_that_is_no_upgrade_to_this_protocol_is_refused() {
    let hub = Hub::start();
    let good = || UpgradeRequest::bearer(&ann());
    let answer = good().method("POST").ask(&hub).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")));
    for upgrade in
        [good().instead("Sec-WebSocket-Version", "8"), good().without("Sec-WebSocket-Version")]
    {
        let answer = upgrade.ask(&hub).await;
        assert_eq!((answer.status, answer.header("sec-websocket-version")), (426, Some("13")));
    }
    for (case, upgrade, status) in [
        ("no key", good().without("Sec-WebSocket-Key"), 400),
        ("no Connection", good().without("Connection"), 400),
        ("another path", good().path("/"), 404),
        ("below the path", good().path("/ws/x"), 404),
        ("a path of the API", good().path("/healthz"), 404),
        ("a path that is not there", good().path("/nothing"), 404),
    ] {
        let answer = upgrade.ask(&hub).await;
        assert_eq!(answer.problem().0, status, "{case}");
    }
}

#[tokio::test]
async fn an_upgrade_may_be_written_in_any_way_that_http_allows() {
    let hub = Hub::start();
    let good = || UpgradeRequest::bearer(&ann());
    let lines = good().without("Connection").header("Connection", "keep-alive");
    for (case, upgrade) in [
        ("as Internet Explorer wrote it", good().instead("Upgrade", "WebSocket")),
        ("as Firefox writes it", good().instead("Connection", "keep-alive, Upgrade")),
        ("in small letters", good().instead("Connection", "upgrade")),
        ("in two lines", lines.header("Connection", "Upgrade")),
        ("with an extension", good().header("Sec-WebSocket-Extensions", "permessage-deflate")),
        ("with a query", good().path("/ws?v=1")),
        (
            "with an escaped token",
            UpgradeRequest::anonymous().path(format!("/ws?token={}", ann().replace('.', "%2E"))),
        ),
    ] {
        let (mut raw, answer) = upgrade.open(&hub).await;
        assert_eq!(answer.status, 101, "{case}: {answer:?}");
        assert_eq!(answer.header("sec-websocket-extensions"), None, "{case}");
        assert_eq!(raw.event().await["event"], "connected", "{case}");
    }
}

#[tokio::test]
async fn frames_sent_right_behind_the_upgrade_request_are_handled() {
    let hub = Hub::start();
    let mut raw = RawConnection::connect(hub.addr).await;
    let early = frame(TEXT, br#"{"event":"ping","data":"early"}"#);
    raw.send(&[UpgradeRequest::bearer(&ann()).head(), early].concat()).await;
    assert_eq!(raw.answer().await.status, 101);
    assert_eq!(raw.event().await["event"], "connected");
    assert_eq!(raw.event().await, json!({ "event": "pong", "data": "early" }));
}

#[tokio::test]
async fn one_connection_too_many_is_503_until_another_goes() {
    let hub = Hub::builder().env("MAX_CONNECTIONS", 2).start();
    let first = hub.connect("ann", "customer", &[]).await;
    let mut second = hub.connect("bob", "customer", &[]).await;
    let answer = UpgradeRequest::bearer(&ann()).ask(&hub).await;
    assert_eq!(answer.problem(), (503, "unavailable"));
    let seconds = answer.header("retry-after").and_then(|after| after.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| seconds > 0), "{answer:?}");
    let refused = closed(&hub, &UpgradeRequest::browser(&ann())).await;
    assert_eq!(refused, pair(1013, "try_again_later"));
    second.drain("").await;
    first.close().await;
    // Its place is free a moment after its end.
    let free = async {
        while UpgradeRequest::bearer(&ann()).ask(&hub).await.status != 101 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), free).await.expect("a free place");
}

#[tokio::test]
async fn the_oldest_connection_of_a_user_makes_room() {
    let hub = Hub::builder().env("MAX_CONNECTIONS_PER_USER", 2).start();
    let mut oldest = RawConnection::login(&hub, "ann", &[]).await;
    let mut middle = hub.connect("ann", "customer", &[]).await;
    let mut other = hub.connect("bob", "customer", &[]).await;
    let mut newest = hub.connect("ann", "customer", &[]).await;
    let ending = oldest.ending().await;
    assert_eq!((ending.announced(), ending.reason.as_str()), (4409, "replaced"));
    assert_eq!(ending.session_end()["retry"], false);
    for client in [&mut middle, &mut other, &mut newest] {
        assert_eq!(client.request("ping", json!(1)).await["ok"], true);
    }
}

#[tokio::test]
async fn a_token_is_in_no_log() {
    let mut hub = Hub::builder().env("RUST_LOG", "trace").start();
    let (good, expired) = (ann(), ending_in(-3600));
    for token in [&good, &expired] {
        UpgradeRequest::bearer(token).ask(&hub).await;
        UpgradeRequest::browser(token).ask(&hub).await;
        UpgradeRequest::anonymous().path(format!("/ws?token={token}")).ask(&hub).await;
        UpgradeRequest::bearer(token).path(format!("/elsewhere?token={token}")).ask(&hub).await;
    }
    let mut client = hub.connect_with(&good).await;
    for token in [&good, &expired] {
        client.request("auth:refresh", json!({ "token": token })).await;
    }
    client.send("auth:refresh", json!({ "token": [good] })).await;
    client.send_text(format!("{{\"event\":\"auth:refresh\",\"data\":\"{good}\"")).await;
    client.drain("exception").await;
    let (status, _) =
        hub.admin(reqwest::Method::GET, &format!("/admin/v1/rooms?token={good}")).await;
    assert_eq!(status, 400, "there is no such parameter");
    let log = hub.whole_log().await;
    assert!(log.contains("session started"), "something is logged");
    for token in [&good, &expired] {
        let signature = token.rsplit('.').next().expect("a signature");
        let line = log.lines().find(|line| line.contains(signature));
        assert_eq!(line, None);
        for file in std::fs::read_dir(hub.data_dir()).expect("a folder") {
            let path = file.expect("a file").path();
            let content = std::fs::read(&path).expect("a file");
            let found = content.windows(signature.len()).any(|part| part == signature.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
}

#[tokio::test]
async fn a_head_of_200_kb_is_refused_and_others_are_served() {
    let hub = Hub::start();
    let mut witness = hub.connect("ann", "customer", &[]).await;
    for upgrade in [
        UpgradeRequest::bearer(&ann()).header("X-Long", "x".repeat(200_000)),
        UpgradeRequest::bearer(&ann()).path(format!("/ws?{}", "x".repeat(200_000))),
    ] {
        let mut raw = RawConnection::connect(hub.addr).await;
        raw.send_until_refused(&upgrade.head()).await;
        if let Some(status) = raw.status().await {
            assert!((400..500).contains(&status), "{status}");
        }
        assert!(raw.ends().await);
    }
    assert_eq!(witness.request("ping", json!(1)).await["ok"], true);
}

/// A client that sends one byte after the other and never ends its head.
async fn trickle(raw: &mut RawConnection, head: &[u8]) {
    let drip = async {
        for byte in head.iter().chain(std::iter::repeat(&b'x')) {
            raw.send_until_refused(&[*byte]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            if raw.has_ended() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(15), drip).await.expect("the hub cuts it");
}

#[tokio::test]
async fn a_head_that_takes_too_long_is_cut() {
    let hub = Hub::builder().env("CONNECT_TIMEOUT_MS", 500).start();
    let mut raw = RawConnection::connect(hub.addr).await;
    trickle(&mut raw, b"GET /ws HTTP/1.1\r\nX-Slow: ").await;
    let mut silent = RawConnection::connect(hub.addr).await;
    assert!(silent.ends().await, "one that says nothing is cut too");
}

#[tokio::test]
async fn an_unauthenticated_client_cannot_hold_a_connection_with_a_second_head() {
    let hub = Hub::start();
    let head = |path: &str, token: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: hub.test\r\nAuthorization: Bearer {token}\r\n\r\n")
    };
    let anonymous = "GET /healthz HTTP/1.1\r\nHost: hub.test\r\n\r\n".to_owned();
    for (head, status) in [
        (anonymous, 200),
        (head("/admin/v1/stats", "forged"), 401),
        // Where nobody asks for a token a forged one opens nothing either.
        (head("/healthz", "forged"), 200),
    ] {
        let mut raw = RawConnection::connect(hub.addr).await;
        raw.send(head.as_bytes()).await;
        let answer = raw.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")));
        assert!(raw.ends().await);
    }
    let mut known = RawConnection::connect(hub.addr).await;
    for _ in 0..3 {
        let admin = token("root", "admin", &[]);
        known.send(head("/admin/v1/stats", &admin).as_bytes()).await;
        assert_eq!(known.answer().await.status, 200);
    }
}

#[tokio::test]
async fn an_unauthenticated_client_cannot_hold_a_connection_with_an_endless_body() {
    let hub = Hub::start();
    let preflight = "Origin: http://a.test\r\nAccess-Control-Request-Method: GET\r\n";
    for (line, more, status) in [
        ("GET /healthz", "", 200),
        ("POST /nothing", "", 404),
        ("OPTIONS /healthz", preflight, 200),
        ("DELETE /admin/v1/users/ann/sessions", "Authorization: Bearer forged\r\n", 401),
    ] {
        let host = "Host: hub.test\r\nTransfer-Encoding: chunked";
        let head = format!("{line} HTTP/1.1\r\n{more}{host}\r\n\r\n5\r\nab");
        let mut raw = RawConnection::connect(hub.addr).await;
        raw.send(head.as_bytes()).await;
        assert_eq!(raw.answer().await.status, status, "{line}");
        assert!(raw.ends().await, "{line}");
    }
    let line = "DELETE /admin/v1/users/ann/sessions HTTP/1.1\r\nHost: hub.test";
    let known = format!("Authorization: Bearer {}", token("root", "admin", &[]));
    let body = "Transfer-Encoding: chunked\r\n\r\nd\r\n{\"banSecs\":0}\r\n0\r\n\r\n";
    let mut raw = RawConnection::connect(hub.addr).await;
    for _ in 0..2 {
        raw.send(format!("{line}\r\n{known}\r\n{body}").as_bytes()).await;
        assert_eq!(raw.answer().await.status, 200, "somebody known may send one");
    }
}

#[tokio::test]
async fn a_draining_hub_refuses_new_connections() {
    let mut hub = Hub::builder().env("DRAIN_DELAY_SECS", 3).env("DRAIN_SECS", 1).start();
    let mut inside = hub.connect("ann", "customer", &["o1"]).await;
    hub.signal("TERM");
    // The signal is on its way: until it is there the hub is ready.
    while hub.admin(reqwest::Method::GET, "/readyz").await.0 == 200 {}
    let answer = UpgradeRequest::bearer(&ann()).ask(&hub).await;
    assert_eq!(answer.problem(), (503, "unavailable"));
    assert!(answer.header("retry-after").is_some());
    let refused = closed(&hub, &UpgradeRequest::browser(&ann())).await;
    assert_eq!(refused, pair(1013, "try_again_later"));
    assert_eq!(inside.closed().await.code, 1012);
    let end = inside.expect("session:end").await;
    assert_eq!((&end["code"], &end["retry"]), (&json!(1012), &json!(true)));
    assert!(end["reconnectAfterMs"].as_u64().is_some_and(|ms| ms >= 1000), "{end}");
    assert!(hub.wait().success());
}
