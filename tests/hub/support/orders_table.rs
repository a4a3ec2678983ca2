//! The hub's SQLite file, changed beside the hub.

use diesel::{Connection, RunQueryDsl, SqliteConnection};

use super::Hub;

/// Changes the hub's database behind its back, as a back end will do through it.
pub fn sql(hub: &Hub, statement: &str) {
    let file = hub.data_dir().join("orderhub.sqlite3");
    let mut database =
        SqliteConnection::establish(file.to_str().expect("a path")).expect("the database");
    diesel::sql_query("PRAGMA busy_timeout = 5000").execute(&mut database).expect("a pragma");
    diesel::sql_query(statement).execute(&mut database).expect("a statement");
}

/// An order as a back end made it.
pub fn order(hub: &Hub, id: &str, status: &str, driver: &str, ended_at_ms: i64) {
    sql(
        hub,
        &format!(
            "INSERT INTO orders (id, status, driver_id, ended_at_ms, created_at_ms, updated_at_ms) \
             VALUES ('{id}', '{status}', nullif('{driver}', ''), nullif({ended_at_ms}, 0), 0, 0)"
        ),
    );
}
