//! A hundred thousand orders: what a room, a list, a trail and a message ask for is found by an index, on
//! either database, so that what an order costs does not depend on how many there are.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use diesel::connection::{Connection, InstrumentationEvent, SimpleConnection};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use orderhub::config::DatabaseUrl;
use orderhub::db::connection::DbConnection;
use orderhub::db::messages::PageRange;
use orderhub::db::orders::OrderFilter;
use orderhub::db::trail::{self, TrailRange};
use orderhub::db::{commit_batch, messages, migrate, orders, participants, read_marks};
use protocol::ids::UserId;
use protocol::time::Timestamp;

use crate::fixture::{keyed, order, with_postgres};

/// How many orders; each has two messages and two who take part.
const ORDERS: i64 = 100_000;
/// The most rows that any of the queries may look at: a page of 101 orders and who takes part.
const MOST_ROWS: i64 = 1_000;

/// What a question is, and the index that must answer it where another would be a scan in disguise.
type Question<'a> = (&'a str, Option<&'a str>, &'a dyn Fn(&mut DbConnection));

fn fill(connection: &mut DbConnection, numbers: &str) {
    let message = |seq: u32| {
        format!(
            "INSERT INTO messages (order_id, seq, id, sender_id, sender_name, sender_role, kind, \
             content, created_at_ms) SELECT 'o' || n, {seq}, 'm{seq}-' || n, 'u', 'U', 'customer', \
             'TEXT', 'x', n FROM numbers"
        )
    };
    let orders = "INSERT INTO orders (id, status, driver_id, ended_at_ms, last_seq, rev, \
        created_at_ms, updated_at_ms) SELECT 'o' || n, \
        CASE WHEN n % 1000 = 0 THEN 'RARE' ELSE 'DELIVERED' END, 'd' || (n % 5000), \
        CASE WHEN n % 1000 = 0 THEN NULL ELSE n END, 2, 1, n, n FROM numbers";
    let participants = "INSERT INTO participants (order_id, user_id, role, removed) \
        SELECT 'o' || n, 'c' || (n % 20000), 'customer', FALSE FROM numbers";
    let trail = "INSERT INTO trail (order_id, at_ms, driver_id, lat, lng) \
        SELECT 'o' || n, n, 'd' || (n % 5000), 45.27, 13.71 FROM numbers";
    let marks = "INSERT INTO read_marks (order_id, user_id, seq) \
        SELECT 'o' || n, 'c' || (n % 20000), 1 FROM numbers";
    let (orders, participants) = (orders.to_owned(), participants.to_owned());
    for rows in [orders, participants, message(1), message(2), trail.to_owned(), marks.to_owned()] {
        connection.batch_execute(&format!("{numbers} {rows}")).expect("rows");
    }
}

