//! How the hub goes down: nothing that it admitted is lost, and every client knows when to return.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::support::{Client, Database, Hub, each_database, token, until};

/// Long enough for a test to look around between the signal and the first close.
const DELAY: Duration = Duration::from_secs(2);
const DRAIN: Duration = Duration::from_secs(5);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(3);

/// A hub that leaves time between the signal and the first close.
fn patient(database: &Database) -> Hub {
    let hub = database.hub().env("DRAIN_DELAY_SECS", DELAY.as_secs());
    hub.env("DRAIN_SECS", DRAIN.as_secs()).start()
}

/// So many customers in the room of `o1`.
async fn customers(hub: &Hub, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..count {
        let mut client = hub.connect(&format!("customer-{number}"), "customer", &["o1"]).await;
        client.join("o1").await;
        clients.push(client);
    }
    clients
}

async fn not_ready(hub: &Hub) {
    until("/readyz 503", async || hub.status("/readyz").await == 503).await;
}

/// Upgrades are refused: with 503, and to a browser, which could not see that, with 1013.
async fn upgrades_are_refused(hub: &Hub) {
    let request = |protocols: Option<&str>| {
        let mut request = format!("ws://{}/ws", hub.addr).into_client_request().expect("a request");
        let token = token("late", "customer", &["o1"]);
        let (name, value) = match protocols {
            Some(protocol) => {
                ("sec-websocket-protocol", format!("{protocol}, orderhub.jwt.{token}"))
            }
            None => ("authorization", format!("Bearer {token}")),
        };
        request.headers_mut().insert(name, value.parse().expect("a header"));
        request
    };
    let refused = tokio_tungstenite::connect_async(request(None)).await.expect_err("refused");
    let tokio_tungstenite::tungstenite::Error::Http(answer) = refused else {
        panic!("{refused}");
    };
    assert_eq!(answer.status().as_u16(), 503);
    let wait: u64 = answer.headers()["retry-after"].to_str().expect("text").parse().expect("secs");
    assert!((1..=60).contains(&wait), "{wait}");
    let problem = answer.body().as_deref().unwrap_or_default();
    let problem: Value = serde_json::from_slice(problem).expect("a problem");
    assert_eq!(problem["code"], "unavailable");

    let browser = tokio_tungstenite::connect_async(request(Some("orderhub.v1"))).await;
    let mut browser = Client::over(browser.expect("an upgrade").0);
    assert_eq!(browser.closed().await.code, 1013);
}

/// Waits for a session's end: what it is told, and that 1012 follows.
async fn farewell(client: &mut Client) -> u64 {
    let closed = client.closed().await;
    assert_eq!(closed.code, 1012, "{closed:?}");
    let end = client.seen.pop_back().expect("something before the close");
    assert_eq!(end["event"], "session:end", "{end}");
    assert_eq!((&end["data"]["code"], &end["data"]["retry"]), (&json!(1012), &json!(true)));
    end["data"]["reconnectAfterMs"].as_u64().expect("a time")
}

async fn goes_down_on(signal: &str) {
    let mut hub = patient(&Database { postgres: None });
    let mut clients = customers(&hub, 8).await;
    assert_eq!(hub.status("/readyz").await, 200);
    let told = Instant::now();
    hub.signal(signal);
    not_ready(&hub).await;
    assert_eq!(hub.status("/healthz").await, 200);
    let said = json!({ "orderId": "o1", "content": "too late" });
    let refused = clients[0].request("chat:message", said).await;
    assert_eq!((&refused["ok"], &refused["error"]["code"]), (&json!(false), &json!("unavailable")));
    upgrades_are_refused(&hub).await;

    let mut returns = BTreeSet::new();
    for client in &mut clients {
        let after = farewell(client).await;
        assert!((1000..=5000).contains(&after), "{after}");
        assert!(returns.insert(after), "{after} twice: they would all come back together");
    }
    assert!(told.elapsed() >= DELAY, "load balancers had their time");
    assert_eq!(hub.ended().await.code(), Some(0));
    assert!(told.elapsed() < DELAY + DRAIN + SLACK, "{:?}", told.elapsed());
}

#[tokio::test]
async fn sigterm_drains() {
    goes_down_on("TERM").await;
}

#[tokio::test]
async fn sigint_drains() {
    goes_down_on("INT").await;
}

#[tokio::test]
async fn chat_that_was_admitted_is_stored_and_acknowledged_before_the_end() {
    each_database(async |database: Database| {
        let mut hub = patient(&database);
        let mut clients = customers(&hub, 6).await;
        let mut locked = database.lock(&hub);
        let mut asked = Vec::new();
        for client in &mut clients {
            for number in 0..5 {
                let said = json!({ "orderId": "o1", "content": number.to_string() });
                asked.push(client.ask("chat:message", said).await);
            }
        }
        until("all to wait for the database", async || {
            let (_, stats) = hub.admin(Method::GET, "/admin/v1/stats").await;
            stats["storeQueue"] == asked.len()
        })
        .await;
        hub.signal("TERM");
        not_ready(&hub).await;
        locked.batch_execute("ROLLBACK").expect("released");

        let mut seqs = BTreeSet::new();
        for (client, asked) in clients.iter_mut().zip(asked.chunks(5)) {
            farewell(client).await;
            for id in asked {
                let ack = client.reply(*id).await;
                assert_eq!(ack["ok"], true, "{ack}");
                seqs.insert(ack["seq"].as_i64().expect("a seq"));
            }
            let heard = client.seen.iter().filter(|event| event["event"] == "chat:message");
            let heard: Vec<_> = heard.map(|event| event["data"]["seq"].as_i64()).collect();
            assert_eq!(heard, (1..=30).map(Some).collect::<Vec<_>>(), "all of them, in order");
        }
        assert_eq!(seqs, (1..=30).collect());
        assert_eq!(hub.ended().await.code(), Some(0));
        let hub = hub.start_again();
        let mut reader = hub.connect("reader", "customer", &["o1"]).await;
        assert_eq!(reader.join("o1").await["lastSeq"], 30, "stored");
    })
    .await;
}

