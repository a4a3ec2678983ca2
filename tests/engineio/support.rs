//! A server whose sessions echo, with a hand on both ends of each; and its clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use actix_http::{HttpService, RequestHead};
use actix_service::map_config;
use actix_web::App;
use actix_web::dev::AppConfig;
use actix_web::http::header::HeaderMap;
use actix_web::middleware::from_fn;
use futures_util::{SinkExt, StreamExt};
use orderhub::config::Origins;
use orderhub::http;
use protocol::close::CloseCode;
use protocol::socketio::engine::EngineError;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use transport::engineio::{
    Engine, EngineHandler, HandshakeRefusal, NewSession, Options, PollingSessions, TransportKind,
};
use transport::{Frame, Incoming, Outbox, RawSocket, ReadPause, TransportOptions, upgrade_service};

/// How long anything may take before a test fails.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The message limit of every server here.
pub const LIMIT: usize = 1000;
/// What a session says last to a client that broke the protocol.
pub const GOODBYE: &str = "4bye";

/// Runs a test, which must not hang.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async { within(test).await });
}

/// What comes in time.
pub async fn within<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, event).await.expect("in time")
}

/// Resolves when something has become true that nobody tells.
pub async fn until(is_so: impl Fn() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(1));
    within(async {
        while !is_so() {
            looks.tick().await;
        }
    })
    .await;
}

/// A server that runs until the process ends.
pub struct Server {
    pub addr: SocketAddr,
    pub sessions: Arc<PollingSessions>,
    opened: UnboundedReceiver<Session>,
}

/// The server's side of a session.
pub struct Session {
    pub sid: String,
    pub kind: TransportKind,
    pub outbox: Outbox,
    pub read_pause: ReadPause,
    /// What it heard; ends with it.
    pub heard: UnboundedReceiver<Incoming>,
}

struct EchoHost {
    opened: UnboundedSender<Session>,
    origins: Origins,
}

impl EngineHandler for EchoHost {
    type HandshakeData = ();

    fn allows_origin(&self, headers: &HeaderMap) -> bool {
        http::origin::is_allowed(&self.origins, headers)
    }

    fn on_handshake(&self, request: &RequestHead) -> Result<(), HandshakeRefusal> {
        let banned = request.headers.contains_key("x-banned");
        if banned { Err(EngineError::Forbidden.into()) } else { Ok(()) }
    }

    fn on_connect(&self, (): (), new_session: NewSession) {
        let NewSession { sid, mut inbound, outbox, kind } = new_session;
        outbox.mark_authenticated();
        let (tell, heard) = unbounded_channel();
        let session =
            Session { sid, kind, outbox: outbox.clone(), read_pause: inbound.read_pause(), heard };
        self.opened.send(session).ok();
        actix_rt::spawn(async move {
            while let Some(incoming) = inbound.next().await {
                tell.send(incoming.clone()).ok();
                answer(&outbox, incoming);
            }
        });
    }
}

fn answer(outbox: &Outbox, incoming: Incoming) {
    match incoming {
        Incoming::Text(packet) if packet == "1" => outbox.finish(None, CloseCode::NORMAL),
        Incoming::Text(packet) if packet == "4panic" => panic!("a session that a test broke"),
        Incoming::Text(packet) if packet.starts_with("4quiet") => {}
        Incoming::Text(packet) => {
            outbox.push(text(&packet)).ok();
        }
        Incoming::Binary(data) => {
            outbox.push(Frame::binary(|out| out.extend_from_slice(&data))).ok();
        }
        Incoming::Ping(_) | Incoming::Pong => {}
        Incoming::Close(code) => outbox.answer_close(code),
        Incoming::Failed(code) => outbox.hang_up(Some(text(GOODBYE)), code),
        Incoming::Overrun(_) => outbox.hang_up(None, CloseCode::SLOW_READER),
    }
}

/// A text frame.
pub fn text(packet: &str) -> Frame {
    Frame::text(|out| out.extend_from_slice(packet.as_bytes()))
}

/// The pages that may use every server here.
fn origins() -> Origins {
    Origins::List(vec!["https://app.example.com".into(), "file://".into()])
}

