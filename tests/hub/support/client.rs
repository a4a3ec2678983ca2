//! A client over a real WebSocket, in the plain framing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long anything may take that has to happen.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// One connection.
pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Events that came while another was waited for, oldest first.
    pub seen: VecDeque<Value>,
    next_id: u64,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed {
    pub code: u16,
    pub reason: String,
}

impl Client {
    /// Connects with a token in the `Authorization` header.
    pub async fn connect(addr: SocketAddr, token: &str) -> Self {
        let mut request = format!("ws://{addr}/ws").into_client_request().expect("a request");
        let bearer = format!("Bearer {token}").parse().expect("a header");
        request.headers_mut().insert("authorization", bearer);
        let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("an upgrade");
        Self::over(socket)
    }

    /// A client on a socket that was upgraded by hand.
    pub fn over(socket: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Self {
        Self { socket, seen: VecDeque::new(), next_id: 1 }
    }

    /// Sends text as it is.
    pub async fn send_text(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).await.expect("an open socket");
    }

    /// Sends an event and asks for no reply.
    pub async fn send(&mut self, event: &str, data: Value) {
        self.send_text(json!({ "event": event, "data": data }).to_string()).await;
    }

    /// Sends an event and waits for its reply.
    pub async fn request(&mut self, event: &str, data: Value) -> Value {
        let id = self.ask(event, data).await;
        self.reply(id).await
    }

    /// Sends an event that asks for a reply, and gives the id to wait for.
    pub async fn ask(&mut self, event: &str, data: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.send_text(json!({ "event": event, "data": data, "id": id }).to_string()).await;
        id
    }

    /// Waits for the reply to an id.
    pub async fn reply(&mut self, id: u64) -> Value {
        self.find(|message| message["event"] == "ack" && message["id"] == id).await["data"].take()
    }

    /// Joins a room and gives the snapshot.
    pub async fn join(&mut self, order: &str) -> Value {
        let snapshot = self.request("order:join", json!({ "orderId": order })).await;
        assert_eq!(snapshot["ok"], true, "{snapshot}");
        snapshot
    }

    /// Waits for an event and gives its data; others are kept for later.
    pub async fn expect(&mut self, event: &str) -> Value {
        self.find(|message| message["event"] == event).await["data"].take()
    }

    /// Waits for the first message that fits; others are kept for later.
    pub async fn find(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(place) = self.seen.iter().position(&fits) {
            return self.seen.remove(place).expect("it is there");
        }
        loop {
            let message = self.next().await;
            if fits(&message) {
                return message;
            }
            self.seen.push_back(message);
        }
    }

    /// The next message as it comes.
    pub async fn next(&mut self) -> Value {
        loop {
            let message = timeout(TIMEOUT, self.socket.next()).await;
            let message = message.unwrap_or_else(|_| panic!("nothing came; seen: {:?}", self.seen));
            match message.expect("an open socket").expect("an open socket") {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}; seen: {:?}", self.seen),
            }
        }
    }

    /// Waits until everything that the hub has sent so far is here, by a `ping` of the protocol,
    /// and gives the events with this name.
    pub async fn drain(&mut self, event: &str) -> Vec<Value> {
        let mark = json!({ "mark": self.next_id });
        self.next_id += 1;
        self.send("ping", mark.clone()).await;
        self.find(|message| message["event"] == "pong" && message["data"] == mark).await;
        let (found, kept) = self.seen.drain(..).partition(|message| message["event"] == event);
        self.seen = kept;
        found.into_iter().map(|mut message: Value| message["data"].take()).collect()
    }

    /// Waits until the hub closes the connection; what comes before is kept.
    pub async fn closed(&mut self) -> Closed {
        loop {
            let message = timeout(TIMEOUT, self.socket.next()).await.expect("the hub closes");
            match message {
                Some(Ok(Message::Text(text))) => {
                    self.seen.push_back(serde_json::from_str(&text).expect("JSON"));
                }
                Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                    return Closed { code: code.into(), reason: reason.to_string() };
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no close frame: {other:?}"),
            }
        }
    }

    /// An event that has come already: its data.
    pub fn expect_seen(&mut self, event: &str) -> Value {
        let place = self.seen.iter().position(|message| message["event"] == event);
        let place = place.unwrap_or_else(|| panic!("no {event}; seen: {:?}", self.seen));
        self.seen.remove(place).expect("it is there")["data"].take()
    }

    /// Takes its leave and waits for the hub's answer.
    pub async fn close(mut self) {
        self.socket.close(None).await.expect("an open socket");
        while let Ok(Some(Ok(_))) = timeout(TIMEOUT, self.socket.next()).await {}
    }
}
