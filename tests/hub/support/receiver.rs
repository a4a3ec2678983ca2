//! An endpoint of webhooks: it keeps what it is sent, and can be made to misbehave.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use http::HeaderMap;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use standardwebhooks::Webhook;

use super::{tls, until};

/// The secret of every endpoint.
pub const WEBHOOK_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// One request.
#[derive(Debug, Clone)]
pub struct Received {
    /// When it was read.
    pub at: Instant,
    pub id: String,
    /// `webhook-timestamp`.
    pub timestamp: i64,
    /// `type` of the body.
    pub kind: String,
    /// `data` of the body.
    pub data: Value,
    /// The whole body.
    pub body: Value,
    /// Whether its signature is one of [`WEBHOOK_SECRET`], of now.
    pub is_signed: bool,
}

/// What the endpoint does with a request.
#[derive(Debug, Clone)]
pub enum Reaction {
    /// Answers with this status.
    Status(u16),
    /// Answers with this status and these further lines of its head.
    With(u16, String),
    /// Answers 200 after a while.
    Late(Duration),
    /// 200 and this body, after a while.
    Says(Duration, String),
    /// 200 and a body of so many bytes.
    Big(usize),
    /// Half an answer, and the end of the connection.
    Close,
}

type Decide = dyn Fn(&Received) -> Reaction + Send + Sync;

/// An endpoint on loopback.
pub struct Receiver {
    pub addr: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
}

struct State {
    received: Mutex<Vec<Received>>,
    decide: Mutex<Arc<Decide>>,
    tls: Option<Arc<ServerConfig>>,
}

impl Receiver {
    /// One that takes everything.
    pub fn start() -> Self {
        Self::launch(TcpListener::bind("127.0.0.1:0").expect("listens"), None)
    }

    /// The same by HTTPS, with a certificate of [`tls::AUTHORITY`].
    pub fn start_tls() -> Self {
        Self::launch(TcpListener::bind("127.0.0.1:0").expect("listens"), Some(tls::server()))
    }

    /// One at an address at which nobody listened.
    pub fn start_at(addr: SocketAddr) -> Self {
        Self::launch(TcpListener::bind(addr).expect("the address"), None)
    }

    fn launch(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> Self {
        let addr = listener.local_addr().expect("an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let everything: Arc<Decide> = Arc::new(|_| Reaction::Status(204));
        let state =
            Arc::new(State { received: Mutex::default(), decide: Mutex::new(everything), tls });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let state = Arc::clone(&shared);
                // The hub may be gone: no matter here.
                std::thread::spawn(move || serve(stream, &state).ok());
            }
        });
        Self { addr, scheme, state }
    }

    /// From now on it does this with each request.
    pub fn react(&self, decide: impl Fn(&Received) -> Reaction + Send + Sync + 'static) {
        *self.state.decide.lock().expect("no panic") = Arc::new(decide);
    }

    /// All that it was sent so far.
    pub fn received(&self) -> Vec<Received> {
        self.all().clone()
    }

    fn all(&self) -> MutexGuard<'_, Vec<Received>> {
        self.state.received.lock().expect("no panic")
    }

    /// How many requests it was sent.
    pub fn count(&self) -> usize {
        self.all().len()
    }

    /// Waits until it was sent so many requests.
    pub async fn sent(&self, count: usize) -> Vec<Received> {
        until("webhooks", async || self.count() >= count).await;
        self.received()
    }

    /// Waits until it was sent one that fits, and gives the first of them.
    pub async fn find(&self, fits: impl Fn(&Received) -> bool) -> Received {
        until("a webhook", async || self.all().iter().any(&fits)).await;
        self.all().iter().find(|one| fits(one)).cloned().expect("it is there")
    }

    /// Waits for the first of this type.
    pub async fn expect(&self, kind: &str) -> Received {
        self.find(|received| received.kind == kind).await
    }

    /// Its entry in the file, with these further lines.
    pub fn entry(&self, name: &str, events: &str, lines: &str) -> String {
        let url = format!("{}://localhost:{}/hooks?key=secret", self.scheme, self.addr.port());
        entry(name, &url, events, lines)
    }
}

/// An entry of the file.
pub fn entry(name: &str, url: &str, events: &str, lines: &str) -> String {
    format!(
        "[[endpoints]]\nname = \"{name}\"\nurl = \"{url}\"\nsecrets = [\"{WEBHOOK_SECRET}\"]\n\
         events = [\"{events}\"]\n{lines}\n"
    )
}

/// `WEBHOOKS_FILE`, gone with its test.
pub struct WebhooksFile(tempfile::TempDir);

impl WebhooksFile {
    pub fn new(text: &str) -> Self {
        let file = Self(tempfile::tempdir().expect("a folder"));
        file.write(text);
        file
    }

    pub fn path(&self) -> String {
        self.0.path().join("webhooks.toml").display().to_string()
    }

    /// Replaces it in one step.
    pub fn write(&self, text: &str) {
        let draft = self.0.path().join("draft");
        std::fs::write(&draft, text).expect("written");
        std::fs::rename(draft, self.path()).expect("replaced");
    }
}

fn serve(stream: TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    match &state.tls {
        None => speak(stream, state),
        Some(tls) => {
            let connection = ServerConnection::new(Arc::clone(tls)).expect("a connection");
            speak(StreamOwned::new(connection, stream), state)
        }
    }
}

/// Takes requests until the connection ends.
fn speak(stream: impl Read + Write, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(received) = read(&mut reader)? {
        let decide = Arc::clone(&*state.decide.lock().expect("no panic"));
        state.received.lock().expect("no panic").push(received.clone());
        let stream = reader.get_mut();
        let answer = |status: u16, lines: &str, body: &[u8]| {
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\n{lines}content-length: {length}\r\n\r\n");
            [head.as_bytes(), body].concat()
        };
        match decide(&received) {
            Reaction::Status(status) => stream.write_all(&answer(status, "", b""))?,
            Reaction::With(status, lines) => stream.write_all(&answer(status, &lines, b"no"))?,
            Reaction::Late(wait) => {
                std::thread::sleep(wait);
                stream.write_all(&answer(200, "", b"at last"))?;
            }
            Reaction::Says(wait, body) => {
                std::thread::sleep(wait);
                stream.write_all(&answer(200, "", body.as_bytes()))?;
            }
            Reaction::Big(bytes) => stream.write_all(&answer(200, "", &vec![b'x'; bytes]))?,
            Reaction::Close => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le")?;
                return stream.flush();
            }
        }
        stream.flush()?;
    }
    Ok(())
}

fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Received>> {
    let mut headers = BTreeMap::new();
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    assert!(first.starts_with("POST /hooks?key=secret "), "{first}");
    assert_eq!(headers["content-type"], "application/json");
    let json: Value = serde_json::from_slice(&body).expect("JSON");
    let signed: HeaderMap = headers
        .iter()
        .filter(|(name, _)| name.starts_with("webhook-"))
        .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
        .collect();
    let verifier = Webhook::new(WEBHOOK_SECRET).expect("a secret");
    Ok(Some(Received {
        at: Instant::now(),
        id: headers["webhook-id"].clone(),
        timestamp: headers["webhook-timestamp"].parse().expect("a number"),
        kind: json["type"].as_str().unwrap_or_default().to_owned(),
        data: json["data"].clone(),
        body: json,
        is_signed: verifier.verify(&body, &signed).is_ok(),
    }))
}
