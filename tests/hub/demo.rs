//! `/demo`: where it is served, whom it answers, and what its tokens open.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Client as Http, Method, Response};
use serde_json::{Value, json};

use super::support::{Client, Hub, HubBuilder, now};

/// All that the demo serves.
const PATHS: [(&str, &str); 5] = [
    ("GET", "/demo"),
    ("GET", "/demo/demo.js"),
    ("GET", "/demo/demo.css"),
    ("POST", "/demo/token?order=demo-1&as=driver"),
    ("POST", "/demo/status?order=demo-1&status=ON_THE_WAY"),
];

/// A hub that makes its own secret, as the first start does.
fn development() -> HubBuilder {
    Hub::builder().through("unset JWT_SECRET; exec \"$0\"")
}

/// Asks as a page of this origin that found the hub by this name.
async fn asked(hub: &Hub, method: &str, path: &str, host: &str, origin: &str) -> Response {
    let method: Method = method.parse().expect("a method");
    let request = Http::new().request(method, hub.url(path)).header("host", host);
    let request = if origin.is_empty() { request } else { request.header("origin", origin) };
    request.send().await.expect("an answer")
}

/// Asks as the demo's own page.
async fn own(hub: &Hub, method: &str, path: &str) -> Response {
    let host = format!("localhost:{}", hub.addr.port());
    asked(hub, method, path, &host, &format!("http://{host}")).await
}

async fn statuses(hub: &Hub) -> Vec<u16> {
    let mut all = Vec::new();
    for (method, path) in PATHS {
        all.push(own(hub, method, path).await.status().as_u16());
    }
    all
}

