//! A connection of an app in either framing. It may end at any time, which is no error.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long opening and sending may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What a Socket.IO client keeps over its connections, so that its session can be resumed.
#[derive(Default)]
pub struct RecoveryState {
    pid: Option<String>,
    /// The last argument of the last event that ended in a string.
    offset: Option<String>,
}

/// What the hub said.
pub enum HubEvent {
    Event(String, Value),
    Ack(u64, Value),
    /// Nothing for an app.
    Other,
}

/// Why there is no connection.
pub enum Refused {
    /// The hub does not want this user: 401, 403, or what CONNECT was refused with.
    Denied(String),
    /// Nobody listens, or not now.
    NotNow,
}

/// An open connection of a user who is let in.
pub struct Line {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    socketio: bool,
    /// The hub has resumed the session, and says that nothing was missed.
    pub recovered: bool,
}

impl Line {
    pub async fn open(
        hub: SocketAddr,
        token: &str,
        memory: Option<&mut RecoveryState>,
    ) -> Result<Self, Refused> {
        timeout(TIMEOUT, Self::connect(hub, token, memory)).await.unwrap_or(Err(Refused::NotNow))
    }

    /// On a stream that is open, in the plain framing.
    pub async fn over(stream: TcpStream, hub: SocketAddr, token: &str) -> Option<Self> {
        let request = request(hub, "/ws", Some(token));
        let stream = MaybeTlsStream::Plain(stream);
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.ok()?;
        Some(Self { socket, socketio: false, recovered: false })
    }

    async fn connect(
        hub: SocketAddr,
        token: &str,
        memory: Option<&mut RecoveryState>,
    ) -> Result<Self, Refused> {
        let request = match memory {
            Some(_) => request(hub, "/socket.io/?EIO=4&transport=websocket", None),
            None => request(hub, "/ws", Some(token)),
        };
        let socket = match tokio_tungstenite::connect_async(request).await {
            Ok((socket, _)) => socket,
            Err(Error::Http(answer)) if matches!(answer.status().as_u16(), 401 | 403) => {
                return Err(Refused::Denied(answer.status().to_string()));
            }
            Err(_) => return Err(Refused::NotNow),
        };
        let mut line = Self { socket, socketio: memory.is_some(), recovered: false };
        if let Some(memory) = memory {
            line.enter(token, memory).await?;
        }
        Ok(line)
    }

    /// CONNECT, with what is known of the session.
    async fn enter(&mut self, token: &str, memory: &mut RecoveryState) -> Result<(), Refused> {
        let mut auth = json!({ "token": token });
        if let Some(pid) = &memory.pid {
            auth["pid"] = json!(pid);
            if let Some(offset) = &memory.offset {
                auth["offset"] = json!(offset);
            }
        }
        self.write(format!("40/events,{auth}")).await;
        loop {
            let text = self.text().await.ok_or(Refused::NotNow)?;
            if let Some(payload) = text.strip_prefix("44/events,") {
                let payload: Value = serde_json::from_str(payload).expect("JSON");
                return Err(match payload["data"]["code"].as_str() {
                    Some("unauthenticated" | "token_expired" | "forbidden") => {
                        Refused::Denied(payload.to_string())
                    }
                    _ => Refused::NotNow,
                });
            }
            if let Some(payload) = text.strip_prefix("40/events,") {
                let payload: Value = serde_json::from_str(payload).expect("JSON");
                let pid = payload["pid"].as_str().map(ToOwned::to_owned);
                self.recovered = pid.is_some() && pid == memory.pid;
                memory.pid = pid;
                return Ok(());
            }
        }
    }

    /// Sends an event. Where the connection is gone the next read says so.
    pub async fn send(&mut self, event: &str, data: &Value, id: u64) {
        self.write(if self.socketio {
            format!("42/events,{id}{}", json!([event, data]))
        } else {
            json!({ "event": event, "data": data, "id": id }).to_string()
        })
        .await;
    }

    /// What comes next; None where the connection has ended.
    pub async fn next(&mut self, memory: &mut RecoveryState) -> Option<HubEvent> {
        let text = self.text().await?;
        if !self.socketio {
            let mut message: Value = serde_json::from_str(&text).expect("JSON");
            let data = message["data"].take();
            return Some(match (message["event"].as_str(), message["id"].as_u64()) {
                (Some("ack"), Some(id)) => HubEvent::Ack(id, data),
                (name, _) => HubEvent::Event(name.expect("a name").to_owned(), data),
            });
        }
        if text == "2" {
            self.write("3".to_owned()).await;
        }
        let (ack, rest) = match text.split_at(text.len().min(10)) {
            ("42/events,", rest) => (false, rest),
            ("43/events,", rest) => (true, rest),
            ("41/events,", _) => return None,
            _ => return Some(HubEvent::Other),
        };
        let (id, arguments) = rest.split_at(rest.find('[').expect("a list"));
        let mut arguments: Vec<Value> = serde_json::from_str(arguments).expect("a list");
        if ack {
            return Some(HubEvent::Ack(id.parse().expect("an id"), arguments.remove(0)));
        }
        if let Some(offset) = arguments[1..].last().and_then(Value::as_str) {
            memory.offset = Some(offset.to_owned());
        }
        let name = arguments[0].as_str().expect("a name").to_owned();
        Some(HubEvent::Event(name, arguments.swap_remove(1)))
    }

    async fn text(&mut self) -> Option<String> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Text(text)) => return Some(text.to_string()),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                _ => return None,
            }
        }
    }

    async fn write(&mut self, text: String) {
        timeout(TIMEOUT, self.socket.send(Message::text(text))).await.ok();
    }
}

fn request(hub: SocketAddr, path: &str, token: Option<&str>) -> Request {
    let mut request = format!("ws://{hub}{path}").into_client_request().expect("a request");
    if let Some(token) = token {
        let bearer = format!("Bearer {token}").parse().expect("a header");
        request.headers_mut().insert("authorization", bearer);
    }
    request
}
