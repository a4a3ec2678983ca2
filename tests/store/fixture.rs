//! A store on a fresh database, and somebody who collects its answers.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Arbiter, Context, Handler, System};
use orderhub::actors::store::{
    ChatWriteError, ChatWritten, NewMessage, Sharing, Store, StoreOptions, StoredChat, TrailOptions,
};
use orderhub::config::DatabaseUrl;
use orderhub::db::connection::DbConnection;
use orderhub::db::migrate;
use orderhub::metrics::{LabelValues, Metrics};
use protocol::chat::ChatKind;
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;

use crate::postgres::TestDatabase;

/// How long a test waits for what must come.
pub const TIMEOUT: Duration = Duration::from_secs(20);

pub type Outcome = Result<StoredChat, ChatWriteError>;

/// A store on a database of its own.
pub struct Fixture {
    pub url: DatabaseUrl,
    pub store: Store,
    pub metrics: Arc<Metrics>,
    answers: Arc<Mutex<Vec<(u64, Outcome)>>>,
    collector: Addr<Collector>,
}

/// Runs `test` on SQLite, and on PostgreSQL where there is one.
pub fn each_database(test: impl AsyncFn(Fixture)) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = DatabaseUrl::Sqlite(folder.path().join("hub.sqlite3"));
    System::new().block_on(async { test(Fixture::start(url)).await });
    on_postgres(test);
}

/// Runs `test` on PostgreSQL alone.
pub fn on_postgres(test: impl AsyncFn(Fixture)) {
    with_postgres(|url| System::new().block_on(async { test(Fixture::start(url)).await }));
}

/// Runs `test` on an empty PostgreSQL database, or says why not.
pub fn with_postgres(test: impl FnOnce(DatabaseUrl)) {
    if let Some(database) = TestDatabase::create() {
        test(database.url.clone());
    }
}

impl Fixture {
    /// Brings the tables up to date and starts a store.
    pub fn start(url: DatabaseUrl) -> Self {
        migrate::run(&mut DbConnection::open(&url).expect("a database")).expect("tables");
        let metrics = Arc::new(Metrics::new(&LabelValues::default()));
        let options = StoreOptions {
            url: url.clone(),
            sharing: Sharing::Alone,
            pool_size: 4,
            trail: TrailOptions::default(),
            outbox: None,
            relay: None,
        };
        let store = Store::start(&options, Arc::clone(&metrics), &Arbiter::current());
        let answers = Arc::<Mutex<Vec<_>>>::default();
        let collector = Collector(Arc::clone(&answers)).start();
        Self { url, store: store.expect("a store"), metrics, answers, collector }
    }

    /// A connection beside the store.
    pub fn connection(&self) -> DbConnection {
        DbConnection::open(&self.url).expect("a connection")
    }

    /// Hands a message in; `false` where it was refused.
    pub fn write(&self, token: u64, message: NewMessage) -> bool {
        let reply = self.collector.clone().recipient();
        self.store.write_chat(message, token, reply).is_ok()
    }

    /// The answers, by token, once there are so many.
    pub async fn answers(&self, count: usize) -> Vec<(u64, Outcome)> {
        until("the answers", async || self.answers.lock().expect("no panic").len() >= count).await;
        let mut answers = std::mem::take(&mut *self.answers.lock().expect("no panic"));
        assert_eq!(answers.len(), count, "more answers than messages");
        answers.sort_by_key(|(token, _)| *token);
        answers
    }

    /// Hands one message in and waits for its answer.
    pub async fn say(&self, message: NewMessage) -> Outcome {
        assert!(self.write(0, message), "refused");
        self.answers(1).await.remove(0).1
    }

    /// As [`Self::say`], and again until the store has healed.
    pub async fn say_until_stored(&self, message: NewMessage) -> StoredChat {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match self.say(message.clone()).await {
                Ok(stored) => return stored,
                Err(error) => assert!(Instant::now() < deadline, "not healed: {error}"),
            }
        }
    }
}

/// Waits until `true`, at most [`TIMEOUT`].
pub async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !reached().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A message with a new id.
pub fn message(order: &str, content: &str) -> NewMessage {
    NewMessage {
        id: uuid::Uuid::now_v7().to_string(),
        order_id: OrderId::new(order).expect("an id"),
        sender_id: UserId::new("ann").expect("an id"),
        sender_name: "Änn \"the\" driver".into(),
        sender_role: Role::Driver,
        kind: ChatKind::Text,
        content: content.into(),
        client_msg_id: None,
        created_at: Timestamp::from_millis(1_700_000_000_123),
        sent_hash: None,
        judged_by: None,
    }
}

/// A message with the sender's own key.
pub fn keyed(order: &str, key: &str, content: &str) -> NewMessage {
    NewMessage { client_msg_id: Some(key.into()), ..message(order, content) }
}

pub fn order(id: &str) -> OrderId {
    OrderId::new(id).expect("an id")
}

struct Collector(Arc<Mutex<Vec<(u64, Outcome)>>>);

impl Actor for Collector {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(8192);
    }
}

impl Handler<ChatWritten> for Collector {
    type Result = ();

    fn handle(&mut self, written: ChatWritten, _: &mut Self::Context) {
        self.0.lock().expect("no panic").push((written.token, written.outcome));
    }
}
