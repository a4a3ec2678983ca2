//! A Socket.IO client, which remembers of its sessions what stock clients do.

use std::collections::{HashMap, VecDeque};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::client::TIMEOUT;
use super::packet::{Kind, Packet};
use super::polling::Polling;
use super::{Hub, token};

/// The namespace of the apps.
pub const EVENTS: &str = "/events";
/// The default namespace of Socket.IO.
pub const ROOT: &str = "/";

/// A client's WebSocket.
pub type WebSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// One connection.
pub struct SocketIoClient {
    pub line: Transport,
    /// Packets that came while another was waited for, oldest first.
    pub seen: VecDeque<Packet>,
    /// In which namespace it talks and listens.
    pub namespace: &'static str,
    memories: HashMap<&'static str, RecoveryState>,
    next_id: u64,
    /// Pings of the hub that it has answered.
    pub answered: u32,
}

/// How its packets travel.
pub enum Transport {
    Socket(WebSocket),
    Polling(Polling),
}

/// What a client knows of its session in a namespace, and keeps when the connection is lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryState {
    pub sid: String,
    pub pid: Option<String>,
    /// The last argument of the last event that ended in a string.
    pub offset: Option<String>,
    /// Whether the hub said that nothing was missed: the `pid` is the same as before.
    pub recovered: bool,
}

/// How a connection ended.
#[derive(Debug)]
pub struct SocketIoEnding {
    /// Of the close frame, where there was one.
    pub code: Option<u16>,
    /// What came before, and was not taken.
    pub said: Vec<Packet>,
}

impl SocketIoClient {
    /// Connects, and is in no namespace yet.
    pub async fn open(hub: &Hub) -> Self {
        Self::open_with(hub, None).await
    }

    /// The same with an `Authorization` header.
    pub async fn open_with(hub: &Hub, authorization: Option<&str>) -> Self {
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", hub.addr);
        let mut request = url.into_client_request().expect("a request");
        if let Some(value) = authorization {
            request.headers_mut().insert("authorization", value.parse().expect("a header"));
        }
        let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("an upgrade");
        Self::over(Transport::Socket(socket))
    }

    /// Shakes hands for long-polling, and is in no namespace yet.
    pub async fn open_polling(hub: &Hub) -> Self {
        Self::open_polling_with(hub, None).await
    }

    /// The same with an `Authorization` header in each request.
    pub async fn open_polling_with(hub: &Hub, authorization: Option<&str>) -> Self {
        Self::over(Transport::Polling(Polling::open(hub, authorization).await))
    }

    fn over(line: Transport) -> Self {
        let (seen, memories) = (VecDeque::new(), HashMap::new());
        Self { line, seen, namespace: EVENTS, memories, next_id: 0, answered: 0 }
    }

    /// Connects a user with this role to these orders, in the namespace of the apps.
    pub async fn login(hub: &Hub, user: &str, role: &str, orders: &[&str]) -> Self {
        Self::again(hub, &token(user, role, orders), &RecoveryState::default()).await
    }

    /// Connects as somebody who was there before.
    pub async fn again(hub: &Hub, token: &str, memory: &RecoveryState) -> Self {
        Self::open(hub).await.back(token, memory).await
    }

    /// The same on a connection that is open already.
    pub async fn back(mut self, token: &str, memory: &RecoveryState) -> Self {
        self.memories.insert(self.namespace, memory.clone());
        self.connect(json!({ "token": token })).await.expect("let in");
        self
    }

    /// Its WebSocket.
    pub fn socket(&mut self) -> &mut WebSocket {
        match &mut self.line {
            Transport::Socket(socket) => socket,
            Transport::Polling(_) => panic!("it polls"),
        }
    }

    /// Its polls.
    pub fn polling(&mut self) -> &mut Polling {
        match &mut self.line {
            Transport::Socket(_) => panic!("it has a WebSocket"),
            Transport::Polling(polling) => polling,
        }
    }

    /// Moves from polling to a WebSocket.
    pub async fn upgrade(self) -> Self {
        let Transport::Polling(polling) = self.line else { panic!("it has a WebSocket") };
        let (socket, received) = polling.upgrade().await;
        let mut client = Self { line: Transport::Socket(socket), ..self };
        for packet in received {
            if packet == "2" {
                client.socket().send(Message::text("3")).await.expect("an open socket");
            } else {
                client.take(&packet);
            }
        }
        client
    }

    /// Talks and listens in this namespace from now on.
    pub fn at(&mut self, namespace: &'static str) -> &mut Self {
        self.namespace = namespace;
        self
    }

    /// What it knows of its session.
    pub fn memory(&self) -> &RecoveryState {
        self.memories.get(self.namespace).expect("a session")
    }

    /// Asks for its namespace with this, and with what it remembers: the payload of the reply, or
    /// that of the refusal.
    pub async fn connect(&mut self, auth: Value) -> Result<Value, Value> {
        self.send_connect(auth).await;
        self.connected().await
    }

    /// The first half of [`Self::connect`].
    pub async fn send_connect(&mut self, auth: Value) {
        let text = self.connect_packet(auth);
        self.send_text(text).await;
    }

