//! Group commit: chat messages a second from admission to the acknowledged commit, with 100 rooms
//! that each have one message in flight. SQLite, and PostgreSQL where `TEST_DATABASE_URL` names a
//! server on which databases may be made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Arbiter, AsyncContext, Context, Handler, Message, System};
use criterion::{Criterion, Throughput};
use diesel::connection::SimpleConnection;
use orderhub::actors::store::{
    ChatWritten, NewMessage, Sharing, Store, StoreOptions, TrailOptions,
};
use orderhub::config::DatabaseUrl;
use orderhub::db::connection::DbConnection;
use orderhub::db::migrate;
use orderhub::metrics::{LabelValues, Metrics};
use orderhub::webhooks::endpoints::Endpoints;
use orderhub::webhooks::outbox::{Outbox, OutboxSettings};
use orderhub::webhooks::unread::UnreadRules;
use protocol::chat::ChatKind;
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;
use tokio::sync::oneshot;

const ROOMS: u64 = 100;
/// Messages of one measured turn, so that a turn is many batches.
const MESSAGES: u64 = 10_000;

/// A hundred rooms in one actor: each answer sends that room's next message.
struct Rooms {
    store: Store,
    left_to_send: u64,
    left_to_hear: u64,
    done: Option<oneshot::Sender<()>>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Start {
    messages: u64,
    done: oneshot::Sender<()>,
}

impl Rooms {
    fn send(&mut self, room: u64, reply: Addr<Self>) {
        self.left_to_send -= 1;
        let id = uuid::Uuid::now_v7().to_string();
        let message = NewMessage {
            order_id: OrderId::new(&format!("order-{room:06}")).expect("an id"),
            sender_id: UserId::new("customer-42").expect("an id"),
            sender_name: "Ann Example".into(),
            sender_role: Role::Customer,
            kind: ChatKind::Text,
            content: "I am at the door, the bell does not work. Please call me.".into(),
            client_msg_id: Some(id.clone()),
            created_at: Timestamp::now(),
            sent_hash: None,
            judged_by: None,
            id,
        };
        self.store.write_chat(message, room, reply.recipient()).expect("admitted");
    }
}

impl Actor for Rooms {
    type Context = Context<Self>;
}

impl Handler<Start> for Rooms {
    type Result = ();

    fn handle(&mut self, start: Start, ctx: &mut Self::Context) {
        (self.left_to_send, self.left_to_hear) = (start.messages, start.messages);
        self.done = Some(start.done);
        for room in 0..ROOMS.min(start.messages) {
            self.send(room, ctx.address());
        }
    }
}

impl Handler<ChatWritten> for Rooms {
    type Result = ();

    fn handle(&mut self, written: ChatWritten, ctx: &mut Self::Context) {
        written.outcome.expect("stored");
        self.left_to_hear -= 1;
        if self.left_to_send > 0 {
            self.send(written.token, ctx.address());
        } else if self.left_to_hear == 0 {
            self.done.take().expect("a turn").send(()).expect("a listener");
        }
    }
}

/// An endpoint that hears of every message. Nothing is sent: this is what its rows cost.
fn outbox() -> Arc<Outbox> {
    let file = "[[endpoints]]\nname = \"push\"\nurl = \"https://shop.example/\"\n\
                secrets = [\"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\"]\n\
                events = [\"chat.message\"]\n";
    let endpoints = Endpoints::parse(file.as_bytes()).expect("endpoints");
    let unread = UnreadRules { after: Duration::ZERO, repeat: Duration::ZERO };
    let (max_rows, node) = (i64::MAX, "bench".to_owned());
    Arc::new(Outbox::new(&endpoints, OutboxSettings { max_rows, unread, node }))
}

fn measure(criterion: &mut Criterion, name: &str, url: DatabaseUrl, outbox: Option<Arc<Outbox>>) {
    migrate::run(&mut DbConnection::open(&url).expect("a database")).expect("tables");
    let words = LabelValues::default();
    let system = System::new();
    let rooms = system.block_on(async {
        let options = StoreOptions {
            url,
            sharing: Sharing::Alone,
            pool_size: 4,
            trail: TrailOptions::default(),
            outbox,
            relay: None,
        };
        let metrics = Arc::new(Metrics::new(&words));
        let store = Store::start(&options, metrics, &Arbiter::current()).expect("a store");
        store.ping().await.expect("an answer");
        Rooms { store, left_to_send: 0, left_to_hear: 0, done: None }.start()
    });
    let mut group = criterion.benchmark_group("group_commit");
    group.sample_size(10).warm_up_time(Duration::from_secs(2));
    group.measurement_time(Duration::from_secs(15)).throughput(Throughput::Elements(MESSAGES));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|turns| {
            let started = Instant::now();
            for _ in 0..turns {
                let (done, finished) = oneshot::channel();
                rooms.do_send(Start { messages: MESSAGES, done });
                system.block_on(finished).expect("all stored");
            }
            started.elapsed()
        });
    });
    group.finish();
}

fn on_postgres(criterion: &mut Criterion, server: &str) {
    let admin = |sql: &str| {
        let url = server.parse().expect("a database");
        let mut connection = DbConnection::open(&url).expect("the server");
        connection.batch_execute("SET statement_timeout = 0").expect("set");
        connection.batch_execute(sql).expect("done");
    };
    for (name, outbox) in [("postgres", None), ("postgres_webhooks", Some(outbox()))] {
        let database = format!("orderhub_bench_{}", uuid::Uuid::new_v4().simple());
        admin(&format!("CREATE DATABASE {database}"));
        let host = server.rsplit_once('/').map_or(server, |(host, _)| host);
        let url = format!("{host}/{database}").parse().expect("a database");
        measure(criterion, name, url, outbox);
        admin(&format!("DROP DATABASE {database} WITH (FORCE)"));
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    // In the target folder, which is on a disk: a temporary folder may be in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    for (name, outbox) in [("sqlite", None), ("sqlite_webhooks", Some(outbox()))] {
        let url = DatabaseUrl::Sqlite(folder.path().join(format!("{name}.sqlite3")));
        measure(&mut criterion, name, url, outbox);
    }
    if let Ok(server) = std::env::var("TEST_DATABASE_URL") {
        on_postgres(&mut criterion, &server);
    }
    criterion.final_summary();
}
