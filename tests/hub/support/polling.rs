//! Engine.IO by long-polling: one connection for polls, one for POSTs, and the move to a WebSocket.

use std::collections::VecDeque;

use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::Hub;
use super::client::TIMEOUT;
use super::raw::{HttpAnswer, RawConnection, UpgradeRequest};
use super::socketio::WebSocket;

/// What stands between the packets of a body.
const SEPARATOR: char = '\u{1e}';

/// A session that polls.
pub struct Polling {
    pub sid: String,
    addr: std::net::SocketAddr,
    /// Lines that every poll and every POST has in its head.
    headers: String,
    polls: RawConnection,
    posts: RawConnection,
    /// Whether a poll is under way.
    waits: bool,
    received: VecDeque<String>,
}

/// The answer to a handshake by long-polling.
pub async fn handshake(hub: &Hub) -> HttpAnswer {
    handshake_with(hub, None).await
}

async fn handshake_with(hub: &Hub, authorization: Option<&str>) -> HttpAnswer {
    let mut request = UpgradeRequest::anonymous().without("Upgrade").instead("Connection", "close");
    if let Some(value) = authorization {
        request = request.header("Authorization", value);
    }
    request.path("/socket.io/?EIO=4&transport=polling").ask(hub).await
}

impl Polling {
    /// Shakes hands, and sends this `Authorization` with each of its requests.
    pub async fn open(hub: &Hub, authorization: Option<&str>) -> Self {
        let answer = handshake_with(hub, authorization).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let open = answer.text.strip_prefix('0').expect("an open packet");
        let open: serde_json::Value = serde_json::from_str(open).expect("JSON");
        assert_eq!(open["upgrades"], serde_json::json!(["websocket"]));
        let sid = open["sid"].as_str().expect("a sid").to_owned();
        let (polls, posts) =
            (RawConnection::connect(hub.addr).await, RawConnection::connect(hub.addr).await);
        let headers = authorization.map(|value| format!("Authorization: {value}\r\n"));
        let headers = headers.unwrap_or_default();
        Self { sid, addr: hub.addr, headers, polls, posts, waits: false, received: VecDeque::new() }
    }

    /// Fetches answers at so many bytes a second from now on, like a phone on a bad line.
    pub async fn slow_down(&mut self, bytes_per_second: u64) {
        self.polls = RawConnection::connect_slow(self.addr, bytes_per_second).await;
    }

    /// Sends packets in one POST, and gives the answer to it.
    pub async fn post(&mut self, packets: &[String]) -> HttpAnswer {
        let body = packets.join(&SEPARATOR.to_string());
        let head = self.head("POST", &format!("Content-Length: {}\r\n", body.len()));
        self.posts.send(&[head.as_bytes(), body.as_bytes()].concat()).await;
        let answer = self.posts.answer().await;
        if answer.ends() {
            self.posts = RawConnection::connect(self.addr).await;
        }
        answer
    }

    /// Begins a poll; the answer is awaited later.
    pub async fn start_poll(&mut self) {
        if !std::mem::replace(&mut self.waits, true) {
            let head = self.head("GET", "");
            self.polls.send(head.as_bytes()).await;
        }
    }

    /// The answer to a poll.
    pub async fn poll(&mut self) -> HttpAnswer {
        self.start_poll().await;
        self.waits = false;
        let answer = self.polls.answer().await;
        // Before somebody has logged in each connection is for one request.
        if answer.ends() {
            self.polls = RawConnection::connect(self.addr).await;
        }
        answer
    }

    /// The next packet that polls bring. A session that is not known any more has ended as one does
    /// whose client may come back; that reads as the packet `1`, with which the others end.
    pub async fn next(&mut self) -> String {
        while self.received.is_empty() {
            self.take_poll().await;
        }
        self.received.pop_front().expect("one")
    }

    /// Moves to a WebSocket as stock clients do, while a poll is under way: the socket, and what
    /// came before.
    pub async fn upgrade(mut self) -> (WebSocket, VecDeque<String>) {
        self.start_poll().await;
        let path = format!("/socket.io/?EIO=4&transport=websocket&sid={}", self.sid);
        let url = format!("ws://{}{path}", self.addr);
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("an upgrade");
        socket.send(Message::text("2probe")).await.expect("an open socket");
        let answer = timeout(TIMEOUT, socket.next()).await.expect("in time");
        assert_eq!(answer.expect("one").expect("no error"), Message::text("3probe"));
        // The poll that is under way is the last: it ends with what there is, or nothing.
        self.take_poll().await;
        socket.send(Message::text("5")).await.expect("an open socket");
        (socket, self.received)
    }

    async fn take_poll(&mut self) {
        let answer = self.poll().await;
        if answer.status == 400 {
            assert_eq!(answer.text, r#"{"code":1,"message":"Session ID unknown"}"#);
            return self.received.push_back("1".to_owned());
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        self.received.extend(answer.text.split(SEPARATOR).map(str::to_owned));
        self.received.retain(|packet| packet != "6");
    }

    fn head(&self, method: &str, more: &str) -> String {
        format!(
            "{method} /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: hub.test\r\n{}{more}\r\n",
            self.sid, self.headers
        )
    }
}
