//! What is done to the hub, to its database and to its clients, each by a lane of its own, so
//! that faults meet.

use std::path::PathBuf;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use orderhub::config::DatabaseUrl;
use orderhub::db::connection::DbConnection;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::hub::{Hub, fill};
use super::line::Line;
use super::postgres::Postgres;
use super::world::{Call, Rng, World, now_secs, token};

/// Where the hub keeps what it must not lose.
pub struct Database {
    /// None: `SQLite`.
    pub postgres: Option<Postgres>,
    pub url: DatabaseUrl,
    /// A folder on the database's disk where that is small enough to be filled.
    pub disk: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy)]
enum HubFault {
    Kill,
    Drain,
    Stall,
    /// A new one starts while the old one drains.
    Deploy,
}

#[derive(Debug, Clone, Copy)]
enum DatabaseFault {
    Lock,
    Full,
    Kill,
    Crash,
    Stall,
    CutConnections,
}

#[derive(Debug, Clone, Copy)]
enum ClientFault {
    CutAll,
    SlowReaders,
    Strangers,
}

/// The faults of a run: each kind comes once, in an order of the seed, before any comes again.
pub struct Faults {
    hub: Bag<HubFault>,
    database: Bag<DatabaseFault>,
    clients: Bag<ClientFault>,
}

struct Bag<T> {
    rng: Rng,
    all: Vec<T>,
    left: Vec<T>,
}

impl<T: Copy> Bag<T> {
    fn new(seed: u64, stream: u64, all: Vec<T>) -> Self {
        Self { rng: Rng::new(seed, stream), all, left: Vec::new() }
    }

    fn draw(&mut self) -> T {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
            self.rng.shuffle(&mut self.left);
        }
        self.left.pop().expect("one is left")
    }
}

impl Faults {
    pub fn new(seed: u64, database: &Database) -> Self {
        use DatabaseFault::{Crash, CutConnections, Full, Kill, Lock, Stall};
        let mut of_database = vec![Lock];
        if database.disk.is_some() {
            of_database.push(Full);
        }
        if database.postgres.is_some() {
            of_database.extend([Kill, Crash, Stall, CutConnections]);
        }
        let of_hub = vec![HubFault::Kill, HubFault::Drain, HubFault::Stall, HubFault::Deploy];
        let of_clients =
            vec![ClientFault::CutAll, ClientFault::SlowReaders, ClientFault::Strangers];
        Self {
            hub: Bag::new(seed, 1, of_hub),
            database: Bag::new(seed, 2, of_database),
            clients: Bag::new(seed, 3, of_clients),
        }
    }

    /// Faults until this moment. Each is over, and everything runs, when this returns.
    pub async fn storm(
        &mut self,
        world: &World,
        hub: &mut Hub,
        database: &mut Database,
        end: Instant,
    ) {
        let of_hub = async {
            while pause(&mut self.hub.rng, end).await {
                let fault = self.hub.draw();
                hub.watch(world).await;
                world.note(&format!("the hub: {fault:?}"));
                on_hub(fault, world, hub, &mut self.hub.rng).await;
                world.note(&format!("the hub runs after {fault:?}"));
            }
        };
        let of_database = async {
            while pause(&mut self.database.rng, end).await {
                let fault = self.database.draw();
                let length = self.database.rng.millis(500, 6000);
                world.note(&format!("the database: {fault:?} for {length:?}"));
                on_database(fault, length, database).await;
                world.note(&format!("the database is healed of {fault:?}"));
            }
        };
        let of_clients = async {
            while pause(&mut self.clients.rng, end).await {
                let fault = self.clients.draw();
                world.note(&format!("clients: {fault:?}"));
                on_clients(fault, world, &mut self.clients.rng).await;
            }
        };
        tokio::join!(of_hub, of_database, of_clients);
    }
}

/// Waits for the next fault; false where there is no time for one.
async fn pause(rng: &mut Rng, end: Instant) -> bool {
    sleep(rng.millis(300, 2500)).await;
    Instant::now() < end
}

async fn on_hub(fault: HubFault, world: &World, hub: &mut Hub, rng: &mut Rng) {
    match fault {
        HubFault::Kill => {
            hub.kill().await;
            sleep(rng.millis(0, 1500)).await;
            hub.start_again(world).await;
        }
        HubFault::Drain => {
            hub.drain(world).await;
            hub.start_again(world).await;
        }
        HubFault::Stall => {
            hub.signal("STOP");
            sleep(rng.millis(1000, 3000)).await;
            hub.signal("CONT");
        }
        HubFault::Deploy => hub.replace(world).await,
    }
}

