//! Bad input, over HTTP and by socket: everything has a clear answer with a stable code, and nobody
//! else notices it. Which calls there are is taken from the hub's own description.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::support::raw::{RawConnection, UpgradeRequest};
use super::support::rooms::code;
use super::support::socketio::SocketIoClient;
use super::support::{Hub, claims, now, token};

/// The status, code and field of an answer, which must be a problem.
async fn problem(request: RequestBuilder, case: &str) -> (u16, String, String) {
    let answer = request.send().await.unwrap_or_else(|error| panic!("{case}: {error}"));
    let status = answer.status().as_u16();
    let kind = answer.headers().get("content-type").cloned();
    let text = answer.text().await.expect("text");
    assert_eq!(
        kind.as_ref().map(AsRef::as_ref),
        Some(&b"application/problem+json"[..]),
        "{case}: {status} {text}"
    );
    let body: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(body["status"], status, "{case}");
    let word = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (status, word("code"), word("field"))
}

fn request(hub: &Hub, method: &str, path: &str) -> RequestBuilder {
    let method: Method = method.to_uppercase().parse().expect("a method");
    reqwest::Client::new().request(method, hub.url(path))
}

fn as_admin(hub: &Hub, method: &str, path: &str) -> RequestBuilder {
    request(hub, method, path).bearer_auth(token("root", "admin", &[]))
}

/// A call of the description.
struct Call {
    method: String,
    /// With an id in each of its places.
    path: String,
    /// The media type of its body, where it takes one.
    takes: Option<String>,
}

/// All calls of the API and of operation.
async fn calls(hub: &Hub) -> Vec<Call> {
    let document = reqwest::get(hub.url("/openapi.json")).await.expect("an answer");
    let document: Value = document.json().await.expect("JSON");
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        if !path.starts_with("/api/") && !path.starts_with("/admin/") {
            continue;
        }
        let path = path.replace("{order}", "o1").replace("{user}", "ann");
        for (method, call) in item.as_object().expect("methods") {
            let kinds = call["requestBody"]["content"].as_object();
            let takes = kinds.and_then(|kinds| kinds.keys().next().cloned());
            calls.push(Call { method: method.clone(), path: path.clone(), takes });
        }
    }
    assert!(calls.len() > 15, "these are not all");
    calls
}

/// Asserts that the hub goes on as if nothing had been.
async fn assert_well(hub: &Hub) {
    assert_eq!(hub.status("/readyz").await, 200);
    let name = format!("witness-{}", protocol::ids::SessionId::random());
    let mut witness = hub.connect(&name, "customer", &["w1"]).await;
    witness.join("w1").await;
    // Lines come in order: what went before is there as well.
    let log = hub.logged(&name).await;
    assert!(!log.contains("panicked"), "{log}");
}

/// Tokens that do not count for a hub with an issuer and an audience, and the code of each.
fn bad_tokens() -> Vec<(&'static str, String, &'static str)> {
    let good =
        json!({ "sub": "ann", "role": "admin", "iss": "shop", "aud": "hub", "exp": now() + 3600 });
    let with = |claim: &str, value: Value| {
        let mut changed = good.clone();
        changed[claim] = value;
        claims(changed)
    };
    let signed = |header: Header, secret: &[u8]| {
        jsonwebtoken::encode(&header, &good, &EncodingKey::from_secret(secret)).expect("a token")
    };
    let hs256 = || Header::new(Algorithm::HS256);
    let kid = Header { kid: Some("unknown".into()), ..hs256() };
    let payload = claims(good.clone()).split('.').nth(1).expect("three parts").to_owned();
    let none = |header: &str| format!("{header}.{payload}.");
    let whole = claims(good.clone());
    vec![
        ("empty", String::new(), "unauthenticated"),
        ("no JWT", "hello".into(), "unauthenticated"),
        ("alg none", none("eyJhbGciOiJub25lIn0"), "unauthenticated"),
        ("alg None", none("eyJhbGciOiJOb25lIn0"), "unauthenticated"),
        ("another secret", signed(hs256(), &[b'x'; 32]), "unauthenticated"),
        (
            "another secret, HS512",
            signed(Header::new(Algorithm::HS512), &[b'x'; 64]),
            "unauthenticated",
        ),
        ("an unknown key", signed(kid, &[b'x'; 32]), "unauthenticated"),
        ("cut off", whole[..whole.len() - 2].to_owned(), "unauthenticated"),
        ("one part more", format!("{whole}.x"), "unauthenticated"),
        ("expired", with("exp", json!(now() - 3600)), "token_expired"),
        ("not yet valid", with("nbf", json!(now() + 3600)), "unauthenticated"),
        ("no exp", with("exp", Value::Null), "unauthenticated"),
        ("exp as text", with("exp", json!((now() + 3600).to_string())), "unauthenticated"),
        ("exp beyond 2^53", with("exp", json!(9_007_199_254_740_993_i64)), "unauthenticated"),
        ("exp beyond 64 bits", with("exp", json!(1e30)), "unauthenticated"),
        ("exp below zero", with("exp", json!(-1)), "token_expired"),
        ("another issuer", with("iss", json!("shop.evil")), "unauthenticated"),
        ("another audience", with("aud", json!("hub.evil")), "unauthenticated"),
        ("no audience", with("aud", Value::Null), "unauthenticated"),
        ("12 kB", with("name", json!("x".repeat(9_000))), "unauthenticated"),
    ]
}