#[tokio::test]
async fn a_hanging_database_does_not_delay_session_end() {
    each_database(async |database: Database| {
        let mut hub = database.hub().env("DRAIN_SECS", DRAIN.as_secs()).start();
        let mut clients = customers(&hub, 3).await;
        let locked = database.lock(&hub);
        let said = json!({ "orderId": "o1", "content": "during" });
        let asked = clients[0].ask("chat:message", said).await;
        until("it to wait for the database", async || {
            hub.admin(Method::GET, "/admin/v1/stats").await.1["storeQueue"] == 1
        })
        .await;
        let told = Instant::now();
        hub.signal("TERM");
        for client in &mut clients {
            farewell(client).await;
        }
        let promised = |event: &&Value| event["id"] == asked && event["data"]["ok"] == true;
        assert!(clients[0].seen.iter().find(promised).is_none(), "an ack of what was not stored");
        assert_eq!(hub.ended().await.code(), Some(0));
        assert!(told.elapsed() < DRAIN + SLACK, "{:?}", told.elapsed());
        drop(locked);
    })
    .await;
}

#[tokio::test]
async fn a_stop_right_after_the_start_drains_too() {
    let mut hub = Hub::start();
    hub.signal("TERM");
    assert_eq!(hub.ended().await.code(), Some(0));
    assert!(hub.log().contains("draining"), "{}", hub.log());
}

/// A client by hand, whose socket nobody reads once it has joined.
async fn deaf(hub: &Hub) -> TcpStream {
    let mut socket = TcpStream::connect(hub.addr).await.expect("a connection");
    let token = token("deaf", "customer", &["o1"]);
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 101");
    let join = br#"{"event":"order:join","data":{"orderId":"o1"}}"#;
    let length = u8::try_from(join.len()).expect("short");
    // Masked with zeros.
    let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], &join[..]].concat();
    socket.write_all(&frame).await.expect("sent");
    socket
}

/// What the admin sees of a user in the room of `o1`.
async fn session_of(hub: &Hub, user: &str) -> Option<Value> {
    let (_, room) = hub.admin(Method::GET, "/admin/v1/rooms/o1").await;
    let sessions = room["sessionsDetail"].as_array()?;
    sessions.iter().find(|session| session["userId"] == user).cloned()
}

#[tokio::test]
async fn a_client_that_does_not_read_delays_no_drain_and_loses_no_position() {
    let hub = Hub::builder().without_rates();
    let mut hub = hub.env("DRAIN_SECS", DRAIN.as_secs()).start();
    let mut driver = hub.connect("driver", "driver", &["o1"]).await;
    driver.join("o1").await;
    let deaf = deaf(&hub).await;
    until("the join", async || session_of(&hub, "deaf").await.is_some()).await;
    let long = "ü".repeat(4000);
    until("the socket to take no more", async || {
        let said = json!({ "orderId": "o1", "content": long });
        assert_eq!(driver.request("chat:message", said).await["ok"], true);
        let session = session_of(&hub, "deaf").await.expect("it is still there");
        session["backlogFrames"].as_u64() > Some(1)
    })
    .await;
    let fix = json!({ "orderId": "o1", "lat": 1.5, "lng": 2.0 });
    assert_eq!(driver.request("driver:location", fix).await["accepted"], 1);

    let told = Instant::now();
    hub.signal("TERM");
    farewell(&mut driver).await;
    drop(driver);
    assert_eq!(hub.ended().await.code(), Some(0));
    assert!(told.elapsed() < DRAIN + SLACK, "{:?}", told.elapsed());
    drop(deaf);
    let hub = hub.start_again();
    let mut customer = hub.connect("customer", "customer", &["o1"]).await;
    assert_eq!(customer.join("o1").await["lastLocation"]["lat"], 1.5, "written all the same");
}

#[tokio::test]
async fn an_orderly_stop_leaves_the_whole_database_in_one_file() {
    let mut hub = Hub::start();
    let mut client = hub.connect("ann", "customer", &["o1"]).await;
    let ack = client.request("chat:message", json!({ "orderId": "o1", "content": "hi" })).await;
    assert_eq!(ack["seq"], 1, "{ack}");
    let log = hub.data_dir().join("orderhub.sqlite3-wal");
    assert!(log.metadata().expect("a log").len() > 0, "what was said is in the log first");
    client.close().await;
    hub.signal("TERM");
    assert!(hub.wait().success());
    assert_eq!(log.metadata().map_or(0, |log| log.len()), 0, "{}", hub.log());
}
