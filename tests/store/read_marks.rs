//! How far users have read: written behind, never back, and never for what is gone.

use diesel::connection::{SimpleConnection, TransactionManager as _};
use diesel::{Connection, QueryableByName, RunQueryDsl as _};
use orderhub::actors::store::{MAX_WAITING_MARKS, StoreError};
use orderhub::config::DatabaseUrl;
use orderhub::db::connection::DbConnection;
use orderhub::db::read_marks::{self, StoredReadMark};
use protocol::ids::UserId;
use protocol::time::Timestamp;

use crate::fixture::{Fixture, each_database, message, on_postgres, order, until};

type Transactions = <DbConnection as Connection>::TransactionManager;

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    count: i64,
}

fn user(id: &str) -> UserId {
    id.parse().expect("an id")
}

fn note(hub: &Fixture, of: &str, who: &str, seq: i64) {
    assert!(hub.store.queue_read_mark(&order(of), &user(who), seq, true));
}

/// The marks of an order, as a room that opens finds them.
async fn marks(hub: &Fixture, of: &str) -> Vec<(String, i64)> {
    let loaded = hub.store.load_order(order(of), 1).await.expect("an order");
    let mut marks: Vec<_> =
        loaded.read_marks.into_iter().map(|(user, seq)| (user.to_string(), seq)).collect();
    marks.sort();
    marks
}

async fn with_chat(hub: &Fixture, orders: &[&str]) {
    for of in orders {
        hub.say(message(of, "hello")).await.expect("stored");
    }
}

fn is(user: &str, seq: i64) -> (String, i64) {
    (user.to_owned(), seq)
}

#[test]
fn read_marks_are_written_soon() {
    each_database(async |hub: Fixture| {
        with_chat(&hub, &["o", "p"]).await;
        note(&hub, "o", "ann", 1);
        note(&hub, "o", "ann", 4);
        note(&hub, "o", "bob", 2);
        note(&hub, "p", "ann", 3);
        until("the marks", async || marks(&hub, "o").await.len() == 2).await;
        assert_eq!(marks(&hub, "o").await, [is("ann", 4), is("bob", 2)]);
        assert_eq!(marks(&hub, "p").await, [is("ann", 3)]);
    });
}

#[test]
fn a_stored_mark_moves_up_only_and_can_be_forgotten() {
    each_database(async |hub: Fixture| {
        with_chat(&hub, &["o"]).await;
        for (seq, expected) in [(5, 5), (3, 5), (6, 6)] {
            note(&hub, "o", "ann", seq);
            hub.store.flush_read_marks().await.expect("written");
            assert_eq!(marks(&hub, "o").await, [is("ann", expected)]);
        }
        note(&hub, "o", "ann", 0);
        note(&hub, "o", "nobody", 0);
        hub.store.flush_read_marks().await.expect("written");
        assert_eq!(marks(&hub, "o").await, []);
    });
}

#[test]
fn an_order_that_is_gone_or_unknown_gets_none() {
    each_database(async |hub: Fixture| {
        with_chat(&hub, &["gone", "here"]).await;
        let tombstone = "UPDATE orders SET deleted_at_ms = 1 WHERE id = 'gone'";
        hub.connection().batch_execute(tombstone).expect("changed");
        for of in ["gone", "here", "unknown"] {
            note(&hub, of, "ann", 1);
        }
        hub.store.flush_read_marks().await.expect("written");
        let mut connection = hub.connection();
        let mut stored =
            |of: &str| read_marks::of_order(&mut connection, &order(of)).expect("marks").len();
        assert_eq!((stored("gone"), stored("here"), stored("unknown")), (0, 1, 0));
        // What waits of an order can be taken back.
        note(&hub, "here", "bob", 1);
        note(&hub, "other", "bob", 1);
        hub.store.forget_read_marks(&order("here"));
        hub.store.flush_read_marks().await.expect("written");
        assert_eq!(marks(&hub, "here").await, [is("ann", 1)]);
    });
}

#[test]
fn read_marks_are_written_in_parts_and_their_queue_is_bounded() {
    each_database(async |hub: Fixture| {
        with_chat(&hub, &["o"]).await;
        let mut lock = hub.connection();
        lock.batch_execute(begin(&hub)).expect("locked");
        let noted = (0..=MAX_WAITING_MARKS)
            .filter(|n| hub.store.queue_read_mark(&order("o"), &user(&format!("u{n}")), 7, true))
            .count();
        assert_eq!(noted, MAX_WAITING_MARKS);
        // While the database is locked they wait, and nothing of them is lost.
        let failed = hub.store.flush_read_marks().await;
        assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
        lock.batch_execute("ROLLBACK").expect("released");
        until("the database to serve", async || hub.store.flush_read_marks().await.is_ok()).await;
        assert_eq!(marks(&hub, "o").await.len(), MAX_WAITING_MARKS);
    });
}

fn begin(hub: &Fixture) -> &'static str {
    match hub.url {
        DatabaseUrl::Sqlite(_) => "BEGIN EXCLUSIVE",
        DatabaseUrl::Postgres(_) => "BEGIN; LOCK TABLE orders, read_marks IN EXCLUSIVE MODE",
    }
}

#[test]
fn two_nodes_that_write_the_same_orders_do_not_deadlock() {
    each_database(async |hub: Fixture| {
        let orders: Vec<String> = (0..40).map(|n| format!("o{n:02}")).collect();
        with_chat(&hub, &orders.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let writers: Vec<_> = (0..2)
            .map(|node| {
                let (orders, mut connection) = (orders.clone(), hub.connection());
                std::thread::spawn(move || {
                    for round in 1..=10 {
                        let mark = |of: &String| StoredReadMark {
                            order: order(of),
                            user: user("ann"),
                            seq: round * 2 + node,
                            is_receipt: true,
                        };
                        let marks: Vec<_> = orders.iter().map(mark).collect();
                        read_marks::save(&mut connection, &marks, None, Timestamp::now())
                            .expect("written");
                    }
                })
            })
            .collect();
        for _ in 0..10 {
            with_chat(&hub, &["o39", "o00"]).await;
        }
        for writer in writers {
            writer.join().expect("no panic");
        }
        assert_eq!(marks(&hub, "o20").await, [is("ann", 21)]);
    });
}

#[test]
fn marks_of_two_nodes_in_one_order_are_written_one_after_the_other() {
    on_postgres(async |hub: Fixture| {
        with_chat(&hub, &["o"]).await;
        let mark = |who: &str| StoredReadMark {
            order: order("o"),
            user: user(who),
            seq: 1,
            is_receipt: true,
        };
        let save = move |connection: &mut DbConnection, who: &str| {
            read_marks::save(connection, &[mark(who)], None, Timestamp::now()).expect("written");
        };
        let mut first = hub.connection();
        Transactions::begin_transaction(&mut first).expect("begun");
        save(&mut first, "ann");
        let mut second = hub.connection();
        let waits = std::thread::spawn(move || save(&mut second, "bob"));
        until("the second node to wait", async || {
            let waiting = "SELECT count(*) AS count FROM pg_locks l JOIN pg_stat_activity a \
                           ON a.pid = l.pid WHERE NOT l.granted AND a.datname = current_database()";
            let waiting: Count =
                diesel::sql_query(waiting).get_result(&mut hub.connection()).expect("a count");
            waiting.count > 0
        })
        .await;
        Transactions::commit_transaction(&mut first).expect("committed");
        waits.join().expect("no panic");
        assert_eq!(marks(&hub, "o").await, [is("ann", 1), is("bob", 1)]);
    });
}