#[tokio::test]
async fn tokens_that_do_not_count_open_nothing_by_any_way() {
    let hub = Hub::builder().env("JWT_ISSUER", "shop").env("JWT_AUDIENCE", "hub").start();
    let good = claims(
        json!({ "sub": "ann", "role": "admin", "iss": "shop", "aud": "hub", "exp": now() + 3600 }),
    );
    let answer = request(&hub, "GET", "/api/v1/orders").bearer_auth(&good).send().await;
    assert_eq!(answer.expect("an answer").status(), 200);
    for (case, token, expected) in bad_tokens() {
        for path in ["/api/v1/orders", "/api/v1/orders/o1", "/admin/v1/stats"] {
            let refused = problem(request(&hub, "GET", path).bearer_auth(&token), case).await;
            assert_eq!((refused.0, refused.1.as_str()), (401, expected), "{case}: {path}");
        }
        let answer = UpgradeRequest::bearer(&token).ask(&hub).await;
        assert_eq!(answer.problem(), (401, expected), "{case}: /ws");
        if token.len() < 65_536 {
            let mut client = SocketIoClient::open(&hub).await;
            let refused = client.connect(json!({ "token": token })).await.expect_err(case);
            assert_eq!(refused["data"]["code"], expected, "{case}: /socket.io/");
        }
    }
    for value in [good.clone(), format!("bearer {good}"), format!("Bearer Bearer {good}")] {
        let taken = request(&hub, "GET", "/api/v1/orders").header("Authorization", &value);
        assert_eq!(taken.send().await.expect("an answer").status(), 200, "{value}");
    }
    let two = request(&hub, "GET", "/api/v1/orders").bearer_auth(&good).bearer_auth(&good);
    assert_eq!(problem(two, "a doubled header").await.0, 401);
    let basic = request(&hub, "GET", "/api/v1/orders").basic_auth("ann", Some(&good));
    assert_eq!(problem(basic, "another scheme").await.0, 401);
    let jwt = request(&hub, "GET", "/api/v1/orders").header("Authorization", format!("JWT {good}"));
    let refused: Value = jwt.send().await.expect("an answer").json().await.expect("a problem");
    let detail = "no token: the Authorization header is not of the form Bearer TOKEN";
    assert_eq!(refused["detail"], detail, "{refused}");
    let none = request(&hub, "GET", "/api/v1/orders");
    assert_eq!(problem(none, "none").await, (401, "unauthenticated".into(), String::new()));
    let query = request(&hub, "GET", &format!("/api/v1/orders?token={good}"));
    assert_eq!(problem(query, "in the address, where it would be logged").await.0, 401);
}

#[tokio::test]
async fn unauthenticated_and_unauthorized_calls_change_nothing() {
    let hub = Hub::start();
    let made = as_admin(&hub, "PUT", "/api/v1/orders/o1").json(&json!({ "status": "NEW" }));
    assert_eq!(made.send().await.expect("an answer").status(), 201);
    let other = token("eve", "customer", &["o2"]);
    for Call { method, path, takes } in calls(&hub).await {
        // Each fix is refused for itself, beside a 200.
        let posts_fixes = (method == "post" && path.contains("/locations"))
            || path.starts_with("/api/v1/drivers/me/locations/");
        let body = match path.rsplit('/').next() {
            Some("messages") => json!({ "content": "let me in" }),
            _ => json!({}),
        };
        let case = format!("{method} {path}");
        let with_body = |request: RequestBuilder| match &takes {
            Some(kind) => request.header("content-type", kind).body(body.to_string()),
            None => request,
        };
        let refused = problem(with_body(request(&hub, &method, &path)), &case).await;
        assert_eq!((refused.0, refused.1.as_str()), (401, "unauthenticated"), "{case}");
        if posts_fixes {
            continue;
        }
        let asked = with_body(request(&hub, &method, &path)).bearer_auth(&other);
        let refused = problem(asked, &case).await;
        assert_eq!((refused.0, refused.1.as_str()), (403, "forbidden"), "{case}");
    }
    let shown = as_admin(&hub, "GET", "/api/v1/orders/o1").send().await.expect("an answer");
    let shown: Value = shown.json().await.expect("JSON");
    assert_eq!((&shown["rev"], &shown["lastSeq"]), (&json!(1), &json!(0)), "nothing has changed");
}

