//! Keys that tokens are signed with, and a server of keys that can be made to misbehave.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::tls;

/// Longer than the hub waits for a server.
const STALL: Duration = Duration::from_secs(8);

/// A key on P-256 with a name.
pub struct Signer {
    pub kid: &'static str,
    pub key: EncodingKey,
}

impl Signer {
    /// A new one.
    pub fn new(kid: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let document = pair.to_pkcs8v1().expect("PKCS #8");
        Self { kid, key: EncodingKey::from_ec_der(document.as_ref()) }
    }

    /// Its public half, as it is published.
    pub fn public(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).expect("a public half");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = self.kid.into();
        jwk
    }

    /// A token of this user, for an hour.
    pub fn token(&self, user: &str) -> String {
        let header = Header { kid: Some(self.kid.to_owned()), ..Header::new(Algorithm::ES256) };
        encode(&header, &hour(user), &self.key).expect("a token")
    }
}

/// The claims of a user, for an hour.
pub fn hour(user: &str) -> Value {
    let now = protocol::time::Timestamp::now().as_millis() / 1000;
    json!({ "sub": user, "orders": ["o1"], "exp": now + 3600 })
}

/// A set of these keys.
pub fn set(signers: &[&Signer]) -> String {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.public()).collect();
    json!({ "keys": keys }).to_string()
}

/// What a server does with a request.
#[derive(Clone)]
pub enum ServerBehavior {
    /// 200 with this body.
    Serve(String),
    /// This status and a body that would be good.
    Status(&'static str, String),
    /// To another address.
    Redirect(String),
    /// A body without an end.
    Endless,
    /// A byte now and then.
    Trickle,
    /// 200 with this body, after a while.
    Late(String),
    /// Nothing at all.
    Stall,
}

/// A server of keys on loopback.
pub struct KeyServer {
    pub addr: SocketAddr,
    conduct: Arc<Mutex<ServerBehavior>>,
    hits: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    running: Option<JoinHandle<()>>,
    tls: Option<Arc<ServerConfig>>,
}

impl KeyServer {
    /// Serves plain HTTP.
    pub fn start(conduct: ServerBehavior) -> Self {
        Self::launch(conduct, None)
    }

    /// Serves HTTPS, with a certificate of [`tls::AUTHORITY`].
    pub fn start_tls(conduct: ServerBehavior) -> Self {
        Self::launch(conduct, Some(tls::server()))
    }

    fn launch(conduct: ServerBehavior, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let mut server = Self {
            addr: listener.local_addr().expect("an address"),
            conduct: Arc::new(Mutex::new(conduct)),
            hits: Arc::default(),
            stop: Arc::default(),
            running: None,
            tls,
        };
        server.run(listener);
        server
    }

    fn run(&mut self, listener: TcpListener) {
        self.stop.store(false, Ordering::SeqCst);
        let (stop, hits) = (Arc::clone(&self.stop), Arc::clone(&self.hits));
        let (conduct, tls) = (Arc::clone(&self.conduct), self.tls.clone());
        self.running = Some(std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                hits.fetch_add(1, Ordering::SeqCst);
                let (conduct, tls) = (conduct.lock().expect("no panic").clone(), tls.clone());
                // The hub may be gone, or may have had enough: no matter here.
                std::thread::spawn(move || answer(stream, &conduct, tls).ok());
            }
        }));
    }

    /// Where the keys are.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/jwks.json", self.addr)
    }

    /// From now on it does this.
    pub fn conduct(&self, conduct: ServerBehavior) {
        *self.conduct.lock().expect("no panic") = conduct;
    }

    /// How often it was asked.
    pub fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    /// Nobody listens any more.
    pub fn die(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        TcpStream::connect(self.addr).expect("wakes it");
        self.running.take().expect("it runs").join().expect("no panic");
    }

    /// Listens again at the same address.
    pub fn come_back(&mut self) {
        self.run(TcpListener::bind(self.addr).expect("the same address"));
    }
}

fn answer(
    stream: TcpStream,
    conduct: &ServerBehavior,
    tls: Option<Arc<ServerConfig>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(STALL))?;
    match tls {
        None => speak(stream, conduct),
        Some(tls) => {
            let connection = ServerConnection::new(tls).expect("a connection");
            speak(StreamOwned::new(connection, stream), conduct)
        }
    }
}

fn speak(stream: impl Read + Write, conduct: &ServerBehavior) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::from("x");
    while !line.trim().is_empty() {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let mut stream = reader.into_inner();
    let end = "content-type: text/plain\r\nconnection: close\r\n";
    match conduct {
        ServerBehavior::Serve(body) => write!(stream, "HTTP/1.1 200 OK\r\n{end}\r\n{body}")?,
        ServerBehavior::Status(status, body) => {
            write!(stream, "HTTP/1.1 {status}\r\n{end}\r\n{body}")?;
        }
        ServerBehavior::Redirect(to) => {
            write!(stream, "HTTP/1.1 302 Found\r\n{end}location: {to}\r\n\r\n")?;
        }
        ServerBehavior::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\n{end}\r\n")?;
            loop {
                stream.write_all(&[b' '; 4096])?;
            }
        }
        ServerBehavior::Trickle => {
            write!(stream, "HTTP/1.1 200 OK\r\n{end}\r\n")?;
            loop {
                stream.write_all(b" ")?;
                stream.flush()?;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        ServerBehavior::Late(body) => {
            std::thread::sleep(Duration::from_millis(500));
            write!(stream, "HTTP/1.1 200 OK\r\n{end}\r\n{body}")?;
        }
        ServerBehavior::Stall => std::thread::sleep(STALL),
    }
    stream.flush()
}
