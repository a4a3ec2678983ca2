//! Connections to PostgreSQL: the hub's own settings, whatever the database's are, and what becomes of
//! a connection that is alive and of no use.

use actix::System;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use orderhub::actors::store::{PageRange, Sharing};
use orderhub::config::DatabaseUrl;
use orderhub::db::connection::DbConnection;
use orderhub::db::pool::DbPool;
use protocol::ids::OrderId;

use crate::fixture::{Fixture, keyed, message, on_postgres, order, with_postgres};
use crate::orders::set_status;
use crate::postgres::TestDatabase;

fn text(connection: &mut DbConnection, sql: &str) -> String {
    diesel::select(diesel::dsl::sql::<diesel::sql_types::Text>(sql))
        .get_result(connection)
        .expect(sql)
}

/// A database with defaults that a hub cannot live with.
fn with_hostile_defaults(test: impl FnOnce(DatabaseUrl)) {
    let Some(database) = TestDatabase::create() else { return };
    for default in [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_deferrable = on",
        "synchronous_commit = off",
        "statement_timeout = '900ms'",
        "lock_timeout = '900ms'",
        "idle_in_transaction_session_timeout = '900ms'",
        "standard_conforming_strings = off",
    ] {
        database.beside(&format!("ALTER DATABASE {{name}} SET {default}"));
    }
    test(database.url.clone());
}

#[test]
fn a_connection_has_the_hubs_settings_whatever_the_databases_are() {
    with_hostile_defaults(|url| {
        let mut connection = DbConnection::open(&url).expect("a connection");
        for (name, expected) in [
            ("transaction_isolation", "read committed"),
            ("transaction_deferrable", "off"),
            ("synchronous_commit", "on"),
            ("statement_timeout", "2s"),
            ("lock_timeout", "2s"),
            ("standard_conforming_strings", "on"),
        ] {
            let is = text(&mut connection, &format!("current_setting('{name}')"));
            assert_eq!(is, expected, "{name}");
        }
    });
}

#[test]
fn chat_and_changes_of_one_order_do_not_hinder_each_other_on_a_serializable_database() {
    with_hostile_defaults(|url| {
        System::new().block_on(async {
            let hub = Fixture::start(url);
            for token in 0..600 {
                assert!(hub.write(token, message(&format!("o{}", token % 6), "x")));
            }
            let changes = (0..120).map(async |number| {
                let order = order(&format!("o{}", number % 6));
                hub.store.load_order(order.clone(), 5).await.expect("loaded");
                set_status(&hub, order.as_str(), &format!("s{number}")).await;
            });
            futures_util::future::join_all(changes).await;
            for (_, outcome) in hub.answers(600).await {
                outcome.expect("stored");
            }
            assert_eq!(hub.metrics.store_errors.get(), 0);
        });
    });
}

#[test]
fn a_connection_whose_prepared_statements_are_gone_is_replaced() {
    with_postgres(|url| {
        let pool = DbPool::new(&url, 3, Sharing::Alone);
        let prepared = |connection: &mut DbConnection| {
            diesel::select(diesel::dsl::now).execute(connection).map(drop)
        };
        for _ in 0..3 {
            pool.run_once(prepared).expect("prepared");
            pool.run_once(|connection| connection.batch_execute("DEALLOCATE ALL")).expect("gone");
            pool.run_once(prepared).expect("on another connection");
        }
    });
}

#[test]
fn connections_whose_plans_do_not_fit_the_tables_any_more_are_replaced() {
    on_postgres(async |hub: Fixture| {
        let page = async |order: OrderId| hub.store.page(order, PageRange::After(0), 9).await;
        let orders: Vec<String> = (0..8).map(|number| format!("o{number}")).collect();
        for id in &orders {
            for key in ["1", "1"] {
                hub.say(keyed(id, key, "x")).await.expect("stored");
            }
            page(order(id)).await.expect("read");
        }
        let wider = "ALTER TABLE messages ALTER COLUMN content TYPE varchar(100000)";
        hub.connection().batch_execute(wider).expect("changed");
        for id in &orders {
            let again = hub.say(keyed(id, "1", "x")).await.expect("found");
            assert!(again.duplicate, "a retry");
            assert_eq!(page(order(id)).await.expect("read").messages.len(), 1);
        }
    });
}