#[tokio::test]
async fn invalid_bodies_are_refused_and_change_nothing() {
    let hub = Hub::start();
    let deep = format!(r#"{{"data":{}{}}}"#, "[".repeat(100), "]".repeat(100));
    let long = format!(r#"{{"status":"{}"}}"#, "x".repeat(1024 * 1024));
    for Call { method, path, takes } in calls(&hub).await {
        if takes.as_deref() != Some("application/json") || path.contains("/locations") {
            continue;
        }
        for (body, status) in [
            (&b"hello"[..], 400),
            (b"{", 400),
            (b"{} {}", 400),
            (b"[]", 400),
            (b"null", 400),
            (b"{\"nobody\":1}", 400),
            (b"{\"a\":NaN}", 400),
            (b"{\"a\":\"\xff\"}", 400),
            (b"\xef\xbb\xbf[]", 400),
            (deep.as_bytes(), 400),
            (long.as_bytes(), 413),
        ] {
            // A batch takes an array, of none too.
            if body.ends_with(b"[]") && path.ends_with(":batch") {
                continue;
            }
            let start = String::from_utf8_lossy(&body[..body.len().min(20)]).into_owned();
            let case = format!("{method} {path} with {start}");
            let asked = as_admin(&hub, &method, &path).header("content-type", "application/json");
            let refused = problem(asked.body(body.to_vec()), &case).await;
            assert_eq!((refused.0, refused.1.as_str()), (status, "invalid_payload"), "{case}");
        }
        if method != "delete" {
            let asked = as_admin(&hub, &method, &path).header("content-type", "text/plain");
            let refused = problem(asked.body("{}"), &path).await;
            assert_eq!((refused.0, refused.1.as_str()), (415, "unsupported_media_type"), "{path}");
        }
    }
    let orders = as_admin(&hub, "GET", "/api/v1/orders").send().await.expect("an answer");
    assert_eq!(orders.json::<Value>().await.expect("JSON")["orders"], json!([]), "none was made");
    assert_well(&hub).await;
}

#[tokio::test]
async fn invalid_ids_in_paths_are_refused() {
    let hub = Hub::start();
    let ten_kb = "x".repeat(10_000);
    let mut client = hub.connect("ann", "admin", &[]).await;
    for (id, escaped) in [
        ("a/b", "a%2Fb"),
        ("../o1", "..%2Fo1"),
        ("a\0b", "a%00b"),
        ("a b", "a%20b"),
        ("a\r\nb", "a%0D%0Ab"),
        ("ä", "%C3%A4"),
        ("a#b", "a%23b"),
        (&ten_kb, &ten_kb),
        (&ten_kb[..129], &ten_kb[..129]),
    ] {
        let name = &id[..id.len().min(10)];
        for call in ["GET", "PUT", "DELETE"] {
            let path = format!("/api/v1/orders/{escaped}");
            let asked = as_admin(&hub, call, &path).json(&json!({}));
            let refused = problem(asked, name).await;
            assert_eq!((refused.0, refused.1.as_str()), (400, "invalid_payload"), "{call} {name}");
        }
        for path in [
            format!("/api/v1/orders/o1/participants/{escaped}"),
            format!("/admin/v1/users/{escaped}/sessions"),
            format!("/admin/v1/rooms/{escaped}/members/ann"),
        ] {
            let refused = problem(as_admin(&hub, "DELETE", &path), name).await;
            assert_eq!((refused.0, refused.1.as_str()), (400, "invalid_payload"), "{path}");
        }
        for event in ["order:join", "order:leave", "chat:history"] {
            let refused = client.request(event, json!({ "orderId": id })).await;
            assert_eq!(code(&refused), "invalid_payload", "{event} {name}");
            assert_eq!(refused["error"]["field"], "orderId", "{event} {name}");
        }
        let sent = json!({ "orderId": id, "content": "x", "clientMsgId": "c" });
        assert_eq!(code(&client.request("chat:message", sent).await), "invalid_payload", "{name}");
    }
    // Bytes that are no UTF-8, and dots, as no client library would send them.
    for (path, status) in [
        ("/api/v1/orders/%FF", 400),
        ("/api/v1/orders/..", 404),
        ("/api/v1/orders/../../../etc/passwd", 404),
        ("/api/v1/orders/", 404),
        ("/api/v1//orders/o1", 404),
    ] {
        let mut raw = RawConnection::connect(hub.addr).await;
        let admin = token("root", "admin", &[]);
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: hub.test\r\nAuthorization: Bearer {admin}\r\n\r\n"
        );
        raw.send(head.as_bytes()).await;
        let answer = raw.answer().await;
        assert_eq!(answer.problem().0, status, "{path}");
    }
    assert_well(&hub).await;
}

#[tokio::test]
async fn times_need_a_zone_and_numbers_a_range() {
    let hub = Hub::start();
    let made = as_admin(&hub, "PUT", "/api/v1/orders/o1").json(&json!({}));
    assert_eq!(made.send().await.expect("an answer").status(), 201);
    for time in [
        json!("2026-11-26T12:00:00"),
        json!("2026-11-26"),
        json!("yesterday"),
        json!(""),
        json!(1_764_158_400),
    ] {
        for (path, field, mut body) in [
            ("/api/v1/orders/o1/status", "at", json!({ "status": "NEW" })),
            ("/api/v1/orders/o1/assign", "at", json!({ "driverId": null })),
            ("/api/v1/users/ann/revoke", "issuedBefore", json!({})),
        ] {
            body[field] = time.clone();
            let refused = problem(as_admin(&hub, "POST", path).json(&body), path).await;
            assert_eq!(refused, (400, "invalid_payload".into(), field.into()), "{path} {time}");
        }
    }
    for time in ["2026-11-26T12:00:00", "yesterday", "", "1764158400"] {
        for field in ["since", "until"] {
            let path = format!("/api/v1/orders/o1/locations?{field}={time}");
            let refused = problem(as_admin(&hub, "GET", &path), &path).await;
            assert_eq!(refused, (400, "invalid_payload".into(), field.into()), "{path}");
        }
    }
    for number in
        [json!(9_007_199_254_740_992_i64), json!(-1), json!(1.5), json!("7"), json!(1e300)]
    {
        let body = json!({ "status": "NEW", "version": number });
        let refused =
            problem(as_admin(&hub, "POST", "/api/v1/orders/o1/status").json(&body), "").await;
        assert_eq!(refused, (400, "invalid_payload".into(), "version".into()), "{number}");
    }
    for query in ["limit=0", "limit=101", "limit=-1", "limit=x", "limit=1&limit=2", "limits=1"] {
        let path = format!("/api/v1/orders?{query}");
        let refused = problem(as_admin(&hub, "GET", &path), query).await;
        assert_eq!((refused.0, refused.1.as_str()), (400, "invalid_payload"), "{query}");
    }
}

#[tokio::test]
async fn cursors_that_no_page_has_given_are_refused() {
    let hub = Hub::start();
    for order in ["o1", "o2", "o3"] {
        let made = as_admin(&hub, "PUT", &format!("/api/v1/orders/{order}")).json(&json!({}));
        assert_eq!(made.send().await.expect("an answer").status(), 201);
    }
    let page = as_admin(&hub, "GET", "/api/v1/orders?limit=2").send().await.expect("an answer");
    let page: Value = page.json().await.expect("JSON");
    let cursor = page["nextCursor"].as_str().expect("a cursor").to_owned();
    let long = "QQ".repeat(5_000);
    for (case, tampered) in [
        ("cut off", &cursor[..cursor.len() - 1]),
        ("padded", &format!("{cursor}==")),
        ("of another alphabet", "+/+/"),
        ("empty", ""),
        ("of a NUL", "AA"),
        ("of a quote", "JyBPUiAxPTE"),
        ("an id as it is", "o 2"),
        ("too long", &long),
    ] {
        let path = format!("/api/v1/orders?cursor={}", tampered.replace('+', "%2B"));
        let refused = problem(as_admin(&hub, "GET", &path), case).await;
        assert_eq!(refused, (400, "invalid_payload".into(), "cursor".into()), "{case}");
    }
    let next = as_admin(&hub, "GET", &format!("/api/v1/orders?cursor={cursor}"));
    let next: Value = next.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(next["orders"][0]["orderId"], "o3", "the true one counts");
    let refused = problem(as_admin(&hub, "GET", "/admin/v1/rooms?cursor=a%2Fb"), "rooms").await;
    assert_eq!((refused.0, refused.1.as_str()), (400, "invalid_payload"));
}