/// Everything that rooms, lists and chat ask the database for.
fn questions(ask: impl FnMut(&Question<'_>)) {
    let list = |filter: OrderFilter| {
        move |connection: &mut DbConnection| {
            let after = order("o5");
            let found = orders::list(connection, &filter, Some(&after), 101).expect("a list");
            assert!(!found.is_empty(), "{filter:?}");
        }
    };
    let user = |id: &str| Some(UserId::new(id).expect("an id"));
    let every = OrderFilter::default();
    let by_status = OrderFilter { status: Some("RARE".into()), ..every.clone() };
    let by_driver = OrderFilter { driver: user("d7"), ..every.clone() };
    let by_participant = OrderFilter { participant: user("c77"), ..every.clone() };
    let driver = UserId::new("d0").expect("an id");
    let known: Vec<_> = (0..50).map(|n| order(&format!("o{}", n * 1999))).collect();
    let page = |range: PageRange| {
        move |connection: &mut DbConnection| {
            messages::page(connection, &order("o77777"), range, 200).expect("a page");
        }
    };
    let all: [Question<'_>; 15] = [
        ("a room that opens", None, &|connection: &mut DbConnection| {
            assert!(orders::load(connection, &order("o77777"), 200).expect("an order").exists);
        }),
        ("an order that nobody knows", None, &|connection| {
            assert!(!orders::load(connection, &order("new"), 200).expect("an order").exists);
        }),
        ("all orders", None, &list(every)),
        ("those of a status", Some("orders_status"), &list(by_status)),
        ("those of a driver", Some("driver_id"), &list(by_driver)),
        ("those of a participant", Some("participants_user_id"), &list(by_participant)),
        ("a driver's open ones", Some("orders_open_driver_id"), &|connection| {
            let open = orders::open_of_driver(connection, &driver, 50).expect("orders");
            assert_eq!(open.len(), 20);
        }),
        ("what a user may", None, &|connection| {
            let user = UserId::new("c77").expect("an id");
            participants::rights_of(connection, &known, &user).expect("rights");
        }),
        ("the newest messages", None, &page(PageRange::Newest)),
        ("messages before", None, &page(PageRange::Before(2))),
        ("messages after", None, &page(PageRange::After(1))),
        ("a hole", None, &page(PageRange::Between { after: 0, upto: 1 })),
        ("the trail", None, &|connection| {
            let (since, until) = (Timestamp::from_millis(0), Timestamp::from_secs(1_000_000));
            let range = TrailRange { since, until, limit: 1000 };
            let page = trail::page(connection, &order("o77777"), range).expect("a trail");
            assert_eq!(page.points.len(), 1);
        }),
        ("who has read what", None, &|connection| {
            let marks = read_marks::of_order(connection, &order("o77777")).expect("marks");
            assert_eq!(marks.len(), 1);
        }),
        ("a message", None, &|connection| {
            let said = [keyed("o77777", "a key", "hello")];
            commit_batch::commit(connection, &said, None, Timestamp::now()).expect("stored");
        }),
    ];
    all.iter().for_each(ask);
}

/// The statements that a connection was asked, as they were written.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<String>>>);

#[derive(QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

/// How SQLite goes about a statement.
fn plan(connection: &mut DbConnection, statement: &str) -> Vec<String> {
    let DbConnection::Sqlite(sqlite) = connection else { panic!("not SQLite") };
    let steps = diesel::sql_query(format!("EXPLAIN QUERY PLAN {statement}")).load::<Step>(sqlite);
    steps.expect(statement).into_iter().map(|step| step.detail).collect()
}

#[test]
fn sqlite_answers_every_query_by_an_index() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = DatabaseUrl::Sqlite(folder.path().join("hub.sqlite3"));
    let connection = &mut DbConnection::open(&url).expect("a database");
    migrate::run(connection).expect("tables");
    let numbers = format!(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {ORDERS})"
    );
    // INSERT takes a WITH before it on either database.
    fill(connection, &numbers);
    let connection = Mutex::new(connection);
    questions(|(what, index, ask)| {
        let mut connection = connection.lock().expect("no panic");
        let asked = Asked::default();
        let note = asked.clone();
        connection.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            if let InstrumentationEvent::StartQuery { query, .. } = event {
                let text = query.to_string();
                let statement = text.split("-- binds").next().unwrap_or_default().to_owned();
                note.0.lock().expect("no panic").push(statement);
            }
        });
        ask(&mut connection);
        connection.set_instrumentation(|_: InstrumentationEvent<'_>| {});
        let statements: BTreeSet<String> = asked.0.lock().expect("no panic").drain(..).collect();
        let is_query = |text: &&String| {
            ["SELECT", "INSERT", "UPDATE"].iter().any(|verb| text.starts_with(verb))
        };
        let queries: Vec<_> = statements.iter().filter(is_query).collect();
        assert!(!queries.is_empty(), "{what} asks nothing: {statements:?}");
        let plans: Vec<_> = queries.iter().flat_map(|text| plan(&mut connection, text)).collect();
        for table in ["orders", "participants", "messages", "trail", "read_marks"] {
            let scan = plans.iter().find(|step| step.starts_with(&format!("SCAN {table}")));
            assert_eq!(scan, None, "{what}: {plans:?}");
        }
        let found = index.is_none_or(|index| plans.iter().any(|step| step.contains(index)));
        assert!(found, "{what} does not use {index:?}: {plans:?}");
    });
}

#[derive(QueryableByName)]
struct Rows {
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

/// The rows that PostgreSQL has looked at in this transaction.
fn rows(connection: &mut DbConnection) -> i64 {
    let DbConnection::Postgres(postgres) = connection else { panic!("not PostgreSQL") };
    let counted = "SELECT CAST(SUM(COALESCE(seq_tup_read, 0) + COALESCE(idx_tup_fetch, 0)) AS \
        BIGINT) AS rows FROM pg_stat_xact_user_tables";
    diesel::sql_query(counted).get_result::<Rows>(postgres).expect("a count").rows
}

#[test]
fn postgresql_reads_few_rows_for_every_query() {
    with_postgres(|url| {
        let connection = &mut DbConnection::open(&url).expect("a database");
        migrate::run(connection).expect("tables");
        // Filling takes longer than a query of the hub may.
        connection.batch_execute("SET statement_timeout = 0").expect("set");
        fill(
            connection,
            &format!("WITH numbers AS (SELECT n FROM generate_series(1, {ORDERS}) AS n)"),
        );
        connection.batch_execute("ANALYZE").expect("analysed");
        let connection = Mutex::new(connection);
        questions(|(what, _, ask)| {
            let mut connection = connection.lock().expect("no panic");
            let looked_at =
                connection.test_transaction::<_, diesel::result::Error, _>(|connection| {
                    let before = rows(connection);
                    ask(connection);
                    Ok(rows(connection) - before)
                });
            assert!(looked_at <= MOST_ROWS, "{what} looks at {looked_at} rows");
        });
    });
}
