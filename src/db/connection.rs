//! One connection to either database, with settings that prevent lost commits and endless waits.

#![expect(missing_docs, reason = "Diesel's derive makes public items without documentation")]

use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::R2D2Connection;

use crate::config::DatabaseUrl;

/// How many rows a thread writes on SQLite before it yields the core.
const ROWS_BETWEEN_YIELDS: usize = 16;

/// WAL lets readers continue while chat commits. `synchronous=FULL` makes every commit reach the
/// disk, because acknowledged means committed. `busy_timeout` comes first, because the other
/// statements may meet a lock. Every batch rewrites the last page of each order in it; with a log
/// of 64 MiB before a checkpoint, such a page is written to the file once for many batches.
const SQLITE_SETTINGS: &str = "PRAGMA busy_timeout = 2000; PRAGMA journal_mode = WAL; \
     PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -16000; \
     PRAGMA wal_autocheckpoint = 16000;";

/// Overrides the defaults of the database and the role, in one round trip, and returns whether the
/// server takes writes. A statement that takes longer than a client would wait is cancelled, and
/// the client gets `unavailable`. Locks of a hub that hangs are released.
/// [`error_class`](super::error_class) reads English messages, but only a superuser may ask for
/// English.
const POSTGRES_SETTINGS: &str = "SELECT set_config('statement_timeout', '2s', false), \
     set_config('lock_timeout', '2s', false), \
     set_config('idle_in_transaction_session_timeout', '10s', false), \
     set_config('synchronous_commit', 'on', false), \
     set_config('default_transaction_isolation', 'read committed', false), \
     set_config('default_transaction_deferrable', 'off', false), \
     set_config('standard_conforming_strings', 'on', false), \
     set_config('tcp_keepalives_idle', '10', false), \
     set_config('tcp_keepalives_interval', '5', false), \
     set_config('tcp_keepalives_count', '3', false), \
     CASE current_setting('is_superuser') \
     WHEN 'on' THEN set_config('lc_messages', 'C', false) END, \
     current_setting('transaction_read_only') AS read_only";

/// Whether a server takes writes. One that has become a standby, or was set to
/// `default_transaction_read_only`, does not; that setting is the operator's and stays.
const POSTGRES_MODE: &str = "SELECT current_setting('transaction_read_only') AS read_only";

/// Defaults for libpq, unless the address sets them. Without them, a server that vanished silently
/// would hold a connection for the minutes that TCP waits.
const LIBPQ_DEFAULTS: &[(&str, &str)] = &[
    ("connect_timeout", "2"),
    ("tcp_user_timeout", "5000"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "5"),
    // With several hosts, the one that takes writes.
    ("target_session_attrs", "read-write"),
    ("application_name", "orderhub"),
];

/// A connection to SQLite or PostgreSQL, with one set of queries for both.
#[derive(diesel::MultiConnection)]
pub enum DbConnection {
    /// To a file.
    Sqlite(SqliteConnection),
    /// To a server.
    Postgres(PgConnection),
}

/// What a PostgreSQL server reports about itself.
#[derive(QueryableByName)]
struct ServerMode {
    #[diesel(sql_type = diesel::sql_types::Text)]
    read_only: String,
}

impl ServerMode {
    fn accepts_writes(&self) -> bool {
        self.read_only == "off"
    }
}

impl DbConnection {
    /// Opens and sets up a connection. A missing SQLite file is created, with its folder.
    ///
    /// # Errors
    /// If the database cannot be reached or refuses the login or a setting.
    pub fn open(url: &DatabaseUrl) -> ConnectionResult<Self> {
        match url {
            DatabaseUrl::Sqlite(path) => open_sqlite(path).map(Self::Sqlite),
            DatabaseUrl::Postgres(address) => {
                let opened = open_postgres(address).map(Self::Postgres);
                opened.map_err(|error| redacted(error, url))
            }
        }
    }

    /// Whether the database answers and, as far as the connection knows, takes writes.
    pub fn is_usable(&mut self) -> bool {
        match self {
            Self::Sqlite(sqlite) => sqlite.ping().is_ok(),
            Self::Postgres(postgres) => {
                let mode = diesel::sql_query(POSTGRES_MODE).get_result::<ServerMode>(postgres);
                mode.is_ok_and(|mode| mode.accepts_writes())
            }
        }
    }

