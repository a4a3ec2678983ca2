//! One hub at a time uses a database: the next one waits, and one that is overtaken stops.

use std::fs::OpenOptions;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use orderhub::db::connection::DbConnection;
use reqwest::Method;
use serde_json::json;

use super::support::address::Address;
use super::support::postgres_server::PostgresServer;
use super::support::raw::UpgradeRequest;
use super::support::{Database, Hub, StartingHub, each_database, token, until};

/// Waits until it says that it waits for the other one, by its process.
async fn waits_for(starting: &StartingHub, hub: &Hub) {
    let said = format!("another hub uses the database (process {} on ", hub.pid());
    until(&said, async || starting.log().contains(&said)).await;
}

#[tokio::test]
async fn a_second_hub_waits_for_the_first_and_knows_what_it_did() {
    each_database(async |database: Database| {
        let mut first = database.hub().start();
        let second = database.second(&first).launch();
        waits_for(&second, &first).await;
        // Both are up: what the first one does now the second one must not miss.
        let (status, _) = first.admin(Method::DELETE, "/admin/v1/users/eve/sessions").await;
        assert_eq!(status, 200);
        let mut customer = first.connect("customer", "customer", &["o1"]).await;
        let said = json!({ "orderId": "o1", "content": "before" });
        assert_eq!(customer.request("chat:message", said).await["seq"], 1);
        first.signal("TERM");
        drop(customer);
        assert!(first.ended().await.success());
        let second = second.listening();
        let eve = UpgradeRequest::bearer(&token("eve", "customer", &["o1"])).ask(&second).await;
        assert_eq!(eve.status, 403, "banned by the first");
        let mut customer = second.connect("customer", "customer", &["o1"]).await;
        assert_eq!(customer.join("o1").await["lastSeq"], 1);
    })
    .await;
}

#[tokio::test]
async fn a_killed_hub_keeps_the_next_one_waiting_no_longer() {
    each_database(async |database: Database| {
        let first = database.hub().start();
        let second = database.second(&first).launch();
        waits_for(&second, &first).await;
        first.signal("KILL");
        assert_eq!(second.listening().status("/readyz").await, 200);
    })
    .await;
}

#[tokio::test]
async fn a_stop_ends_a_hub_that_waits() {
    each_database(async |database: Database| {
        let first = database.hub().start();
        for signal in ["TERM", "INT"] {
            let mut second = database.second(&first).launch();
            waits_for(&second, &first).await;
            let begun = Instant::now();
            second.signal(signal);
            assert!(second.ended().await.success(), "{}", second.log());
            assert!(begun.elapsed() < Duration::from_secs(10));
        }
        assert_eq!(first.status("/readyz").await, 200);
    })
    .await;
}

#[tokio::test]
async fn a_stop_ends_a_hub_whose_migrations_wait() {
    let Some(database) = Database::postgres() else { return };
    let url = &database.postgres.as_ref().expect("PostgreSQL").url;
    let mut other = DbConnection::open(url).expect("a connection");
    other.batch_execute("SELECT pg_advisory_lock(7105112101114104)").expect("the turn");
    let mut hub = database.hub().launch();
    let waiting = "DO $$ BEGIN ASSERT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND \
         database = (SELECT oid FROM pg_database WHERE datname = current_database())); END $$";
    until("it to wait", async || other.batch_execute(waiting).is_ok()).await;
    hub.signal("TERM");
    assert!(hub.ended().await.success(), "{}", hub.log());
}

#[tokio::test]
async fn a_hub_that_waited_in_vain_names_the_other() {
    let database = Database { postgres: None };
    let first = database.hub().start();
    let begun = Instant::now();
    let mut second = database.second(&first).env("DRAIN_SECS", 0).launch();
    waits_for(&second, &first).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(second.ended().await.code(), Some(1));
    assert!(begun.elapsed() >= Duration::from_secs(30));
    let said = format!("another hub uses this database (process {} on ", first.pid());
    let log = second.log();
    let last = log.lines().last().expect("an error");
    assert!(last.starts_with("orderhub: DATABASE_URL: ") && last.contains(&said), "{log}");
    assert!(last.contains(", since 20") && last.ends_with("has not ended within 30 s"), "{log}");
}

#[tokio::test]
async fn commands_work_beside_a_running_hub() {
    each_database(async |database: Database| {
        let hub = database.hub().start();
        let url = match &database.postgres {
            None => format!("sqlite:{}", hub.data_dir().join("orderhub.sqlite3").display()),
            Some(_) => database.address().expect("a URL"),
        };
        for args in [&["migrate"][..], &["migrate", "--status"], &["check-config"]] {
            let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_orderhub"));
            let output = program.args(args).env_clear().env("DATABASE_URL", &url).output();
            let output = output.expect("runs");
            assert!(output.status.success(), "{output:?}");
        }
    })
    .await;
}

/// Takes the lock away from a hub, as another one would that was faster after an outage.
fn take_over(database: &Database, hub: &Hub) -> Box<dyn std::any::Any> {
    let Some(_) = &database.postgres else {
        let path = hub.data_dir().join("orderhub.sqlite3.lock");
        std::fs::remove_file(&path).expect("a lock file");
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).open(&path).expect("another");
        file.try_lock().expect("the lock");
        std::fs::write(&path, "process 7 on elsewhere, since now\n").expect("written");
        return Box::new(file);
    };
    let mut connection = database.connection(hub);
    let take = "SET application_name = 'orderhub 7@elsewhere'; \
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name LIKE 'orderhub %@%' AND datname = current_database() \
         AND pid <> pg_backend_pid(); \
         SELECT pg_advisory_lock(1869768821, hashtext(coalesce(current_schema(), '')))";
    connection.batch_execute(take).expect("the lock");
    Box::new(connection)
}