    /// The CONNECT of its namespace, with what it remembers. What `auth` says itself counts.
    pub fn connect_packet(&self, auth: Value) -> String {
        let mut payload = json!({});
        if let Some(memory) = self.memories.get(self.namespace)
            && let Some(pid) = &memory.pid
        {
            payload["pid"] = json!(pid);
            if let Some(offset) = &memory.offset {
                payload["offset"] = json!(offset);
            }
        }
        for (name, value) in auth.as_object().expect("an object") {
            payload[name] = value.clone();
        }
        format!("40{}{payload}", self.prefix())
    }

    /// The second half of [`Self::connect`].
    pub async fn connected(&mut self) -> Result<Value, Value> {
        let answers = [Kind::Connect, Kind::ConnectError];
        let answer = self.find(|packet| answers.contains(&packet.kind)).await;
        if answer.kind == Kind::Connect { Ok(answer.payload) } else { Err(answer.payload) }
    }

    /// Leaves its namespace.
    pub async fn disconnect(&mut self) {
        let text = format!("41{}", self.prefix());
        self.send_text(text).await;
    }

    /// Loses the connection without a word, and keeps what it knows.
    pub fn cut(self) -> RecoveryState {
        self.memory().clone()
    }

    /// Sends text as it is.
    pub async fn send_text(&mut self, text: impl Into<String>) {
        match &mut self.line {
            Transport::Socket(socket) => {
                socket.send(Message::text(text.into())).await.expect("an open socket");
            }
            Transport::Polling(polling) => {
                let answer = polling.post(&[text.into()]).await;
                assert_eq!((answer.status, answer.text.as_str()), (200, "ok"));
            }
        }
    }

    /// Sends texts at once, as far as the hub takes them.
    pub async fn send_all(&mut self, texts: impl IntoIterator<Item = String>) {
        match &mut self.line {
            Transport::Socket(socket) => {
                for text in texts {
                    socket.feed(Message::text(text)).await.ok();
                }
                socket.flush().await.ok();
            }
            Transport::Polling(polling) => {
                let texts: Vec<_> = texts.into_iter().collect();
                polling.post(&texts).await;
            }
        }
    }

    /// The packet of an event, with an id where a reply is asked for.
    pub fn event_packet(&self, id: Option<u64>, event: &str, data: &Value) -> String {
        let id = id.map(|id| id.to_string()).unwrap_or_default();
        format!("42{}{id}{}", self.prefix(), json!([event, data]))
    }

    /// Sends an event and asks for no reply.
    pub async fn send(&mut self, event: &str, data: Value) {
        let text = self.event_packet(None, event, &data);
        self.send_text(text).await;
    }

    /// Sends an event that asks for a reply, and gives the id to wait for.
    pub async fn ask(&mut self, event: &str, data: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let text = self.event_packet(Some(id), event, &data);
        self.send_text(text).await;
        id
    }

    /// Waits for the reply to an id: it has one argument.
    pub async fn reply(&mut self, id: u64) -> Value {
        let ack = self.find(|packet| packet.kind == Kind::Ack && packet.id == Some(id)).await;
        assert_eq!(ack.payload.as_array().map(Vec::len), Some(1), "{ack:?}");
        ack.payload[0].clone()
    }

    /// Sends an event and waits for its reply.
    pub async fn request(&mut self, event: &str, data: Value) -> Value {
        let id = self.ask(event, data).await;
        self.reply(id).await
    }

    /// Joins a room and gives the snapshot.
    pub async fn join(&mut self, order: &str) -> Value {
        let snapshot = self.request("order:join", json!({ "orderId": order })).await;
        assert_eq!(snapshot["ok"], true, "{snapshot}");
        snapshot
    }

    /// Says something in a room and gives its ack.
    pub async fn say(&mut self, order: &str, content: &str) -> Value {
        let said = json!({ "orderId": order, "content": content });
        let ack = self.request("chat:message", said).await;
        assert_eq!(ack["ok"], true, "{ack}");
        ack
    }

    /// Waits for an event and gives its data; others are kept for later.
    pub async fn expect(&mut self, event: &str) -> Value {
        self.find(|packet| packet.is_event(event)).await.data().clone()
    }

    /// The order and the seq of each of the next chat messages, as they come.
    pub async fn hear(&mut self, count: usize) -> Vec<(String, i64)> {
        let mut heard = Vec::new();
        while heard.len() < count {
            heard.push(place(&self.expect("chat:message").await));
        }
        heard
    }

    /// Waits for the first packet of its namespace that fits; others are kept for later.
    pub async fn find(&mut self, fits: impl Fn(&Packet) -> bool) -> Packet {
        let namespace = self.namespace;
        let fits = |packet: &Packet| packet.namespace == namespace && fits(packet);
        if let Some(at) = self.seen.iter().position(fits) {
            return self.seen.remove(at).expect("it is there");
        }
        loop {
            let packet = self.next().await;
            if fits(&packet) {
                return packet;
            }
            self.seen.push_back(packet);
        }
    }

