//! HTTP connections: how many there may be, what they may send and hold, and how they end.

use std::net::SocketAddr;

use reqwest::Method;
use serde_json::{Value, json};

use super::support::polling::handshake;
use super::support::raw::RawConnection;
use super::support::socketio::SocketIoClient;
use super::support::{Hub, HubBuilder, claims, token, until};

/// No address is without limits.
fn strict() -> HubBuilder {
    Hub::builder().env("ADDRESS_LIMIT_EXEMPT", "192.0.2.0/24")
}

/// The head of a request of this user, up to further headers.
fn head(method: &str, path: &str, token: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: hub.test\r\nAuthorization: Bearer {token}\r\n")
}

fn customer(name: &str) -> String {
    token(name, "customer", &["o1"])
}

async fn ask(raw: &mut RawConnection, method: &str, path: &str, token: &str) -> u16 {
    raw.send((head(method, path, token) + "\r\n").as_bytes()).await;
    raw.answer().await.status
}

/// Whether a new connection finds a place.
async fn is_served(hub: &Hub) -> bool {
    let mut raw = RawConnection::connect(hub.addr).await;
    raw.send_until_refused(b"GET /healthz HTTP/1.1\r\nHost: hub.test\r\n\r\n").await;
    raw.status().await == Some(200)
}

/// A figure of the hub.
async fn figure(hub: &Hub, name: &str) -> u64 {
    figure_at(hub.addr, name).await
}