#[tokio::test]
async fn a_hub_that_lost_its_database_stops_and_names_the_other_hub() {
    each_database(async |database: Database| {
        let mut hub = database.hub().start();
        let mut customer = hub.connect("customer", "customer", &["o1"]).await;
        customer.join("o1").await;
        let other = take_over(&database, &hub);
        assert_eq!(customer.closed().await.code, 1012, "its client goes to the other");
        drop(customer);
        assert_eq!(hub.ended().await.code(), Some(1));
        let log = hub.log();
        let said = "orderhub: DATABASE_URL: another hub has taken this database over (process 7 on \
             elsewhere, since ";
        // Workers that end at the same time may log behind it.
        assert!(log.lines().any(|line| line.starts_with(said)), "{log}");
        drop(other);
    })
    .await;
}

#[tokio::test]
async fn a_lock_that_was_lost_is_taken_again() {
    each_database(async |database: Database| {
        let first = database.hub().start();
        if let Some(server) = &database.postgres {
            server.beside(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
                 WHERE application_name LIKE 'orderhub %@%' AND datname = '{name}'",
            );
        } else {
            let path = first.data_dir().join("orderhub.sqlite3.lock");
            std::fs::remove_file(&path).expect("a lock file");
            until("a new lock file", async || path.exists()).await;
        }
        // A look that tried to take the lock would be another hub for a moment.
        let held = async || {
            let taken = "DO $$ BEGIN ASSERT EXISTS (SELECT FROM pg_locks \
                 WHERE locktype = 'advisory' AND granted AND classid = 1869768821 AND database = \
                 (SELECT oid FROM pg_database WHERE datname = current_database())); END $$";
            database.postgres.is_none() || database.connection(&first).batch_execute(taken).is_ok()
        };
        until("the lock to be taken again", held).await;
        let second = database.second(&first).launch();
        waits_for(&second, &first).await;
        assert_eq!(first.status("/readyz").await, 200);
    })
    .await;
}

/// The condition in SQL that a session has the lock of the hub's database, other than this one.
fn held_by_another(than: &str) -> String {
    format!(
        "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND granted \
         AND classid = 1869768821 AND pid::text <> '{than}'"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_takes_the_lock_from_its_own_session_that_was_cut_off() {
    let Some(server) = PostgresServer::start() else { return };
    let address = Address::of(&server).await;
    let hub = Hub::builder().env("DATABASE_URL", address.url()).start();
    let mut customer = hub.connect("customer", "customer", &["o1"]).await;
    customer.join("o1").await;
    for seq in 1..=2 {
        let before = server.ask("SELECT pid::text FROM pg_locks WHERE classid = 1869768821");
        address.cut();
        server.wait_until(&held_by_another(&before));
        let said = json!({ "orderId": "o1", "content": "after", "clientMsgId": seq.to_string() });
        assert_eq!(customer.request("chat:message", said).await["seq"], seq);
        assert_eq!(hub.status("/readyz").await, 200);
    }
    let log = hub.logged("an earlier session of this hub still has the lock").await;
    assert!(!log.contains("another hub"), "{log}");
}

#[tokio::test]
async fn a_hub_that_lost_the_lock_has_no_connection_left_when_the_next_one_starts() {
    let Some(server) = PostgresServer::start() else { return };
    let hub = || Hub::builder().env("DATABASE_URL", server.url("hub"));
    let mut first = hub().start();
    let mut customer = first.connect("customer", "customer", &["o1"]).await;
    customer.join("o1").await;
    let users =
        "SELECT string_agg(DISTINCT pid::text, ',') FROM pg_locks WHERE classid = 1869768822";
    let its = server.ask(users);
    // It stands still, so that it sees nothing of what follows before the next one listens.
    first.signal("STOP");
    let lock = "SELECT count(pg_terminate_backend(pid, 10000))::text FROM pg_locks \
         WHERE classid = 1869768821";
    assert_eq!(server.ask(lock), "1");
    let second = hub().start();
    let left = format!("SELECT count(*)::text FROM pg_stat_activity WHERE pid IN ({its})");
    assert_eq!(server.ask(&left), "0");
    first.signal("CONT");
    // It may be gone by then.
    let request = reqwest::Client::new().delete(first.url("/admin/v1/users/eve/sessions"));
    let answer = request.bearer_auth(token("admin-1", "admin", &[])).send().await;
    let is_done = answer.is_ok_and(|answer| answer.status().is_success());
    assert!(!is_done, "the second one would not know of it");
    assert_eq!(first.ended().await.code(), Some(1));
    let eve = UpgradeRequest::bearer(&token("eve", "customer", &["o1"])).ask(&second).await;
    assert_eq!(eve.status, 101);
}

#[tokio::test]
async fn a_start_ends_where_the_database_stands_still() {
    let Some(server) = PostgresServer::start() else { return };
    let hub = || Hub::builder().env("DATABASE_URL", server.url("hub")).env("DRAIN_SECS", 0);
    let first = hub().start();
    let mut second = hub().launch();
    waits_for(&second, &first).await;
    server.freeze();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(second.ended().await.code(), Some(1));
    let log = second.log();
    let last = log.lines().last().expect("an error");
    assert_eq!(last, "orderhub: DATABASE_URL: the database has not answered within 30 s", "{log}");
}
