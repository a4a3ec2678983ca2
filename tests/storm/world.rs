//! What all parts of a run share: where the hub is, what was promised, what went wrong, and when.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use protocol::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

/// The secret of the hub: it signs the tokens of the run.
pub const SECRET: &str = "secret-of-the-chaos-test-0123456789abcdef";
/// How long a call over HTTP may take: the hub itself answers after 30 s at the latest.
const CALL: Duration = Duration::from_secs(35);

/// A message as a member or the database has it: its id and its content. The content is also its
/// `clientMsgId`, and no two messages of a run have the same.
pub type Message = (String, String);

/// The id and the seq of a message.
pub type Ack = (String, usize);

/// The state of a run.
pub struct World {
    pub seed: u64,
    pub began: Instant,
    /// Where the hub listens; another address after each start.
    pub hub: watch::Sender<SocketAddr>,
    /// A change breaks the connection of each app.
    pub cuts: watch::Sender<u64>,
    /// Whether apps and back ends begin anything new.
    pub talking: AtomicBool,
    /// The run is over: apps and back ends end.
    pub over: AtomicBool,
    /// Of each app and back end.
    pub gauges: Mutex<Vec<Arc<Gauge>>>,
    /// What was acknowledged, by order and content.
    pub acked: Mutex<HashMap<String, BTreeMap<String, Ack>>>,
    /// What each member has seen of each order, from seq 1: by user and order.
    pub views: Mutex<HashMap<(String, String), Vec<Message>>>,
    pub orders: BTreeMap<String, OrderState>,
    /// What was done to the hub and its database, and when.
    timeline: Mutex<Vec<String>>,
    violations: Mutex<Vec<String>>,
    http: reqwest::Client,
}

/// What back ends have said of an order.
#[derive(Default)]
pub struct OrderState {
    /// The number of the last status that was sent, and that was acknowledged.
    pub status_sent: AtomicUsize,
    pub status_acked: AtomicUsize,
    /// Acknowledged changes: the order's `rev` counts the same.
    pub changes: AtomicUsize,
}

/// How an app or a back end is doing.
#[derive(Default)]
pub struct Gauge {
    pub name: String,
    /// It is in all its rooms.
    pub live: AtomicBool,
    /// What it has begun and was not acknowledged.
    pub unacked: AtomicUsize,
}

impl World {
    pub fn new(seed: u64, hub: SocketAddr, orders: usize) -> Self {
        Self {
            seed,
            began: Instant::now(),
            hub: watch::Sender::new(hub),
            cuts: watch::Sender::new(0),
            talking: AtomicBool::new(false),
            over: AtomicBool::new(false),
            gauges: Mutex::default(),
            acked: Mutex::default(),
            views: Mutex::default(),
            orders: (0..orders).map(|n| (format!("o{n}"), OrderState::default())).collect(),
            timeline: Mutex::default(),
            violations: Mutex::default(),
            http: reqwest::Client::builder().timeout(CALL).build().expect("a client"),
        }
    }

    /// A gauge that the end of each round looks at.
    pub fn gauge(&self, name: &str) -> Arc<Gauge> {
        let gauge = Arc::new(Gauge { name: name.to_owned(), ..Gauge::default() });
        self.gauges.lock().expect("no panic").push(Arc::clone(&gauge));
        gauge
    }

    pub fn talks(&self) -> bool {
        self.talking.load(SeqCst)
    }

    pub fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// A line of the time line.
    pub fn note(&self, what: &str) {
        let line = format!("{:8.3} s  {what}", self.began.elapsed().as_secs_f64());
        self.timeline.lock().expect("no panic").push(line);
    }

    /// A promise is broken.
    pub fn broken(&self, what: &str) {
        let mut violations = self.violations.lock().expect("no panic");
        if violations.len() < 30 {
            violations.push(format!("{:8.3} s  {what}", self.began.elapsed().as_secs_f64()));
        }
    }

    /// What went wrong with all that led to it, where anything did.
    pub fn report(&self, round: usize) -> Option<String> {
        let violations = self.violations.lock().expect("no panic");
        let timeline = self.timeline.lock().expect("no panic").join("\n  ");
        let (seed, broken) = (self.seed, violations.join("\n  "));
        (!violations.is_empty()).then(|| {
            format!(
                "seed {seed}, round {round}\nfaults:\n  {timeline}\nbroken promises:\n  {broken}"
            )
        })
    }

    /// Notes an acknowledgement; one that was given before must be the same again.
    pub fn acknowledged(&self, order: &str, content: &str, id: &str, seq: usize) {
        let mut acked = self.acked.lock().expect("no panic");
        let of_order = acked.entry(order.to_owned()).or_default();
        let promise = (id.to_owned(), seq);
        if let Some(before) = of_order.insert(content.to_owned(), promise.clone())
            && before != promise
        {
            self.broken(&format!("{order} {content}: acked as {before:?}, again as {promise:?}"));
        }
    }

    /// One call over HTTP, where it was answered.
    pub async fn call(&self, call: &Call<'_>) -> Option<(u16, String)> {
        let url = format!("http://{}{}", *self.hub.borrow(), call.path);
        let token = token("back-end", call.role, &[], now_secs());
        let mut request = self.http.request(call.method.clone(), url).bearer_auth(token);
        if let Some(key) = &call.key {
            request = request.header("Idempotency-Key", key);
        }
        if !call.body.is_null() {
            request = request.json(&call.body);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.ok()?))
    }

    /// The same again until it has succeeded, as a careful back end does.
    pub async fn insist(&self, call: &Call<'_>) -> String {
        loop {
            match self.call(call).await {
                Some((200..=299, text)) => return text,
                // Not now: a database that is down, a hub that drains.
                None | Some((408 | 429 | 503, _)) => {}
                Some((status, text)) => {
                    self.broken(&format!("{} {}: {status} {text}", call.method, call.path));
                    if self.is_over() {
                        return text;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// A call over HTTP.
pub struct Call<'a> {
    pub method: Method,
    pub path: String,
    pub role: &'a str,
    pub key: Option<String>,
    pub body: Value,
}

impl Call<'_> {
    /// Of a back end.
    pub fn service(method: Method, path: &str, body: Value) -> Self {
        Call { method, path: format!("/api/v1{path}"), role: "service", key: None, body }
    }
}

/// A token that was issued at this second, for an hour.
pub fn token(user: &str, role: &str, orders: &[String], issued: i64) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let claims = json!({ "sub": user, "role": role, "orders": orders, "iat": issued,
        "exp": now_secs() + 3600 });
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a token")
}

/// A number of the protocol.
pub fn number(value: &Value) -> usize {
    value.as_u64().and_then(|number| number.try_into().ok()).expect("a number")
}

pub fn now_millis() -> i64 {
    Timestamp::now().as_millis()
}

pub fn now_secs() -> i64 {
    now_millis() / 1000
}

/// Numbers that a seed repeats (`SplitMix64`).
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = Self(seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        rng.0 = rng.next();
        rng
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least `from` and below `to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from)
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.between(0, times) == 0
    }

    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.between(from, to))
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.between(0, of.len() as u64)).expect("an index")]
    }

    pub fn shuffle<T>(&mut self, of: &mut [T]) {
        for last in (1..of.len()).rev() {
            of.swap(last, usize::try_from(self.between(0, last as u64 + 1)).expect("an index"));
        }
    }
}