/// Options that tests may change.
pub fn options() -> Options {
    Options {
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        subprotocol: None,
        request_timeout: Options::DEFAULT_REQUEST_TIMEOUT,
        transport: Arc::new(TransportOptions {
            max_message_bytes: LIMIT,
            ..TransportOptions::default()
        }),
    }
}

/// The same with other limits and times of the transport.
pub fn with_transport(change: impl FnOnce(&mut TransportOptions)) -> Options {
    let mut options = options();
    let mut transport = TransportOptions::clone(&options.transport);
    change(&mut transport);
    options.transport = Arc::new(transport);
    options
}

// === impl Server ===

impl Server {
    /// Two workers, so that what belongs together comes in on different threads.
    pub fn start(options: Options) -> Self {
        let sessions = Arc::new(PollingSessions::new("/socket.io"));
        let (tell, opened) = unbounded_channel();
        let (listening, address) = std_mpsc::channel();
        let known = Arc::clone(&sessions);
        std::thread::spawn(move || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
            listening.send(listener.local_addr().expect("address")).expect("the test waits");
            actix_rt::System::new().block_on(serve(listener, options, known, tell))
        });
        Self { addr: address.recv().expect("listening"), sessions, opened }
    }

    /// The next session that began.
    pub async fn opened(&mut self) -> Session {
        within(self.opened.recv()).await.expect("the server runs")
    }

    /// A session by long-polling, both sides of it.
    pub async fn poller(&mut self) -> (Poller, Session) {
        let poller = Poller::open(self.addr).await;
        let session = self.opened().await;
        assert_eq!((&session.sid, session.kind), (&poller.sid, TransportKind::Polling));
        (poller, session)
    }
}

async fn serve(
    listener: std::net::TcpListener,
    options: Options,
    sessions: Arc<PollingSessions>,
    tell: UnboundedSender<Session>,
) -> std::io::Result<()> {
    actix_server::Server::build()
        .workers(2)
        .disable_signals()
        .listen("engineio", listener, move || {
            let handler = EchoHost { opened: tell.clone(), origins: origins() };
            let engine = Arc::new(Engine::new(handler, options.clone(), Arc::clone(&sessions)));
            let app = App::new()
                .wrap(http::cors(&origins()))
                .wrap(from_fn(http::one_request_if_unauthenticated))
                .configure(engine.routes());
            let upgrades = App::new().configure(engine.routes());
            let upgrades = map_config(upgrades, |()| AppConfig::default());
            HttpService::build()
                .h1_allow_half_closed(false)
                .upgrade(upgrade_service(upgrades, |socket| {
                    Some(RawSocket::new(socket, Box::new(())))
                }))
                .h1(map_config(app, |()| AppConfig::default()))
                .tcp()
        })?
        .run()
        .await
}

// === impl Session ===

impl Session {
    /// What it hears next; none when it has ended.
    pub async fn hears(&mut self) -> Option<Incoming> {
        within(self.heard.recv()).await
    }

    /// What it failed of, whatever it heard before.
    pub async fn fails(&mut self) -> Option<CloseCode> {
        loop {
            match self.hears().await {
                Some(Incoming::Failed(code)) => return Some(code),
                Some(_) => {}
                None => return None,
            }
        }
    }

    /// Resolves when a poll waits.
    pub async fn until_polled(&self) {
        until(|| !self.outbox.is_blocked()).await;
    }

    /// Resolves when no request can find it any more.
    pub async fn until_forgotten(&self, server: &Server) {
        assert!(self.outbox.is_closed());
        until(|| server.sessions.count() == 0).await;
    }

    /// Whether it ended without hearing why, as a connection that is lost.
    pub async fn is_lost(&mut self) -> bool {
        self.hears().await.is_none()
    }
}

/// A client that polls.
#[derive(Clone)]
pub struct Poller {
    pub sid: String,
    addr: SocketAddr,
    http: reqwest::Client,
}

/// An answer: its status and its body.
pub type Answer = (u16, String);

