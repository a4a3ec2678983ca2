//! Everything fails at once, again and again, and every promise is kept: the hub is killed,
//! drained, stopped and replaced, its database too, its disk is full, all clients come back in
//! the same moment, while apps talk and back ends work. `tests/chaos` runs it for longer.
//!
//! Of the environment: `CHAOS_SECS`, how long on each database; `CHAOS_SEED`, which draws the
//! faults and what apps do; `CHAOS_DISK`, a folder on a small disk of its own that may be filled.

mod app;
mod back_end;
mod check;
mod faults;
mod guests;
mod hub;
mod line;
mod postgres;
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use orderhub::config::DatabaseUrl;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use app::{App, Person};
use faults::{Database, Faults};
use guests::GuestAccess;
use hub::{Hub, Settings};
use postgres::Postgres;
use world::{Rng, World};

const ORDERS: usize = 20;
const GUESTS: usize = 5;
const BACK_ENDS: usize = 3;
const SUPPORT: usize = 3;
/// A run without `CHAOS_SECS`, and how long the faults of a round last.
const SHORT: u64 = 12;
const STORM: (u64, u64) = (6000, 12_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_is_kept_on_sqlite_under_faults() {
    run("sqlite", async |folder| {
        let url = DatabaseUrl::Sqlite(folder.join("data/orderhub.sqlite3"));
        Database { postgres: None, url, disk: None }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_is_kept_on_postgres_under_faults() {
    let Some(programs) = postgres::programs() else {
        tell("SKIPPED on PostgreSQL: the chaos test (no initdb)");
        return;
    };
    run("postgres", async |folder| {
        let server = Postgres::start(programs, folder.join("postgres")).await;
        let url = server.url().parse().expect("a database");
        Database { postgres: Some(server), url, disk: None }
    })
    .await;
}

/// A run on a database that is made in the folder that it is given.
async fn run(name: &str, make: impl AsyncFnOnce(&Path) -> Database) {
    let seed = number("CHAOS_SEED").unwrap_or(1);
    let length = Duration::from_secs(number("CHAOS_SECS").unwrap_or(SHORT));
    let dir = tempfile::tempdir().expect("a folder");
    // The user that PostgreSQL runs as has to get through.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("open");
    let small = std::env::var_os("CHAOS_DISK").map(|disk| PathBuf::from(disk).join(name));
    let folder = small.as_deref().unwrap_or(dir.path());
    fs::create_dir_all(folder).expect("a folder");
    let mut database = make(folder).await;
    database.disk = small.clone();
    let log = dir.path().join("hub.log");
    let postgres = database.postgres.as_ref().map(Postgres::url);
    let settings = Settings { data: folder.join("data"), database: postgres, log: log.clone() };
    let mut hub = Hub::start(settings).await;
    let world = Arc::new(World::new(seed, hub.addr, ORDERS));
    tell(&format!("{name}: seed {seed}, {length:?}, log {}", log.display()));

    let tasks = populate(&world).await;
    let mut faults = Faults::new(seed, &database);
    let mut rng = Rng::new(seed, 4);
    let end = Instant::now() + length;
    let mut round = 0;
    let mut failed = None;
    while failed.is_none() && (round == 0 || Instant::now() < end) {
        round += 1;
        world.talking.store(true, SeqCst);
        let most = Instant::now() + rng.millis(STORM.0, STORM.1);
        faults.storm(&world, &mut hub, &mut database, most.min(end)).await;
        failed = settle(&world, &mut hub, round).await;
    }
    if failed.is_none() {
        world.note("the hub: Kill, at rest");
        hub.kill().await;
        hub.start_again(&world).await;
        failed = settle(&world, &mut hub, round).await;
    }
    world.over.store(true, SeqCst);
    for task in tasks {
        timeout(Duration::from_secs(60), task).await.expect("ends").expect("no panic");
    }
    hub.kill().await;
    if let Some(report) = failed {
        let kept = dir.keep();
        panic!("{name}: {report}\nlog of the hub: {}", kept.join("hub.log").display());
    }
    if let Some(small) = small {
        drop(database);
        fs::remove_dir_all(small).expect("removed");
    }
}

/// Lets everything come to rest, and gives what is wrong then.
async fn settle(world: &World, hub: &mut Hub, round: usize) -> Option<String> {
    world.talking.store(false, SeqCst);
    check::everything(world, hub).await;
    let messages: usize = world.acked.lock().expect("no panic").values().map(BTreeMap::len).sum();
    let (memory, files) = hub.takes();
    let time = world.began.elapsed().as_secs();
    tell(&format!("{time:5} s  round {round}: {messages} messages, {memory} MiB, {files} files"));
    world.report(round)
}

/// Makes the orders, and lets in those who use them.
async fn populate(world: &Arc<World>) -> Vec<JoinHandle<()>> {
    let orders: Vec<String> = (0..ORDERS).map(|n| format!("o{n}")).collect();
    let mut people: Vec<Person> = Vec::new();
    let mut tasks = Vec::new();
    for (n, order) in orders.iter().enumerate() {
        let guest = (n < GUESTS).then(|| format!("guest{n}"));
        back_end::create_order(world, order, &format!("driver{n}"), guest.as_deref()).await;
        let person =
            |user, role| Person { user, role, orders: vec![order.clone()], standing: None };
        people.push(person(format!("driver{n}"), "driver"));
        people.push(person(format!("customer{n}"), "customer"));
        if let Some(user) = guest {
            let standing = Arc::new(GuestAccess::new());
            let (shared, order) = (Arc::clone(&standing), order.clone());
            let keeper = guests::keep(Arc::clone(world), user.clone(), order, shared, n as u64);
            tasks.push(tokio::spawn(keeper));
            people.push(Person { standing: Some(standing), ..person(user, "customer") });
        }
    }
    for n in 0..SUPPORT {
        let orders = orders.iter().skip(n).step_by(SUPPORT).cloned().collect();
        let user = format!("support{n}");
        people.push(Person { user, role: "support", orders, standing: None });
    }
    for (number, person) in people.into_iter().enumerate() {
        tasks.push(tokio::spawn(App::new(world, person, number as u64).run()));
    }
    for n in 0..BACK_ENDS {
        let orders = orders.iter().skip(n).step_by(BACK_ENDS).cloned().collect();
        tasks.push(tokio::spawn(back_end::run(Arc::clone(world), orders, n as u64)));
    }
    tasks
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// Past the test harness, which hides what passing tests print.
fn tell(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("standard error");
}