async fn figure_at(addr: SocketAddr, name: &str) -> u64 {
    // With a token: what strangers hold may leave no room for the answer to one more.
    let request = reqwest::Client::new().get(format!("http://{addr}/metrics"));
    let answer = request.bearer_auth(token("root", "admin", &[])).send().await.expect("an answer");
    let text = answer.text().await.expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

#[tokio::test]
async fn an_answer_to_a_body_that_is_not_read_ends_the_connection() {
    let hub = Hub::start();
    let (ann, root) = (customer("ann"), token("root", "admin", &[]));
    let refused = async |method: &str, path: &str, bearer: &str, status: u16| {
        for body in
            ["Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "Content-Length: 100\r\n\r\nhello"]
        {
            let mut raw = RawConnection::connect(hub.addr).await;
            raw.send((head(method, path, bearer) + body).as_bytes()).await;
            let answer = raw.answer().await;
            assert_eq!((answer.status, answer.ends()), (status, true), "{method} {path}");
            assert!(raw.ends().await, "{method} {path}");
        }
    };
    tokio::join!(
        refused("GET", "/healthz", &ann, 200),
        refused("POST", "/healthz", &ann, 405),
        refused("GET", "/admin/v1/stats", &root, 200),
        refused("GET", "/admin/v1/stats", &ann, 403),
        refused("PUT", "/api/v1/orders/o1", &ann, 403),
        refused("POST", "/nothing", &ann, 404),
        refused("POST", "/%61pi/v1/orders", &ann, 404),
        refused("POST", "/api/v1/orders/o1/messages", "none", 401),
        refused("GET", "/socket.io/?EIO=4&transport=polling", &ann, 200),
        refused("POST", "/socket.io/?EIO=4&transport=polling", &ann, 400),
    );
}

#[tokio::test]
async fn a_phone_that_posts_much_with_an_expired_token_reads_why_it_is_refused() {
    let hub = Hub::start();
    let expired = claims(json!({ "sub": "ann", "exp": 1_000_000_000 }));
    let long = vec![b' '; 885_000];
    for length in ["Content-Length: 885000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nf0000\r\n"]
    {
        for _ in 0..25 {
            let mut raw = RawConnection::connect(hub.addr).await;
            let path = "/api/v1/drivers/me/locations";
            raw.send((head("POST", path, &expired) + length).as_bytes()).await;
            raw.send(&long).await;
            assert_eq!(raw.answer().await.problem(), (401, "token_expired"));
            assert!(raw.ends().await);
        }
    }
}

#[tokio::test]
async fn a_head_has_at_most_16_kib() {
    let hub = Hub::start();
    let filled =
        |bytes| format!("{}X: {}\r\n\r\n", head("GET", "/healthz", "t"), "x".repeat(bytes));
    let mut raw = RawConnection::connect(hub.addr).await;
    raw.send(filled(15_000).as_bytes()).await;
    assert_eq!(raw.answer().await.status, 200);
    for rest in ["\r\n\r\n", ""] {
        let mut raw = RawConnection::connect(hub.addr).await;
        let long = "x".repeat(120 * 1024);
        raw.send(format!("{}{rest}", head("GET", "/healthz", &long).trim_end()).as_bytes()).await;
        let answer = raw.answer().await;
        assert_eq!((answer.problem(), answer.ends()), ((431, "bad_envelope"), true));
        assert!(raw.ends().await);
    }
    // Of a request that follows another, too.
    let mut raw = RawConnection::connect(hub.addr).await;
    assert_eq!(ask(&mut raw, "GET", "/healthz", &customer("ann")).await, 200);
    raw.send(filled(120 * 1024).as_bytes()).await;
    assert_eq!(raw.answer().await.status, 431);
}

#[tokio::test]
async fn empty_lines_before_a_head_do_not_keep_a_connection() {
    let hub = Hub::builder().env("CONNECT_TIMEOUT_MS", 300).start();
    for requests in [0, 1] {
        let mut raw = RawConnection::connect(hub.addr).await;
        for _ in 0..requests {
            assert_eq!(ask(&mut raw, "GET", "/healthz", &customer("ann")).await, 200);
        }
        until("it ends", async || {
            raw.send_until_refused(b"\r\n").await;
            raw.has_ended()
        })
        .await;
    }
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let hub = Hub::builder().env("CONNECT_TIMEOUT_MS", 300).start();
    let mut silent = RawConnection::connect(hub.addr).await;
    assert!(silent.ends().await);
    let mut slow = RawConnection::connect(hub.addr).await;
    slow.send(b"GET /healthz HT").await;
    assert_eq!(slow.answer().await.status, 408);
    let mut second = RawConnection::connect(hub.addr).await;
    assert_eq!(ask(&mut second, "GET", "/healthz", &customer("ann")).await, 200);
    second.send(b"GET /healthz HT").await;
    assert!(second.ends().await);
    // One that comes piece by piece within its time is served.
    let mut pieces = RawConnection::connect(hub.addr).await;
    for piece in ["\r\nGET /healthz", " HTTP/1.1\r", "\nHost: h\r\n\r", "\n"] {
        pieces.send(piece.as_bytes()).await;
    }
    assert_eq!(pieces.answer().await.status, 200);
}

#[tokio::test]
async fn requests_that_come_together_are_answered_one_after_the_other() {
    let hub = Hub::start();
    let back_end = token("back-end", "service", &[]);
    let mut raw = RawConnection::connect(hub.addr).await;
    let get = |path: &str| head("GET", path, &back_end) + "\r\n";
    let put = |rest: &str| {
        let kind = "Content-Type: application/json\r\n";
        head("PUT", "/api/v1/orders/o1", &back_end) + kind + rest
    };
    let all = [
        get("/healthz"),
        put("Content-Length: 2\r\n\r\n{}"),
        get("/nothing"),
        put("Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        get("/api/v1/orders/o1"),
        put("Content-Length: 2\r\n\r\n{}"),
        get("/nothing"),
    ];
    raw.send(all.concat().as_bytes()).await;
    for status in [200, 201, 404, 200, 200, 200, 404] {
        assert_eq!(raw.answer().await.status, status);
    }
    assert_eq!(ask(&mut raw, "GET", "/readyz", &back_end).await, 200);
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_given_up() {
    let hub = Hub::builder().env("SEND_TIMEOUT_MS", 300).start();
    let root = token("root", "admin", &[]);
    for _ in 0..5 {
        let mut raw = RawConnection::connect_narrow(hub.addr).await;
        // It has more than the kernel takes. What stands behind it is not looked at.
        let get = head("GET", "/docs/swagger-ui-bundle.js", &root) + "\r\n";
        raw.send(get.repeat(3).as_bytes()).await;
        until("the answer is under way", async || {
            figure(&hub, "orderhub_http_buffer_bytes").await > 1 << 20
        })
        .await;
        until("it is given up", async || {
            figure(&hub, "orderhub_http_buffer_bytes").await == 0
                && figure(&hub, "orderhub_http_connections").await == 1
        })
        .await;
    }
}

#[tokio::test]
async fn bodies_under_way_are_bounded_by_user() {
    let hub = Hub::builder().env("HTTP_BUFFER_BYTES_PER_USER", 1 << 20).start();
    let half = async |name: &str| {
        let mut raw = RawConnection::connect(hub.addr).await;
        let rest = "Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n";
        let path = "/api/v1/orders/o1/messages";
        raw.send((head("POST", path, &customer(name)) + rest).as_bytes()).await;
        raw.send_until_refused(&vec![b' '; 700_000]).await;
        raw
    };
    let _held = half("ann").await;
    until("it is under way", async || figure(&hub, "orderhub_http_buffer_bytes").await == 700_000)
        .await;
    let mut refused = half("ann").await;
    assert_eq!(refused.answer().await.problem(), (503, "unavailable"));
    assert!(refused.ends().await);
    let _other = half("bob").await;
    until("another user's are", async || {
        figure(&hub, "orderhub_http_buffer_bytes").await == 1_400_000
    })
    .await;
}

/// A new session that polls begins a POST of so many bytes, and sends so many of them.
async fn begin_post(hub: &Hub, length: usize, sent: usize) -> RawConnection {
    let open = handshake(hub).await.text;
    let open: Value = serde_json::from_str(&open[1..]).expect("an open packet");
    let path =
        format!("/socket.io/?EIO=4&transport=polling&sid={}", open["sid"].as_str().expect("one"));
    let mut raw = RawConnection::connect(hub.addr).await;
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: hub.test\r\nContent-Length: {length}\r\n\r\n");
    raw.send(head.as_bytes()).await;
    raw.send_until_refused(&vec![b'4'; sent]).await;
    raw
}

#[tokio::test]
async fn posts_before_a_login_are_short_and_a_full_pool_ends_no_session() {
    const SHORT: usize = 32 * 1024;
    let hub = Hub::builder().env("HTTP_BUFFER_BYTES", 1 << 20).start();
    assert_eq!(begin_post(&hub, SHORT + 1, SHORT + 1).await.answer().await.status, 413);
    let mut client = SocketIoClient::open_polling(&hub).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(begin_post(&hub, SHORT, SHORT - 1).await);
    }
    let is_held = async |bytes| figure(&hub, "orderhub_http_buffer_bytes").await == bytes;
    until("the share is taken", async || is_held(8 * (SHORT as u64 - 1)).await).await;
    let login = json!({ "token": customer("ann") });
    let connect = client.connect_packet(login.clone());
    let refused = client.polling().post(&[connect]).await;
    assert_eq!(refused.problem(), (503, "unavailable"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(held);
    until("it is free again", async || is_held(0).await).await;
    client.connect(login).await.expect("the same session lets her in");
    let long = client.event_packet(Some(1), "ping", &json!("x".repeat(60_000)));
    assert_eq!(client.polling().post(&[long]).await.status, 200);
}

#[tokio::test]
async fn connections_of_a_user_are_bounded() {
    let hub = strict().env("MAX_HTTP_CONNECTIONS_PER_USER", 2).start();
    let connect = async |token: &str| {
        let mut raw = RawConnection::connect(hub.addr).await;
        raw.send((head("GET", "/healthz", token) + "\r\n").as_bytes()).await;
        let answer = raw.answer().await;
        (raw, answer)
    };
    let ann = customer("ann");
    let (first, _) = connect(&ann).await;
    let (mut second, _) = connect(&ann).await;
    let (mut third, refused) = connect(&ann).await;
    assert_eq!(refused.problem(), (429, "rate_limited"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(third.ends().await);
    assert_eq!(connect(&customer("bob")).await.1.status, 200, "another user");
    assert_eq!(ask(&mut second, "GET", "/healthz", &ann).await, 200);
    // WebSockets are no part of it.
    let _socket = RawConnection::login(&hub, "ann", &["o1"]).await;
    let back_end = token("back-end", "service", &[]);
    let mut held = Vec::new();
    for _ in 0..5 {
        let (raw, answer) = connect(&back_end).await;
        assert_eq!(answer.status, 200);
        held.push(raw);
    }
    drop(first);
    until("the place is free", async || connect(&ann).await.1.status == 200).await;
}

#[tokio::test]
async fn connections_without_a_token_are_bounded_by_address() {
    let hub = strict().env("MAX_UNAUTHENTICATED_PER_ADDRESS", 1).env("CONNECT_TIMEOUT_MS", 60_000);
    let hub = hub.start();
    let mut known = RawConnection::connect(hub.addr).await;
    // Once a good token has come a connection takes no part of it.
    assert_eq!(ask(&mut known, "GET", "/healthz", &customer("ann")).await, 200);
    let (mut one, mut two) =
        (RawConnection::connect(hub.addr).await, RawConnection::connect(hub.addr).await);
    // Workers take connections in no order: either is refused, and the other waits for its head.
    let answer = tokio::select! {
        answer = one.answer() => answer,
        answer = two.answer() => answer,
    };
    assert_eq!(answer.problem(), (503, "unavailable"));
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert_eq!(ask(&mut known, "GET", "/healthz", &customer("ann")).await, 200);
    drop((one, two));
    until("a place is free", async || is_served(&hub).await).await;
}

#[tokio::test]
async fn sessions_without_a_login_are_bounded_by_the_address_that_a_proxy_names() {
    let hub = Hub::builder()
        .env("TRUSTED_PROXIES", "127.0.0.1")
        .env("MAX_UNAUTHENTICATED_PER_ADDRESS", 2)
        .start();
    let http = reqwest::Client::new();
    let shake_hands = async |client: &str| {
        let url = hub.url("/socket.io/?EIO=4&transport=polling");
        let answer = http.get(url).header("x-forwarded-for", client).send().await;
        answer.expect("an answer").status().as_u16()
    };
    for (client, status) in [
        ("203.0.113.9", 200),
        ("203.0.113.9", 200),
        ("203.0.113.9", 503),
        ("203.0.113.9:4000", 503),
        ("203.0.113.8:4000", 200),
        ("2001:db8:0:7::1", 200),
        ("2001:db8:0:7::2", 200),
        ("2001:db8:0:7:ffff::3", 503),
        ("2001:db8:0:8::1", 200),
    ] {
        assert_eq!(shake_hands(client).await, status, "{client}");
    }
}

#[tokio::test]
async fn connections_are_bounded_and_an_admin_comes_in_all_the_same() {
    let admin = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let admin: SocketAddr = admin.expect("a free port");
    let hub = Hub::builder().env("MAX_HTTP_CONNECTIONS", 32).env("MAX_CONNECTIONS", 1);
    let hub = hub.env("ADMIN_BIND", admin).env("CONNECT_TIMEOUT_MS", 60_000).start();
    let mut socket = RawConnection::login(&hub, "ann", &["o1"]).await;
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(RawConnection::connect(hub.addr).await);
    }
    // And the one that asks.
    until("all are in", async || figure_at(admin, "orderhub_http_connections").await == 33).await;
    let mut refused = RawConnection::connect(hub.addr).await;
    assert_eq!(refused.answer().await.problem(), (503, "unavailable"));
    assert!(refused.ends().await);
    socket.join("o1").await;
    let url = format!("http://{admin}/admin/v1/users/bob/sessions");
    let banned = reqwest::Client::new().request(Method::DELETE, url);
    let banned = banned.bearer_auth(token("root", "admin", &[])).send().await.expect("an answer");
    assert_eq!(banned.status(), 200);
    drop(held);
    until("there is a place again", async || is_served(&hub).await).await;
}

#[tokio::test]
async fn a_flood_of_connections_does_not_use_up_the_files() {
    let hub = Hub::builder().through("ulimit -n 400; exec \"$0\"").start();
    let mut socket = RawConnection::login(&hub, "ann", &["o1"]).await;
    for _ in 0..3 {
        let mut flood = Vec::new();
        for _ in 0..500 {
            flood.push(RawConnection::connect(hub.addr).await);
        }
        // A message needs a file of the database, a login one of its own.
        let said = json!({ "orderId": "o1", "content": "hello" });
        socket.say("chat:message", said, 1).await;
        let ack = loop {
            let event = socket.event().await;
            if event["event"] == "ack" {
                break event;
            }
        };
        assert_eq!(ack["data"]["ok"], true, "{ack}");
    }
    until("there is a place again", async || is_served(&hub).await).await;
    RawConnection::login(&hub, "bob", &["o1"]).await.join("o1").await;
    assert!(!hub.log().contains("open files"), "{}", hub.log());
}

#[tokio::test]
async fn a_plain_request_that_speaks_of_an_upgrade_keeps_its_connection() {
    let hub = Hub::start();
    let mut raw = RawConnection::connect(hub.addr).await;
    for upgrade in [
        "Connection: upgrade\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Connection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n",
        "Connection: upgrade\r\nUpgrade: \r\n",
    ] {
        for path in ["/healthz", "/admin/v1/stats", "/socket.io/?EIO=4&transport=polling"] {
            let root = token("root", "admin", &[]);
            raw.send((head("GET", path, &root) + upgrade + "\r\n").as_bytes()).await;
            let answer = raw.answer().await;
            assert_eq!((answer.status, answer.header("connection")), (200, None), "{upgrade}");
        }
    }
}
