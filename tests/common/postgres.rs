//! A PostgreSQL database for one test, on the server of `TEST_DATABASE_URL`.

use std::io::Write as _;

use diesel::connection::SimpleConnection;
use orderhub::config::DatabaseUrl;
use orderhub::db::connection::DbConnection;

/// A database that goes with its test.
pub struct TestDatabase {
    server: String,
    name: String,
    /// Where it is.
    pub url: DatabaseUrl,
}

impl TestDatabase {
    /// An empty database, or word that there is no server for one.
    pub fn create() -> Option<Self> {
        Self::create_with("")
    }

    /// The same, made with these options.
    pub fn create_with(options: &str) -> Option<Self> {
        let Ok(server) = std::env::var("TEST_DATABASE_URL") else {
            let name = std::thread::current().name().unwrap_or("a test").to_owned();
            // Past the test harness, which hides what passing tests print.
            let mut stderr = std::io::stderr();
            writeln!(stderr, "SKIPPED on PostgreSQL: {name} (TEST_DATABASE_URL is not set)")
                .expect("standard error");
            return None;
        };
        let name = format!("orderhub_{}", uuid::Uuid::new_v4().simple());
        on_server(&server, &format!("CREATE DATABASE {name} {options}"));
        let (base, parameters) = match server.split_once('?') {
            Some((base, parameters)) => (base, format!("?{parameters}")),
            None => (server.as_str(), String::new()),
        };
        let host = base.rsplit_once('/').map_or(base, |(host, _)| host);
        let url = format!("{host}/{name}{parameters}").parse().expect("a database");
        Some(Self { server, name, url })
    }

    /// Runs a statement beside the database, in which `{name}` is its name.
    #[allow(dead_code, reason = "not every test binary has outages")]
    pub fn beside(&self, sql: &str) {
        on_server(&self.server, &sql.replace("{name}", &self.name));
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        on_server(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

fn on_server(server: &str, sql: &str) {
    let url = server.parse().expect("TEST_DATABASE_URL like postgres://user@host/database");
    let mut connection = DbConnection::open(&url).expect("the server of TEST_DATABASE_URL");
    // Making a database may take longer than a query of the hub may.
    connection.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0").expect("set");
    connection.batch_execute(sql).expect(sql);
}
