//! When the database is locked or gone: errors, never acks, and it heals by itself.

use std::time::{Duration, Instant};

use diesel::RunQueryDsl;
use diesel::connection::SimpleConnection;
use orderhub::actors::store::{ChatWriteError, StoreError};
use orderhub::config::DatabaseUrl;

use crate::fixture::{Fixture, each_database, keyed, message, on_postgres, order};

#[test]
fn a_locked_database_gives_errors_until_it_is_released() {
    each_database(async |hub: Fixture| {
        hub.say(message("o", "before")).await.expect("stored");
        let mut other = hub.connection();
        let lock = match hub.url {
            DatabaseUrl::Sqlite(_) => "BEGIN EXCLUSIVE",
            DatabaseUrl::Postgres(_) => "BEGIN; LOCK TABLE orders, messages IN EXCLUSIVE MODE",
        };
        other.batch_execute(lock).expect("locked");
        let started = Instant::now();
        for token in 0..1000 {
            assert!(hub.write(token, message("o", "during")));
        }
        let answers = hub.answers(1000).await;
        for (_, outcome) in answers {
            assert_eq!(outcome, Err(ChatWriteError::Unavailable));
        }
        // One timeout for the first batch, and the rest is given up with it.
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        other.batch_execute("ROLLBACK").expect("released");
        assert_eq!(hub.say_until_stored(message("o", "after")).await.message.seq, 2);
    });
}

#[test]
fn a_position_that_cannot_be_written_is_an_error() {
    each_database(async |hub: Fixture| {
        let mut other = hub.connection();
        let lock = match hub.url {
            DatabaseUrl::Sqlite(_) => "BEGIN IMMEDIATE",
            DatabaseUrl::Postgres(_) => "BEGIN; LOCK TABLE orders IN EXCLUSIVE MODE",
        };
        other.batch_execute(lock).expect("locked");
        let position = serde_json::from_str(
            r#"{"lat":1,"lng":2,"timestamp":"2026-01-01T00:00:00.000Z","driverId":"dan"}"#,
        );
        let saved = hub.store.save_position(order("o"), position.expect("a position")).await;
        assert!(matches!(saved, Err(StoreError::Unavailable(_))), "{saved:?}");
        other.batch_execute("ROLLBACK").expect("released");
    });
}

fn kill_all_others(hub: &Fixture) {
    diesel::sql_query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .execute(&mut hub.connection())
    .expect("killed");
}

#[test]
fn killed_connections_are_replaced() {
    on_postgres(async |hub: Fixture| {
        hub.say(keyed("o", "1", "before")).await.expect("stored");
        hub.store.ping().await.expect("up");
        for round in 2..5 {
            kill_all_others(&hub);
            // A read is tried again on another connection, so nobody sees the restart.
            hub.store.ping().await.expect("up");
            let stored = hub.say(keyed("o", &round.to_string(), "after")).await.expect("stored");
            assert_eq!((stored.message.seq, stored.duplicate), (round, false));
        }
    });
}

#[test]
fn a_message_that_meets_a_killed_connection_is_stored_by_another() {
    on_postgres(async |hub: Fixture| {
        hub.say(message("o", "before")).await.expect("stored");
        for seq in 2..6 {
            kill_all_others(&hub);
            // Without a key: a second one would be there twice.
            let stored = hub.say(message("o", "after")).await.expect("stored");
            assert_eq!(stored.message.seq, seq);
        }
        let loaded = hub.store.load_order(order("o"), 9).await.expect("loaded");
        assert_eq!((loaded.last_seq, loaded.recent.len()), (5, 5));
    });
}

#[test]
fn a_database_that_is_not_there_gives_errors_quickly() {
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let url = DatabaseUrl::Sqlite(folder.path().join("hub.sqlite3"));
        let hub = Fixture::start(url);
        // The tables are gone: what is left is a database that cannot serve.
        let mut other = hub.connection();
        other.batch_execute("ALTER TABLE orders RENAME TO hidden").expect("renamed");
        assert_eq!(hub.say(message("o", "x")).await, Err(ChatWriteError::Unavailable));
        assert!(hub.store.ping().await.is_err());
        other.batch_execute("ALTER TABLE hidden RENAME TO orders").expect("renamed");
        hub.store.ping().await.expect("up");
        assert_eq!(hub.say_until_stored(message("o", "x")).await.message.seq, 1);
    });
}