impl Poller {
    /// Shakes hands.
    pub async fn open(addr: SocketAddr) -> Self {
        let http = reqwest::Client::new();
        let url = format!("http://{addr}/socket.io/?EIO=4&transport=polling");
        let (status, body) = send(http.get(url)).await;
        assert_eq!(status, 200);
        let data: Value =
            serde_json::from_str(body.strip_prefix('0').expect("open")).expect("JSON");
        assert_eq!(data["upgrades"], serde_json::json!(["websocket"]));
        let sid = data["sid"].as_str().expect("a sid").to_owned();
        Self { sid, addr, http }
    }

    pub fn url(&self) -> String {
        format!("http://{}/socket.io/?EIO=4&transport=polling&sid={}", self.addr, self.sid)
    }

    pub async fn get(&self) -> Answer {
        send(self.http.get(self.url())).await
    }

    /// A poll that waits when this returns. Nothing may wait for it.
    pub async fn start_get(&self, session: &Session) -> tokio::task::JoinHandle<Answer> {
        let poller = self.clone();
        let poll = tokio::spawn(async move { poller.get().await });
        session.until_polled().await;
        poll
    }

    pub async fn post(&self, body: impl Into<reqwest::Body>) -> Answer {
        send(self.http.post(self.url()).body(body)).await
    }

    /// What polls bring, until there are so many packets.
    pub async fn packets(&self, count: usize) -> Vec<String> {
        let mut packets = Vec::new();
        while packets.len() < count {
            let (status, body) = self.get().await;
            assert_eq!(status, 200, "{body}");
            packets.extend(body.split('\u{1e}').map(str::to_owned));
        }
        packets
    }

    /// Asserts that POSTs are refused already, the next poll brings what the session said last, and the
    /// session is forgotten then.
    pub async fn hears_goodbye(&self) {
        assert_eq!(self.post("4late").await, refusal(1));
        assert_eq!(self.get().await, (200, GOODBYE.to_owned()));
        self.is_unknown().await;
    }

    /// Asserts that the session is forgotten.
    pub async fn is_unknown(&self) {
        assert_eq!(self.get().await, refusal(1));
        assert_eq!(self.post("4late").await, refusal(1));
    }

    /// A WebSocket that wants to take the session over.
    pub async fn websocket(&self) -> Socket {
        let query = format!("EIO=4&transport=websocket&sid={}", self.sid);
        Socket::open(self.addr, &query).await
    }
}

/// What a refusal with so many words looks like.
pub fn refusal(code: usize) -> Answer {
    let message = [
        "Transport unknown",
        "Session ID unknown",
        "Bad handshake method",
        "Bad request",
        "Forbidden",
        "Unsupported protocol version",
    ][code];
    let status = if code == 4 { 403 } else { 400 };
    (status, format!(r#"{{"code":{code},"message":"{message}"}}"#))
}

pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    let answer = within(request.send()).await.expect("an answer");
    (answer.status().as_u16(), within(answer.text()).await.expect("a body"))
}

/// A client's WebSocket.
pub struct Socket(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub async fn open(addr: SocketAddr, query: &str) -> Self {
        let url = format!("ws://{addr}/socket.io/?{query}");
        Self(within(connect_async(url)).await.expect("upgraded").0)
    }

    pub async fn say(&mut self, packet: &str) {
        self.0.send(Message::text(packet)).await.expect("sent");
    }

    /// The next text; none at the end.
    pub async fn hear(&mut self) -> Option<String> {
        loop {
            match within(self.0.next()).await {
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Probes, and says that it has moved.
    pub async fn take_over(&mut self) {
        self.say("2probe").await;
        assert_eq!(self.hear().await.as_deref(), Some("3probe"));
        self.say("5").await;
    }
}

/// A connection on which a test writes bytes itself.
pub async fn raw(addr: SocketAddr, request: &str) -> TcpStream {
    let mut socket = TcpStream::connect(addr).await.expect("connected");
    socket.write_all(request.as_bytes()).await.expect("sent");
    socket
}

/// All that comes until the server ends the connection.
pub async fn rest(mut socket: TcpStream) -> String {
    let mut all = Vec::new();
    within(socket.read_to_end(&mut all)).await.expect("an end");
    String::from_utf8(all).expect("text")
}
