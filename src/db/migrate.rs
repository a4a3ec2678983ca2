//! Migrations, embedded in the binary: one folder per database, with the same names in both.

use std::fmt;

use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::connection::DbConnection;
use crate::config::DatabaseUrl;

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Two nodes that start together take turns by this lock, which ends with the transaction. Building
/// an index may take longer than a query may run, so there are no timeouts.
const POSTGRES_LOCK: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
     SELECT pg_advisory_xact_lock(7105112101114104);";

/// Why the tables could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database refused a query or vanished.
    #[error("the database failed: {0}")]
    Database(#[from] diesel::result::Error),
    /// There is no connection.
    #[error("{0}")]
    Connection(#[from] diesel::ConnectionError),
    /// A migration failed, and none of this run was applied.
    #[error("a migration failed: {0}")]
    Migration(Box<dyn std::error::Error + Send + Sync>),
    /// The database would not return texts as they were written.
    #[error("{0}")]
    Encoding(String),
    /// A newer version of the hub has changed the tables.
    #[error(
        "its tables are those of a newer version, this one does not know the migrations {}; run the \
         newer version, or restore a backup from before it", .0.join(", ")
    )]
    Newer(Vec<String>),
    /// The tables are of an older version, and `serve` does not change them.
    #[error("migrations are missing ({}); run: orderhub migrate", .0.join(", "))]
    Pending(Vec<String>),
}

/// The state of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationState {
    /// It was run.
    Applied,
    /// It was not run yet.
    Pending,
    /// A newer version has run it; this one does not know it.
    Unknown,
}

impl fmt::Display for MigrationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
            Self::Unknown => "applied by a newer version",
        })
    }
}

/// Opens the database, checks that this program can use it, and runs pending migrations.
///
/// # Errors
/// If it cannot be reached or used, or a migration fails.
pub fn bring_up_to_date(url: &DatabaseUrl) -> Result<Vec<String>, MigrateError> {
    let mut connection = DbConnection::open(url)?;
    check_encoding(&mut connection)?;
    run(&mut connection)
}

/// Opens the database and checks that this program can use it as it is.
///
/// # Errors
/// If it cannot be reached or used, or migrations are pending.
pub fn check(url: &DatabaseUrl) -> Result<(), MigrateError> {
    let mut connection = DbConnection::open(url)?;
    check_encoding(&mut connection)?;
    let Some(status) = readable_status(&mut connection)? else {
        log::warn!(
            "the database user may not read the list of migrations, so they are not checked"
        );
        return Ok(());
    };
    refuse_unknown(&status)?;
    let pending = in_state(&status, MigrationState::Pending);
    if pending.is_empty() { Ok(()) } else { Err(MigrateError::Pending(pending)) }
}

/// Opens the database and returns the state of each migration. A missing file is not created.
///
/// # Errors
/// If it cannot be reached or read.
pub fn status_of(url: &DatabaseUrl) -> Result<Vec<(String, MigrationState)>, MigrateError> {
    match url {
        DatabaseUrl::Sqlite(path) if !path.exists() => {
            status(&mut DbConnection::open(&DatabaseUrl::Sqlite(":memory:".into()))?)
        }
        _ => status(&mut DbConnection::open(url)?),
    }
}

/// Runs all pending migrations or none, and returns the versions that it ran.
///
/// # Errors
/// If a migration fails, or a newer version has run some; the tables are then as they were.
pub fn run(connection: &mut DbConnection) -> Result<Vec<String>, MigrateError> {
    match connection {
        DbConnection::Sqlite(sqlite) => sqlite.immediate_transaction(|sqlite| {
            refuse_unknown(&statuses(sqlite, SQLITE)?)?;
            versions(sqlite.run_pending_migrations(SQLITE))
        }),
        DbConnection::Postgres(postgres) => postgres.transaction(|postgres| {
            postgres.batch_execute(POSTGRES_LOCK)?;
            refuse_unknown(&statuses(postgres, POSTGRES)?)?;
            versions(postgres.run_pending_migrations(POSTGRES))
        }),
    }
}

/// Reverts every migration, the newest first. For tests.
///
/// # Errors
/// If a migration cannot be reverted.
pub fn revert_all(connection: &mut DbConnection) -> Result<Vec<String>, MigrateError> {
    match connection {
        DbConnection::Sqlite(sqlite) => {
            sqlite.immediate_transaction(|sqlite| versions(sqlite.revert_all_migrations(SQLITE)))
        }
        DbConnection::Postgres(postgres) => postgres.transaction(|postgres| {
            postgres.batch_execute(POSTGRES_LOCK)?;
            versions(postgres.revert_all_migrations(POSTGRES))
        }),
    }
}

/// Every migration by name, oldest first, with its state.
///
/// # Errors
/// If the database cannot be read.
pub fn status(
    connection: &mut DbConnection,
) -> Result<Vec<(String, MigrationState)>, MigrateError> {
    match connection {
        DbConnection::Sqlite(sqlite) => statuses(sqlite, SQLITE),
        DbConnection::Postgres(postgres) => statuses(postgres, POSTGRES),
    }
}

