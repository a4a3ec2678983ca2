//! The log: a reader that stalls or is gone costs lines, and strangers cause hardly any.

use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Write as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::support::raw::{RawConnection, TEXT, UpgradeRequest, frame};
use super::support::rooms::say;
use super::support::{Hub, SECRET, claims, now, until};
use serde_json::{Value, json};

/// How long a hub with nothing to do may take to end, though its log is stuck.
const SOON: Duration = Duration::from_secs(10);

/// One sample of `/metrics`.
async fn metric(hub: &Hub, name: &str) -> u64 {
    let text = reqwest::get(hub.url("/metrics")).await.expect("metrics").text().await;
    let text = text.expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a count")
}

async fn dropped(hub: &Hub, reason: &str) -> u64 {
    metric(hub, &format!("orderhub_log_lines_dropped_total{{reason=\"{reason}\"}}")).await
}

/// Connects clients that talk to each other until so many lines were dropped.
async fn serve_until_dropped(hub: &Hub, reason: &str) {
    let mut round = 0;
    until("lines that are dropped", async || {
        round += 1;
        let order = format!("o{round}");
        let mut driver = hub.connect("ann", "driver", &[&order]).await;
        let mut customer = hub.connect("bob", "customer", &[&order]).await;
        driver.join(&order).await;
        customer.join(&order).await;
        say(&mut driver, &order, "hello").await;
        assert_eq!(customer.expect("chat:message").await["content"], "hello");
        assert_eq!(hub.status("/healthz").await, 200);
        dropped(hub, reason).await > 0
    })
    .await;
}

#[tokio::test]
async fn an_unread_log_blocks_nothing_and_later_counts_its_lost_lines() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut hub = Hub::builder().without_rates().env("RUST_LOG", "trace").stderr(writer).start();
    serve_until_dropped(&hub, "queue_full").await;
    let mut clients = Vec::new();
    for user in 0..100 {
        clients.push(hub.connect(&format!("user-{user}"), "customer", &["o1"]).await);
    }
    for client in &mut clients {
        client.join("o1").await;
    }
    let missing = read_until_notice(reader);
    assert!(missing > 0);
    drop(clients);
    hub.signal("TERM");
    assert!(hub.ended().await.success());
}

/// Reads the log until it says how many lines are missing. Reads on afterwards, on another thread.
fn read_until_notice(reader: PipeReader) -> u64 {
    let (found, notice) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines() {
            let line = line.expect("text");
            if let Some((words, _)) = line.split_once(" lines of this log were dropped") {
                let count = words.rsplit(' ').next().and_then(|count| count.parse().ok());
                // Only the first is waited for.
                found.send(count.expect("a count")).ok();
            }
        }
    });
    notice.recv_timeout(Duration::from_secs(15)).expect("a line that says so")
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_log_that_is_not_read() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut hub = Hub::builder().without_rates().env("RUST_LOG", "trace").stderr(writer).start();
    serve_until_dropped(&hub, "queue_full").await;
    let asked = Instant::now();
    hub.signal("TERM");
    assert!(hub.ended().await.success());
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    drop(reader);
}

#[tokio::test]
async fn a_hub_goes_on_when_its_logs_reader_is_gone() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut hub = Hub::builder().without_rates().stderr(writer).start();
    serve_until_dropped(&hub, "write_failed").await;
    hub.signal("TERM");
    assert!(hub.ended().await.success());
}

#[tokio::test]
async fn a_stop_writes_the_log_to_its_end() {
    let mut hub = Hub::start();
    let mut client = hub.connect("ann", "customer", &["o1"]).await;
    client.join("o1").await;
    let log = hub.whole_log().await;
    assert!(log.lines().any(|line| line.ends_with("orderhub::server::drain] stopped")), "{log}");
}

/// A pipe that takes nothing more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut stuck = writer.try_clone().expect("a second end");
    std::thread::spawn(move || while stuck.write_all(&[b'x'; 4096]).is_ok() {});
    (reader, writer)
}