    /// Moves the content of SQLite's write-ahead log into the file and empties the log. A
    /// PostgreSQL server does this by itself.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn checkpoint(&mut self) -> QueryResult<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)"),
            Self::Postgres(_) => Ok(()),
        }
    }
}

fn open_sqlite(path: &Path) -> ConnectionResult<SqliteConnection> {
    let bad = |reason: String| ConnectionError::BadConnection(reason);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|error| bad(format!("{}: {error}", folder.display())))?;
    }
    let name = path.to_str().ok_or_else(|| bad("the path is not UTF-8".to_owned()))?;
    let mut connection = SqliteConnection::establish(name)?;
    connection
        .batch_execute(SQLITE_SETTINGS)
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

fn open_postgres(url: &str) -> ConnectionResult<PgConnection> {
    let mut connection = PgConnection::establish(&with_defaults(url))?;
    let mode: ServerMode = diesel::sql_query(POSTGRES_SETTINGS)
        .get_result(&mut connection)
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    if !mode.accepts_writes() {
        let reason =
            "the server takes no writes: it is a standby, or default_transaction_read_only";
        return Err(ConnectionError::BadConnection(reason.to_owned()));
    }
    Ok(connection)
}

/// libpq may repeat its parameters in errors, and does not say how to get TLS.
fn redacted(error: ConnectionError, url: &DatabaseUrl) -> ConnectionError {
    match error {
        ConnectionError::BadConnection(text) => {
            ConnectionError::BadConnection(with_tls_hint(url.redact(&text)))
        }
        other => other,
    }
}

/// Names the missing feature when a server or libpq (by `PGSSLMODE` or a service file) asks for TLS
/// and this program was built without it. The server's own words do not name it.
fn with_tls_hint(text: String) -> String {
    let asks = ["SSL", "TLS", "no encryption", "insecure"].iter().any(|word| text.contains(word));
    if cfg!(feature = "postgres-tls") || !asks {
        return text;
    }
    format!("{}; TLS needs a program that was built with --features postgres-tls", text.trim_end())
}

fn with_defaults(url: &str) -> String {
    let mut full = url.to_owned();
    let given = url.split_once('?').map_or("", |(_, parameters)| parameters).to_owned();
    for (name, value) in LIBPQ_DEFAULTS {
        if given.split('&').any(|parameter| parameter.split('=').next() == Some(name)) {
            continue;
        }
        match full.find('?') {
            None => full.push('?'),
            // The question mark may have no parameters after it.
            Some(place) if place + 1 == full.len() => {}
            Some(_) => full.push('&'),
        }
        full.push_str(name);
        full.push('=');
        full.push_str(value);
    }
    full
}

/// SQLite works on the caller's thread. If that thread shares its core with threads that relay,
/// some hundred rows in one go would delay every message by milliseconds.
pub(super) fn yield_now_and_then(row: usize) {
    if row.is_multiple_of(ROWS_BETWEEN_YIELDS) {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_may_override_the_defaults_for_libpq() {
        assert_eq!(
            with_defaults("postgres://h/db?connect_timeout=9"),
            "postgres://h/db?connect_timeout=9&tcp_user_timeout=5000&keepalives_idle=10\
             &keepalives_interval=5&target_session_attrs=read-write&application_name=orderhub"
        );
        assert!(
            with_defaults("postgres://h/db?").starts_with("postgres://h/db?connect_timeout=2&")
        );
        assert!(with_defaults("postgres://h/db").starts_with("postgres://h/db?connect_timeout=2&"));
    }

    #[test]
    fn a_sqlite_file_is_made_with_its_folder_and_commits_reach_the_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = DatabaseUrl::Sqlite(folder.path().join("new/hub.sqlite3"));
        let mut connection = DbConnection::open(&url).expect("a connection");
        let DbConnection::Sqlite(sqlite) = &mut connection else { panic!("not SQLite") };
        let setting = |sqlite: &mut SqliteConnection, name: &str| {
            diesel::select(diesel::dsl::sql::<diesel::sql_types::Text>(&format!(
                "(SELECT CAST({name} AS TEXT) FROM pragma_{name})"
            )))
            .get_result::<String>(sqlite)
            .expect("a setting")
        };
        assert_eq!(setting(sqlite, "journal_mode"), "wal");
        assert_eq!(setting(sqlite, "synchronous"), "2");
    }
}
