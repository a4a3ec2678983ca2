//! The databases that a hub can live on.

use diesel::connection::SimpleConnection;
use orderhub::config::DatabaseUrl;
use orderhub::db::connection::DbConnection;

use super::postgres::TestDatabase;
use super::process::{Hub, HubBuilder};

/// An empty database, of either kind.
pub struct Database {
    /// None: a file in the hub's own folder.
    pub postgres: Option<TestDatabase>,
}

/// Runs `test` on SQLite, and on PostgreSQL where there is one.
pub async fn each_database(test: impl AsyncFn(Database)) {
    test(Database { postgres: None }).await;
    if let Some(database) = Database::postgres() {
        test(database).await;
    }
}

impl Database {
    /// A PostgreSQL database, where there is a server for it.
    pub fn postgres() -> Option<Self> {
        TestDatabase::create().map(|database| Self { postgres: Some(database) })
    }

    /// A hub on this database.
    pub fn hub(&self) -> HubBuilder {
        match self.address() {
            Some(url) => Hub::builder().env("DATABASE_URL", url),
            None => Hub::builder(),
        }
    }

    /// Where the server's database is; none for a file.
    pub fn address(&self) -> Option<String> {
        match &self.postgres {
            Some(TestDatabase { url: DatabaseUrl::Postgres(url), .. }) => Some(url.clone()),
            _ => None,
        }
    }

    /// Another hub on the same database.
    pub fn second(&self, first: &Hub) -> HubBuilder {
        if self.postgres.is_some() {
            return self.hub();
        }
        let file = first.data_dir().join("orderhub.sqlite3");
        Hub::builder().env("DATABASE_URL", format!("sqlite:{}", file.display()))
    }

    /// A connection beside the hub's own.
    pub fn connection(&self, hub: &Hub) -> DbConnection {
        let url = match &self.postgres {
            Some(database) => database.url.clone(),
            None => DatabaseUrl::Sqlite(hub.data_dir().join("orderhub.sqlite3")),
        };
        DbConnection::open(&url).expect("a connection")
    }

    /// Keeps every writer out until the connection rolls back; readers of SQLite go on.
    pub fn lock(&self, hub: &Hub) -> DbConnection {
        let mut connection = self.connection(hub);
        let lock = match &self.postgres {
            Some(_) => "BEGIN; LOCK TABLE orders, messages IN EXCLUSIVE MODE",
            None => "BEGIN EXCLUSIVE",
        };
        connection.batch_execute(lock).expect("locked");
        connection
    }
}