async fn on_database(fault: DatabaseFault, length: Duration, database: &mut Database) {
    match fault {
        DatabaseFault::Lock => lock(database.url.clone(), length).await,
        DatabaseFault::Full => {
            let disk = database.disk.clone().expect("a small disk");
            let ballast = spawn_blocking(move || fill(&disk)).await.expect("no panic");
            sleep(length).await;
            std::fs::remove_file(ballast).expect("removed");
        }
        DatabaseFault::CutConnections => {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
            let url = database.url.clone();
            let cut = move || DbConnection::open(&url).map(|mut it| it.batch_execute(sql));
            spawn_blocking(cut).await.expect("no panic").ok();
        }
        DatabaseFault::Kill | DatabaseFault::Crash | DatabaseFault::Stall => {
            let server = database.postgres.as_mut().expect("PostgreSQL");
            let signal = match fault {
                DatabaseFault::Kill => "KILL",
                DatabaseFault::Crash => "QUIT",
                _ => "STOP",
            };
            server.each(signal);
            if signal != "STOP" {
                server.gone().await;
            }
            sleep(length).await;
            server.each("CONT");
        }
    }
    if let Some(server) = &mut database.postgres {
        server.mend().await;
    }
}

/// Keeps every writer out for so long.
async fn lock(url: DatabaseUrl, length: Duration) {
    let sql = match url {
        DatabaseUrl::Sqlite(_) => "BEGIN EXCLUSIVE",
        DatabaseUrl::Postgres(_) => "BEGIN; LOCK TABLE orders, messages IN EXCLUSIVE MODE",
    };
    let hold = move || {
        // Where the hub has it just now this one waits, and may be told to go.
        let mut connection = DbConnection::open(&url).ok()?;
        connection.batch_execute(sql).ok()?;
        std::thread::sleep(length);
        connection.batch_execute("ROLLBACK").ok()
    };
    spawn_blocking(hold).await.expect("no panic");
}

async fn on_clients(fault: ClientFault, world: &World, rng: &mut Rng) {
    let hub = *world.hub.borrow();
    match fault {
        ClientFault::CutAll => world.cuts.send_modify(|cut| *cut += 1),
        ClientFault::SlowReaders => {
            let readers =
                futures_util::future::join_all((0..10).map(|n| slow_reader(hub, n))).await;
            let path = "/orders/o0/events";
            let body = json!({ "event": "big", "data": { "text": "x".repeat(15_000) } });
            for _ in 0..60 {
                world.call(&Call::service(reqwest::Method::POST, path, body.clone())).await;
            }
            sleep(rng.millis(500, 3000)).await;
            drop(readers);
        }
        ClientFault::Strangers => {
            let mut connections = Vec::new();
            for number in 0..40 {
                let Ok(mut stream) = TcpStream::connect(hub).await else { continue };
                stream.write_all(&rubbish(number, rng)).await.ok();
                connections.push(stream);
            }
            sleep(rng.millis(500, 3000)).await;
        }
    }
}

/// Somebody of the support desk who joins the first order and reads nothing of it.
async fn slow_reader(hub: std::net::SocketAddr, number: u64) -> Option<Line> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.set_recv_buffer_size(4096).ok()?;
    let stream = socket.connect(hub).await.ok()?;
    let token = token(&format!("slow-{number}"), "support", &[], now_secs());
    let mut line = Line::over(stream, hub, &token).await?;
    line.send("order:join", &json!({ "orderId": "o0" }), 1).await;
    Some(line)
}

/// What no client of the hub says.
fn rubbish(number: u64, rng: &mut Rng) -> Vec<u8> {
    match number % 5 {
        0 => (0..500).map(|_| u8::try_from(rng.between(0, 256)).expect("a byte")).collect(),
        1 => b"GET /ws HTTP/1.1\r\nhost: hub\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
            authorization: Bearer a.b.c\r\n\r\n\x81\xff"
            .to_vec(),
        2 => b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: hub\r\n\
            content-length: 1000000\r\n\r\n42"
            .to_vec(),
        3 => b"GET /ws HTT".to_vec(),
        _ => b"PUT /api/v1/orders/o0 HTTP/1.1\r\nhost: hub\r\ntransfer-encoding: chunked\r\n\r\nzz"
            .to_vec(),
    }
}