async fn token(hub: &Hub, order: &str, part: &str) -> String {
    let path = format!("/demo/token?order={order}&as={part}");
    let answer: Value = own(hub, "POST", &path).await.json().await.expect("JSON");
    answer["token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
}

/// What a token says.
fn claims_of(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

async fn connect(hub: &Hub, order: &str, part: &str) -> Client {
    let mut client = hub.connect_with(&token(hub, order, part).await).await;
    client.expect("connected").await;
    client
}

async fn join(client: &mut Client, order: &str) -> Value {
    client.request("order:join", json!({ "orderId": order })).await
}

#[tokio::test]
async fn the_page_is_served_whole_and_loads_nothing_from_elsewhere() {
    let hub = development().start();
    for (path, kind) in [
        ("/demo", "text/html"),
        ("/demo/demo.js", "text/javascript"),
        ("/demo/demo.css", "text/css"),
    ] {
        let answer = reqwest::get(hub.url(path)).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
        assert!(header("content-type").starts_with(kind), "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    }
    let page = reqwest::get(hub.url("/demo")).await.expect("an answer").text().await.expect("text");
    assert!(page.contains("src=\"/demo/demo.js\"") && page.contains("href=\"/demo/demo.css\""));
    assert!(!page.contains("<script>") && !page.contains("<style"), "{page}");
}

#[tokio::test]
async fn the_demo_is_served_only_with_the_hubs_own_secret() {
    assert_eq!(statuses(&development().start()).await, [200; 5]);
    assert_eq!(statuses(&Hub::start()).await, [404; 5]);
    assert_eq!(statuses(&Hub::builder().env("DEMO", true).start()).await, [404; 5]);
    assert_eq!(statuses(&development().env("DEMO", false).start()).await, [404; 5]);
    assert_eq!(statuses(&development().env("JOIN_POLICY", "open").start()).await, [404; 5]);
    let proxied = development().env("TRUSTED_PROXIES", "127.0.0.1").env("DEMO", true).start();
    assert_eq!(statuses(&proxied).await, [404; 5]);
}

#[tokio::test]
async fn a_public_hub_serves_the_demo_when_set_and_under_loopback_names_only() {
    let hub = development().env("BIND_ADDR", "0.0.0.0:0").env("DEMO", true).start();
    assert_eq!(statuses(&hub).await, [200; 5]);
    for host in ["0.0.0.0:80", "192.0.2.7", "hub.example"] {
        let answer = asked(&hub, "GET", "/demo", host, "").await;
        assert_eq!(answer.status(), 403, "{host}");
    }
    let mut off = development().env("BIND_ADDR", "0.0.0.0:0").launch();
    assert!(!off.ended().await.success());
    assert!(off.log().contains("JWT_SECRET"), "{}", off.log());
}

#[tokio::test]
async fn another_host_does_not_get_the_demo() {
    let hub = development().start();
    for (method, path) in PATHS {
        for host in ["evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1"] {
            let answer = asked(&hub, method, path, host, &format!("http://{host}")).await;
            assert_eq!(answer.status(), 403, "{method} {path} for {host}");
            let body: Value = answer.json().await.expect("JSON");
            assert_eq!(body["code"], "forbidden");
        }
    }
}

#[tokio::test]
async fn pages_of_other_origins_and_requests_without_one_get_no_token() {
    let hub = development().start();
    for (method, path) in PATHS {
        for origin in ["https://evil.example", "http://127.0.0.1.evil.example", "null", "file://"] {
            let answer = asked(&hub, method, path, "127.0.0.1", origin).await;
            assert_eq!(answer.status(), 403, "{method} {path} from {origin}");
        }
        let status = asked(&hub, method, path, "127.0.0.1", "").await.status();
        assert_eq!(status, if method == "GET" { 200 } else { 403 }, "{method} {path}");
    }
    let path = "/demo/token?order=demo-1&as=driver";
    let answer = asked(&hub, "POST", path, "[::1]:80", "http://localhost:5173").await;
    assert_eq!(answer.status(), 200, "the example's own server");
}

#[tokio::test]
async fn orders_of_other_names_are_refused() {
    let hub = development().start();
    for order in ["order-1", "demo", "Demo-1", "x-demo-1"] {
        for path in ["token?as=driver", "status?status=ON_THE_WAY"] {
            let path = format!("/demo/{path}&order={order}");
            assert_eq!(own(&hub, "POST", &path).await.status(), 403, "{path}");
        }
    }
    for (bad, field) in [
        ("/demo/token?order=demo-1", "as"),
        ("/demo/token?order=demo-1&as=admin", "as"),
        ("/demo/token?order=demo-%20&as=driver", "order"),
        ("/demo/token?order=demo-1&as=driver&role=admin", "role"),
        ("/demo/status?order=demo-1&status=no", "status"),
    ] {
        assert_eq!(own(&hub, "POST", bad).await.status(), 400, "{bad}: {field}");
    }
    let unknown = own(&hub, "POST", "/demo/status?order=demo-none&status=NEW").await;
    assert_eq!(unknown.status(), 404, "a status makes no order");
}

#[tokio::test]
async fn a_token_is_for_one_order_and_an_hour() {
    let hub = development().start();
    for (part, role) in [("driver", "driver"), ("customer", "customer"), ("support", "customer")] {
        let token = token(&hub, "demo-1", part).await;
        let claims = claims_of(&token);
        assert_eq!(claims["role"], role, "{part}");
        assert_eq!(claims["orders"], json!(["demo-1"]), "{part}");
        let left = claims["exp"].as_i64().expect("a time") - now();
        assert!((3590..=3600).contains(&left), "{part}: {left} s");
        let mut client = hub.connect_with(&token).await;
        client.expect("connected").await;
        assert_eq!(join(&mut client, "demo-1").await["ok"], true);
        for other in ["demo-2", "order-1"] {
            assert_eq!(
                join(&mut client, other).await["error"]["code"],
                "forbidden",
                "{part} {other}"
            );
        }
    }
}

#[tokio::test]
async fn a_token_of_one_order_opens_no_other_order_of_the_demo() {
    let hub = development().start();
    let mut first = connect(&hub, "demo-1", "support").await;
    connect(&hub, "demo-2", "support").await;
    assert_eq!(join(&mut first, "demo-1").await["ok"], true);
    assert_eq!(join(&mut first, "demo-2").await["error"]["code"], "forbidden");
}

#[tokio::test]
async fn an_order_of_others_is_not_taken_over() {
    let hub = development().start();
    let key = std::fs::read_to_string(hub.data_dir().join("jwt-secret")).expect("the secret");
    let claims = json!({ "id": "shop", "role": "service", "exp": now() + 60 });
    let key = jsonwebtoken::EncodingKey::from_secret(key.trim().as_bytes());
    let shop =
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a token");
    let order = Http::new().put(hub.url("/api/v1/orders/demo-9")).bearer_auth(shop);
    let made =
        order.json(&json!({ "driverId": "dan-of-the-shop" })).send().await.expect("an answer");
    assert_eq!(made.status(), 201);
    for path in ["token?as=driver&order=demo-9", "status?status=ON_THE_WAY&order=demo-9"] {
        let answer = own(&hub, "POST", &format!("/demo/{path}")).await;
        assert_eq!(answer.status(), 403, "{path}");
    }
}

#[tokio::test]
async fn clients_of_a_proxy_get_nothing() {
    let hub = development().start();
    for (method, path) in PATHS {
        let request = Http::new().request(method.parse().expect("a method"), hub.url(path));
        let request =
            request.header("origin", "http://localhost").header("x-forwarded-for", "192.0.2.7");
        assert_eq!(request.send().await.expect("an answer").status(), 403, "{method} {path}");
    }
}

#[tokio::test]
async fn calls_have_a_rate() {
    let hub = development().start();
    let mut last = 200;
    for _ in 0..200 {
        let answer = own(&hub, "POST", "/demo/token?order=demo-1&as=driver").await;
        last = answer.status().as_u16();
        if last == 429 {
            assert!(answer.headers().contains_key("retry-after"));
            break;
        }
    }
    assert_eq!(last, 429);
}

#[tokio::test]
async fn three_users_of_the_demo_meet_and_get_the_status() {
    let hub = development().start();
    let mut driver = connect(&hub, "demo-7", "driver").await;
    let mut support = connect(&hub, "demo-7", "support").await;
    let joined = join(&mut support, "demo-7").await;
    assert_eq!(joined["driverId"], "demo-7-driver");
    join(&mut driver, "demo-7").await;
    let fix = json!({ "orderId": "demo-7", "lat": 1.5, "lng": 2.0 });
    assert_eq!(driver.request("driver:location", fix).await["accepted"], 1);
    assert_eq!(support.expect("location:updated").await["driverId"], "demo-7-driver");
    let answer = own(&hub, "POST", "/demo/status?order=demo-7&status=ON_THE_WAY").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(support.expect("order:status").await["status"], "ON_THE_WAY");
    let chat = json!({ "orderId": "demo-7", "content": "hello", "clientMsgId": "d-1" });
    assert_eq!(driver.request("chat:message", chat).await["ok"], true);
    assert_eq!(support.expect("chat:message").await["senderName"], "Dan");
}

#[tokio::test]
async fn other_methods_are_named() {
    let hub = development().start();
    for (method, path) in PATHS {
        let other = if method == "GET" { "POST" } else { "GET" };
        let answer = own(&hub, other, path).await;
        assert_eq!(answer.status(), 405, "{other} {path}");
        assert_eq!(answer.headers()["allow"], method, "{path}");
    }
}
