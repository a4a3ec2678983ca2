//! A client that speaks bytes: request heads and WebSocket frames as a test writes them, right or
//! wrong.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::client::TIMEOUT;
use super::{Hub, token};

/// A text message in one frame.
pub const TEXT: u8 = 0x81;
/// A close frame.
pub const CLOSE: u8 = 0x88;
/// A ping.
pub const PING: u8 = 0x89;
/// A pong.
pub const PONG: u8 = 0x8A;

/// The mask of every frame.
const MASK: [u8; 4] = [0xA1, 0x02, 0x77, 0x40];

/// A request to upgrade. As it begins it is right, but has no token.
pub struct UpgradeRequest {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct HttpAnswer {
    pub status: u16,
    headers: Vec<(String, String)>,
    /// Its JSON, null where it has none.
    pub body: Value,
    /// Its body as it came.
    pub text: String,
}

/// One connection.
pub struct RawConnection {
    stream: TcpStream,
    /// Bytes that came and were not taken yet.
    received: Vec<u8>,
    /// How many bytes are read at each tick, where it reads slowly.
    pace: Option<(Interval, u64)>,
}

/// How the hub ended a connection.
#[derive(Debug)]
pub struct RawEnding {
    /// Of its close frame.
    pub code: u16,
    pub reason: String,
    /// What it said before.
    pub said: Vec<Value>,
}

// === impl UpgradeRequest ===

impl UpgradeRequest {
    /// Without a token.
    pub fn anonymous() -> Self {
        let headers = [
            ("Host", "hub.test"),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { method: "GET", path: "/ws".to_owned(), headers }
    }

    /// With a token in the `Authorization` header.
    pub fn bearer(token: &str) -> Self {
        Self::anonymous().header("Authorization", format!("Bearer {token}"))
    }

    /// With a token beside the subprotocol, as browsers do it.
    pub fn browser(token: &str) -> Self {
        let offer = format!("orderhub.v1, orderhub.jwt.{token}");
        Self::anonymous().header("Sec-WebSocket-Protocol", offer)
    }

    pub fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// One header more.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Another value in the place of what the header had.
    pub fn instead(self, name: &str, value: impl Into<String>) -> Self {
        self.without(name).header(name, value)
    }

    /// Without a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(present, _)| present != name);
        self
    }

    /// The bytes of the head.
    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.extend([name.as_str(), ": ", value, "\r\n"]);
        }
        (head + "\r\n").into_bytes()
    }

    /// Asks, and gives the answer.
    pub async fn ask(&self, hub: &Hub) -> HttpAnswer {
        self.open(hub).await.1
    }

    /// Asks, and gives the connection with the answer.
    pub async fn open(&self, hub: &Hub) -> (RawConnection, HttpAnswer) {
        let mut raw = RawConnection::connect(hub.addr).await;
        raw.send(&self.head()).await;
        let answer = raw.answer().await;
        (raw, answer)
    }
}

// === impl HttpAnswer ===

impl HttpAnswer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(present, _)| present.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Whether the connection ends behind it.
    pub fn ends(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The status with the code of a problem, after a look at its form.
    #[track_caller]
    pub fn problem(&self) -> (u16, &str) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.body["status"], self.status);
        (self.status, self.body["code"].as_str().expect("a code"))
    }
}

// === impl RawConnection ===