/// As [`status`], but without creating a missing list of migrations, for a user who may not. None
/// if the user may not read the list.
fn readable_status(
    connection: &mut DbConnection,
) -> Result<Option<Vec<(String, MigrationState)>>, MigrateError> {
    const LIST: &str = "__diesel_schema_migrations";
    #[derive(QueryableByName)]
    struct List {
        #[diesel(sql_type = Nullable<Text>)]
        readable: Option<String>,
    }
    let question = match connection {
        DbConnection::Sqlite(_) => {
            format!("SELECT max('true') AS readable FROM sqlite_master WHERE name = '{LIST}'")
        }
        DbConnection::Postgres(_) => format!(
            "SELECT has_table_privilege(to_regclass('{LIST}')::oid, 'SELECT')::text AS readable"
        ),
    };
    let list: List = diesel::sql_query(question).get_result(connection)?;
    let applied: Vec<String> = match list.readable.as_deref() {
        None => Vec::new(),
        Some("true") => {
            #[derive(QueryableByName)]
            struct Applied {
                #[diesel(sql_type = Text)]
                version: String,
            }
            let all = diesel::sql_query(format!("SELECT version FROM {LIST}"));
            all.load::<Applied>(connection)?.into_iter().map(|one| one.version).collect()
        }
        Some(_) => return Ok(None),
    };
    let known = match connection {
        DbConnection::Sqlite(_) => names::<diesel::sqlite::Sqlite>(SQLITE)?,
        DbConnection::Postgres(_) => names::<diesel::pg::Pg>(POSTGRES)?,
    };
    Ok(Some(compare(known, applied)))
}

fn statuses<DB: diesel::backend::Backend>(
    harness: &mut impl MigrationHarness<DB>,
    source: EmbeddedMigrations,
) -> Result<Vec<(String, MigrationState)>, MigrateError> {
    let applied = harness.applied_migrations().map_err(MigrateError::Migration)?;
    Ok(compare(names::<DB>(source)?, applied.iter().map(ToString::to_string).collect()))
}

/// The name and the version of each migration that this program knows.
fn names<DB: diesel::backend::Backend>(
    source: EmbeddedMigrations,
) -> Result<Vec<(String, String)>, MigrateError> {
    let all: Vec<Box<dyn Migration<DB>>> = source.migrations().map_err(MigrateError::Migration)?;
    let named = all.iter().map(|one| (one.name().to_string(), one.name().version().to_string()));
    Ok(named.collect())
}

fn compare(
    known: Vec<(String, String)>,
    mut applied: Vec<String>,
) -> Vec<(String, MigrationState)> {
    let mut status = Vec::new();
    for (name, version) in known {
        let place = applied.iter().position(|applied| *applied == version);
        let state = if place.is_some() { MigrationState::Applied } else { MigrationState::Pending };
        place.map(|place| applied.swap_remove(place));
        status.push((name, state));
    }
    status.extend(applied.into_iter().map(|version| (version, MigrationState::Unknown)));
    status.sort_by(|(a, _), (b, _)| a.cmp(b));
    status
}

fn in_state(status: &[(String, MigrationState)], wanted: MigrationState) -> Vec<String> {
    let found = status.iter().filter(|(_, state)| *state == wanted);
    found.map(|(name, _)| name.clone()).collect()
}

/// Refuses tables that a newer version has changed in ways that this one cannot know.
fn refuse_unknown(status: &[(String, MigrationState)]) -> Result<(), MigrateError> {
    let unknown = in_state(status, MigrationState::Unknown);
    if unknown.is_empty() { Ok(()) } else { Err(MigrateError::Newer(unknown)) }
}

/// A database in another encoding would always refuse some names and messages, or sort them
/// differently.
fn check_encoding(connection: &mut DbConnection) -> Result<(), MigrateError> {
    #[derive(QueryableByName)]
    struct Encoding {
        #[diesel(sql_type = Text)]
        encoding: String,
    }
    let (question, how) = match connection {
        DbConnection::Sqlite(_) => (
            "SELECT encoding FROM pragma_encoding",
            "stop the hub, write it out with sqlite3 FILE .dump, and read that into a new file",
        ),
        DbConnection::Postgres(_) => (
            "SELECT current_setting('server_encoding') AS encoding",
            "make another with CREATE DATABASE orderhub TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'",
        ),
    };
    let Encoding { encoding } = diesel::sql_query(question).get_result(connection)?;
    if matches!(encoding.as_str(), "UTF8" | "UTF-8") {
        return Ok(());
    }
    let problem = format!("the encoding of the database is {encoding}, it must be UTF-8; {how}");
    Err(MigrateError::Encoding(problem))
}

fn versions<V: ToString>(
    ran: diesel::migration::Result<Vec<V>>,
) -> Result<Vec<String>, MigrateError> {
    let ran = ran.map_err(MigrateError::Migration)?;
    Ok(ran.iter().map(ToString::to_string).collect())
}