    /// The next packet as it comes, of any namespace.
    pub async fn next(&mut self) -> Packet {
        match self.read().await {
            Ok(packet) => packet,
            Err(code) => panic!("closed with {code:?}; seen: {:?}", self.seen),
        }
    }

    /// Waits until everything that the hub has sent so far is here, and gives the data of the
    /// events of its namespace with this name.
    pub async fn drain(&mut self, event: &str) -> Vec<Value> {
        let mark = json!({ "mark": self.next_id });
        self.next_id += 1;
        self.send("ping", mark.clone()).await;
        self.find(|packet| packet.is_event("pong") && *packet.data() == mark).await;
        let namespace = self.namespace;
        let wanted = |packet: &Packet| packet.namespace == namespace && packet.is_event(event);
        let (found, kept): (Vec<_>, Vec<_>) = self.seen.drain(..).partition(wanted);
        self.seen = kept.into();
        found.iter().map(|packet| packet.data().clone()).collect()
    }

    /// Waits until the hub has closed the connection.
    pub async fn ending(&mut self) -> SocketIoEnding {
        loop {
            match self.read().await {
                Ok(packet) => self.seen.push_back(packet),
                Err(code) => return SocketIoEnding { code, said: self.seen.drain(..).collect() },
            }
        }
    }

    /// The next packet, or the code of the close; pings are answered.
    async fn read(&mut self) -> Result<Packet, Option<u16>> {
        loop {
            let text = match &mut self.line {
                Transport::Socket(socket) => match text(socket).await {
                    Ok(text) => text,
                    Err(code) => return Err(code),
                },
                Transport::Polling(polling) => polling.next().await,
            };
            match text.as_str() {
                "1" => return Err(None),
                // Where the hub is gone the next read says so.
                "2" => {
                    self.answered += 1;
                    self.send_all(["3".to_owned()]).await;
                }
                open if open.starts_with('0') => {}
                message => {
                    let packet = Packet::parse(message);
                    self.remember(&packet);
                    return Ok(packet);
                }
            }
        }
    }

    /// Notes a packet as one that came.
    fn take(&mut self, text: &str) {
        let packet = Packet::parse(text);
        self.remember(&packet);
        self.seen.push_back(packet);
    }

    fn remember(&mut self, packet: &Packet) {
        let namespace = if packet.namespace == ROOT { ROOT } else { EVENTS };
        let memory = self.memories.entry(namespace).or_default();
        match packet.kind {
            Kind::Connect => {
                let text = |name| packet.payload[name].as_str().map(ToOwned::to_owned);
                let pid = text("pid");
                memory.sid = text("sid").expect("a sid");
                memory.recovered = pid.is_some() && pid == memory.pid;
                memory.pid = pid;
            }
            Kind::Event if memory.pid.is_some() => {
                if let Some(offset) = packet.last_string() {
                    memory.offset = Some(offset.to_owned());
                }
            }
            _ => {}
        }
    }

    fn prefix(&self) -> String {
        super::packet::prefix(self.namespace)
    }
}

// === impl SocketIoEnding ===

impl SocketIoEnding {
    /// The code of the `session:end` in a namespace, once it is sure that it is the last event
    /// there, and whether a DISCONNECT followed: only then there is a close frame, which says the
    /// same.
    #[track_caller]
    pub fn announced(&self, namespace: &str) -> (u16, bool) {
        let (code, dismissed) = self.told(namespace);
        assert_eq!(self.code, dismissed.then_some(code), "{self:?}");
        (code, dismissed)
    }

    /// The same whether there is a close frame or not.
    #[track_caller]
    pub fn told(&self, namespace: &str) -> (u16, bool) {
        let mut said = self.said.iter().filter(|packet| packet.namespace == namespace).rev();
        let mut last = said.next();
        let dismissed = last.is_some_and(|packet| packet.kind == Kind::Disconnect);
        if dismissed {
            last = said.next();
        }
        let end = last.filter(|packet| packet.is_event("session:end"));
        let end = end.unwrap_or_else(|| panic!("no session:end in {namespace}: {self:?}")).data();
        let code = end["code"].as_u64().and_then(|code| code.try_into().ok()).expect("a code");
        (code, dismissed)
    }
}

/// The next text of a WebSocket, or the code of its close.
async fn text(socket: &mut WebSocket) -> Result<String, Option<u16>> {
    loop {
        match timeout(TIMEOUT, socket.next()).await.expect("nothing came") {
            Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(frame))) => {
                // Answered on the way to the end, for which the hub waits.
                while let Ok(Some(Ok(_))) = timeout(TIMEOUT, socket.next()).await {}
                return Err(frame.map(|frame| frame.code.into()));
            }
            None | Some(Err(_)) => return Err(None),
            other => panic!("{other:?}"),
        }
    }
}

/// The order and the seq of a chat message.
pub fn place(message: &Value) -> (String, i64) {
    let order = message["orderId"].as_str().expect("an order");
    (order.to_owned(), message["seq"].as_i64().expect("a seq"))
}