impl RawConnection {
    /// A TCP connection on which nothing was said yet.
    pub async fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).await.expect("a connection"))
    }

    /// One that takes only a few kilobytes which it does not read.
    pub async fn connect_narrow(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        Self::over(socket.connect(addr).await.expect("a connection"))
    }

    /// One that reads so many bytes a second, like a phone on a bad line.
    pub async fn connect_slow(addr: SocketAddr, bytes_per_second: u64) -> Self {
        let mut ticks = interval(Duration::from_millis(50));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let pace = Some((ticks, bytes_per_second / 20));
        Self { pace, ..Self::connect_narrow(addr).await }
    }

    fn over(stream: TcpStream) -> Self {
        Self { stream, received: Vec::new(), pace: None }
    }

    /// A session of this user, who may join these orders; the `connected` event is taken.
    pub async fn login(hub: &Hub, user: &str, orders: &[&str]) -> Self {
        let raw = Self::connect(hub.addr).await;
        raw.logged_in(&token(user, "customer", orders)).await
    }

    /// Upgrades with a token and takes the `connected` event.
    pub async fn logged_in(mut self, token: &str) -> Self {
        self.send(&UpgradeRequest::bearer(token).head()).await;
        assert_eq!(self.answer().await.status, 101);
        assert_eq!(self.event().await["event"], "connected");
        self
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("an open socket");
    }

    /// Sends bytes, or as many of them as the hub takes before it ends the connection.
    pub async fn send_until_refused(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.ok();
    }

    /// Sends an event with an id to answer to.
    pub async fn say(&mut self, event: &str, data: Value, id: u64) {
        let text = json!({ "event": event, "data": data, "id": id }).to_string();
        self.send(&frame(TEXT, text.as_bytes())).await;
    }

    /// Joins a room; events before the reply are passed over.
    pub async fn join(&mut self, order: &str) {
        let id = 1_000_000;
        self.say("order:join", json!({ "orderId": order }), id).await;
        loop {
            let event = self.event().await;
            if event["event"] == "ack" && event["id"] == id {
                assert_eq!(event["data"]["ok"], true, "{event}");
                return;
            }
        }
    }

    /// Ends the sending side: the hub sees that nothing follows.
    pub async fn hang_up(&mut self) {
        self.stream.shutdown().await.expect("an open socket");
    }

    /// Reads an HTTP answer.
    pub async fn answer(&mut self) -> HttpAnswer {
        let head = loop {
            if let Some(end) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                break String::from_utf8(self.take(end + 4)).expect("a head");
            }
            assert!(self.read().await, "an answer, not the end after {:?}", self.received);
        };
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status.and_then(|status| status.parse().ok()).expect("a status");
        let split = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_owned(), value.to_owned())
        };
        let (headers, text) = (lines.map(split).collect(), String::new());
        let mut answer = HttpAnswer { status, headers, body: Value::Null, text };
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().expect("a length");
            let body = self.exactly(length).await.expect("a whole body");
            answer.body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            answer.text = String::from_utf8(body).expect("text");
        }
        answer
    }

    /// The next frame of the hub: its first byte and its payload. None at the end.
    pub async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let header = self.exactly(2).await?;
        assert!(header[1] < 0x80, "the hub does not mask");
        let length = match header[1] {
            126 => {
                let length = self.exactly(2).await?;
                usize::from(u16::from_be_bytes(length.try_into().expect("two bytes")))
            }
            127 => {
                let length = self.exactly(8).await?;
                let length = u64::from_be_bytes(length.try_into().expect("eight bytes"));
                usize::try_from(length).expect("a sane length")
            }
            short => usize::from(short),
        };
        Some((header[0], self.exactly(length).await?))
    }

    /// The next event; control frames are passed over.
    pub async fn event(&mut self) -> Value {
        loop {
            match self.frame().await.expect("an open connection") {
                (TEXT, text) => return serde_json::from_slice(&text).expect("JSON"),
                (PING | PONG, _) => {}
                other => panic!("no event: {other:?}"),
            }
        }
    }

    /// Reads until the hub has closed and ended the connection.
    pub async fn ending(&mut self) -> RawEnding {
        let mut said = Vec::new();
        loop {
            match self.frame().await {
                Some((TEXT, text)) => said.push(serde_json::from_slice(&text).expect("JSON")),
                Some((PING | PONG, _)) => {}
                Some((CLOSE, payload)) => {
                    let (code, reason) = payload.split_first_chunk().expect("a code");
                    let reason = String::from_utf8(reason.to_vec()).expect("text");
                    assert_eq!(self.frame().await, None, "nothing follows a close frame");
                    return RawEnding { code: u16::from_be_bytes(*code), reason, said };
                }
                other => panic!("no close frame but {other:?}, after {said:?}"),
            }
        }
    }

    /// Whether the hub ends the connection in time; what it says before is thrown away.
    pub async fn ends(&mut self) -> bool {
        while self.read().await {
            self.received.clear();
        }
        true
    }

    /// The status of an answer, where one came whole before the end.
    pub async fn status(&mut self) -> Option<u16> {
        while self.read().await {}
        let head = String::from_utf8_lossy(&self.received);
        head.split(' ').nth(1).map(|status| status.parse().expect("a status"))
    }

    /// Whether the hub has ended the connection by now; what came is kept.
    pub fn has_ended(&mut self) -> bool {
        let mut bytes = [0; 1024];
        match self.stream.try_read(&mut bytes) {
            Ok(0) => true,
            Ok(count) => {
                self.received.extend_from_slice(&bytes[..count]);
                false
            }
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }

    /// Waits for bytes; false at the end, however it came.
    async fn read(&mut self) -> bool {
        let mut most = u64::MAX;
        if let Some((ticks, bytes)) = &mut self.pace {
            ticks.tick().await;
            most = *bytes;
        }
        let mut some = (&mut self.stream).take(most);
        let read = timeout(TIMEOUT, some.read_buf(&mut self.received)).await;
        matches!(read.expect("the hub says something or ends"), Ok(count) if count > 0)
    }

    async fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.received.len() < count {
            if !self.read().await {
                assert!(self.received.is_empty(), "torn: {:?}", self.received);
                return None;
            }
        }
        Some(self.take(count))
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.received.split_off(count);
        std::mem::replace(&mut self.received, rest)
    }
}

// === impl RawEnding ===

impl RawEnding {
    /// The code, once it is sure that `session:end` came right before and said the same.
    #[track_caller]
    pub fn announced(&self) -> u16 {
        let last = self.said.last().unwrap_or_else(|| panic!("no session:end: {self:?}"));
        assert_eq!(last["event"], "session:end", "{self:?}");
        assert_eq!(last["data"]["code"], self.code, "{self:?}");
        assert_eq!(last["data"]["reason"], self.reason, "{self:?}");
        self.code
    }

    /// What `session:end` said.
    pub fn session_end(&self) -> &Value {
        &self.said.last().expect("a session:end")["data"]
    }
}

/// A masked frame with this first byte.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len() as u64);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The header of a masked frame that announces so many bytes.
pub fn header(first: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first];
    if let Ok(short @ 0..=125) = u8::try_from(length) {
        header.push(0x80 | short);
    } else if let Ok(medium) = u16::try_from(length) {
        header.push(0x80 + 126);
        header.extend(medium.to_be_bytes());
    } else {
        header.push(0x80 + 127);
        header.extend(length.to_be_bytes());
    }
    header.extend(MASK);
    header
}