#[tokio::test]
async fn a_banner_that_is_not_read_stops_nothing() {
    let (unread, stdout) = full_pipe();
    let (log, stderr) = std::io::pipe().expect("a pipe");
    let dir = tempfile::tempdir().expect("a folder");
    let mut hub = Command::new(env!("CARGO_BIN_EXE_orderhub"))
        .env_clear()
        .env("DATA_DIR", dir.path())
        .env("BIND_ADDR", "127.0.0.1:0")
        .env("JWT_SECRET", SECRET)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .expect("the program");
    // The log says it too.
    let mut lines = BufReader::new(log).lines().map(|line| line.expect("text"));
    let address =
        lines.find_map(|line| line.split_once("listening on: ").map(|at| at.1.to_owned()));
    let address: SocketAddr = address.expect("a line").parse().expect("an address");
    let answer = reqwest::get(format!("http://{address}/readyz")).await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200);
    hub.kill().expect("it runs");
    hub.wait().expect("it ends");
    drop(unread);
}

#[test]
fn a_start_that_fails_ends_though_stderr_is_not_read() {
    let (unread, stderr) = full_pipe();
    let mut hub = Command::new(env!("CARGO_BIN_EXE_orderhub"))
        .env_clear()
        .env("WORKERS", "none")
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .expect("the program");
    let deadline = Instant::now() + SOON;
    let status = loop {
        if let Some(status) = hub.try_wait().expect("a child") {
            break status;
        }
        assert!(Instant::now() < deadline, "it hangs");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(1));
    drop(unread);
}

#[tokio::test]
async fn a_panic_is_a_line_of_the_log() {
    let bomb = "explode";
    let hub = Hub::builder()
        .without_rates()
        .env("ORDERHUB_TEST_PANIC_ON", bomb)
        .env("LOG_FORMAT", "json")
        .start();
    let mut driver = hub.connect("ann", "driver", &["o1"]).await;
    driver.join("o1").await;
    driver.request("chat:message", json!({ "orderId": "o1", "content": bomb })).await;
    until("the panic in the log", async || hub.log().contains("panicked")).await;
    let log = hub.log();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let told = lines.iter().find(|line| line["target"] == "orderhub::panic").expect("a panic");
    assert_eq!(told["level"], "error");
    assert!(told["msg"].as_str().expect("text").contains("panicked at"), "{told}");
}

/// What strangers send to a port of HTTP, each the beginning of a connection.
fn rubbish() -> Vec<Vec<u8>> {
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03GARBAGE".to_vec();
    let chunks = "POST /api/v1/orders/o1/status HTTP/1.1\r\nHost: x\r\n\
        Transfer-Encoding: chunked\r\n\r\nzz\r\n";
    let mut cases = vec![hello, vec![0; 1000], vec![0xFF; 1000]];
    cases.extend(
        [
            "hello\r\n\r\n",
            "GET / HTTP/9.9\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "GET /\u{7f} HTTP/1.1\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: minus one\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            "GET /ws HTTP/1.1\r\nHost: x\r\n\r\nGARBAGE\r\n\r\n",
            "\r\n\r\n\r\n\r\n\u{0}",
            chunks,
        ]
        .map(|case| case.as_bytes().to_vec()),
    );
    cases.push(format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000)).into_bytes());
    cases.push([b"GET / HTTP/1.1\r\n".as_slice(), &b"X: y\r\n".repeat(500), b"\r\n"].concat());
    cases
}

#[tokio::test]
async fn invalid_input_of_unauthenticated_clients_is_counted_and_not_logged() {
    let hub = Hub::builder().env("CONNECT_TIMEOUT_MS", 1000).start();
    let malformed = "orderhub_http_connection_errors_total{reason=\"malformed\"}";
    let cases = rubbish();
    for case in &cases {
        let mut raw = RawConnection::connect(hub.addr).await;
        raw.send_until_refused(case).await;
        assert!(raw.ends().await);
    }
    // Half a head and a reset, half a head and an end, half a head and nothing more.
    let half = b"GET / HTTP/1.1\r\nHost: ";
    reset_after(hub.addr, half);
    let mut left = RawConnection::connect(hub.addr).await;
    left.send(half).await;
    left.hang_up().await;
    assert!(left.ends().await);
    let mut silent = RawConnection::connect(hub.addr).await;
    silent.send(half).await;
    assert!(silent.ends().await);
    // Answers whose readers are gone.
    for _ in 0..20 {
        reset_after(hub.addr, &b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50));
    }
    // Upgrades that are none.
    let upgrade = UpgradeRequest::anonymous();
    assert_eq!(upgrade.ask(&hub).await.status, 401);
    reset_after(hub.addr, &upgrade.head());
    until("the count", async || metric(&hub, malformed).await >= 14).await;
    // What comes last in the log is not of the start, however late that was written.
    hub.connect("ann", "customer", &[]).await;
    until("the last line", async || hub.log().contains("user=ann")).await;
    let log = hub.log();
    let of_the_start = ["actix_server::", "io_uring", " listens on "];
    let about_clients = |line: &&str| !of_the_start.iter().any(|words| line.contains(words));
    let lines: Vec<&str> = log.lines().filter(about_clients).collect();
    assert!(lines.iter().all(|line| line.contains("user=ann")), "{log}");
}

/// Sends bytes and resets the connection.
fn reset_after(addr: SocketAddr, bytes: &[u8]) {
    let stream = std::net::TcpStream::connect(addr).expect("a connection");
    let socket = socket2::Socket::from(stream);
    socket.set_linger(Some(Duration::ZERO)).expect("a reset at the end");
    (&socket).write_all(bytes).expect("an open socket");
}

/// A handshake of a Socket.IO client with this query and this name; the code of its refusal.
async fn refused_handshake(hub: &Hub, query: &str, agent: Option<&str>, websocket: bool) -> i64 {
    let upgrade = UpgradeRequest::anonymous().path(format!("/socket.io/?{query}"));
    let upgrade = if websocket { upgrade } else { upgrade.without("Upgrade") };
    let upgrade = match agent {
        Some(agent) => upgrade.header("User-Agent", agent),
        None => upgrade,
    };
    let answer = upgrade.instead("Connection", if websocket { "Upgrade" } else { "close" });
    let answer = answer.ask(hub).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    answer.body["code"].as_i64().expect("a code")
}

#[tokio::test]
async fn an_old_client_is_refused_counted_and_logged_once_for_each_user_agent() {
    let hub = Hub::start();
    let old = "EIO=3&transport=";
    for agent in [Some("okhttp/3.12.1"), Some("a\"\tb"), None] {
        for websocket in [false, true, false] {
            let query = format!("{old}{}", if websocket { "websocket" } else { "polling&b64=1" });
            assert_eq!(refused_handshake(&hub, &query, agent, websocket).await, 5);
        }
    }
    assert_eq!(refused_handshake(&hub, "transport=polling", Some("curl"), false).await, 5);
    assert_eq!(metric(&hub, "orderhub_unsupported_clients_total").await, 10);
    // More than are logged.
    for number in 0..110 {
        let agent = format!("agent-{number}");
        refused_handshake(&hub, "EIO=3&transport=polling", Some(&agent), false).await;
    }
    hub.connect("ann", "customer", &[]).await;
    let log = hub.logged("user=ann").await;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("speaks EIO \"3\"")).collect();
    for agent in ["\"okhttp/3.12.1\"", "\"a\\\"\\tb\"", "\"\"", "\"agent-7\""] {
        let count = lines.iter().filter(|line| line.ends_with(agent)).count();
        assert_eq!(count, 1, "{agent} in {lines:#?}");
    }
    assert_eq!(lines.len(), 100);
    assert!(!log.contains("curl"));
}

#[tokio::test]
async fn a_user_who_breaks_every_rule_causes_no_warning() {
    let hub = Hub::start();
    let exp = now() + 3600;
    let token = claims(json!({ "sub": "eve", "role": "customer", "orders": ["o1"], "exp": exp }));
    for case in [&frame(TEXT, b"{"), &frame(TEXT, &[0xFF; 9]), &frame(0x83, b""), &vec![0; 9]] {
        let mut raw = RawConnection::connect(hub.addr).await.logged_in(&token).await;
        raw.join("o1").await;
        raw.send(case).await;
        raw.hang_up().await;
        assert!(raw.ends().await);
    }
    let polled = reqwest::Client::new().post(hub.url("/socket.io/?EIO=4&transport=polling"));
    assert!(polled.body("x").send().await.expect("an answer").status().is_client_error());
    let log = hub.log();
    assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "{log}");
}
