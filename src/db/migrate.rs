//! Migrations, carried inside the binary: one folder per database, the same names in both.

use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::connection::DbConnection;
use crate::config::DatabaseUrl;

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Two nodes that start together take turns by this lock, which ends with the transaction. Indexes
/// may take longer to build than a query may run.
const POSTGRES_TURN: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
     SELECT pg_advisory_xact_lock(7105112101114104);";

/// Why the tables could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database refused or vanished.
    #[error("the database failed: {0}")]
    Database(#[from] diesel::result::Error),
    /// There is no connection.
    #[error("{0}")]
    Connection(#[from] diesel::ConnectionError),
    /// A migration failed; none of this run has happened.
    #[error("a migration failed: {0}")]
    Migration(Box<dyn std::error::Error + Send + Sync>),
}

/// Opens the database and runs what is pending.
///
/// # Errors
/// Where it cannot be reached, or a migration fails.
pub fn bring_up_to_date(url: &DatabaseUrl) -> Result<Vec<String>, MigrateError> {
    run(&mut DbConnection::open(url)?)
}

/// Opens the database and says how far it is.
///
/// # Errors
/// Where it cannot be reached or read.
pub fn status_of(url: &DatabaseUrl) -> Result<Vec<(String, bool)>, MigrateError> {
    status(&mut DbConnection::open(url)?)
}

/// Runs what is pending, all or nothing, and returns the versions that it ran.
///
/// # Errors
/// Where a migration fails; the tables are then as they were.
pub fn run(connection: &mut DbConnection) -> Result<Vec<String>, MigrateError> {
    match connection {
        DbConnection::Sqlite(sqlite) => {
            sqlite.immediate_transaction(|sqlite| versions(sqlite.run_pending_migrations(SQLITE)))
        }
        DbConnection::Postgres(postgres) => postgres.transaction(|postgres| {
            postgres.batch_execute(POSTGRES_TURN)?;
            versions(postgres.run_pending_migrations(POSTGRES))
        }),
    }
}

/// Takes everything back, the newest first. For tests.
///
/// # Errors
/// Where a migration cannot be taken back.
pub fn revert_all(connection: &mut DbConnection) -> Result<Vec<String>, MigrateError> {
    match connection {
        DbConnection::Sqlite(sqlite) => {
            sqlite.immediate_transaction(|sqlite| versions(sqlite.revert_all_migrations(SQLITE)))
        }
        DbConnection::Postgres(postgres) => postgres.transaction(|postgres| {
            postgres.batch_execute(POSTGRES_TURN)?;
            versions(postgres.revert_all_migrations(POSTGRES))
        }),
    }
}

/// Every migration by name, oldest first, and whether it has been run.
///
/// # Errors
/// Where the database cannot be read.
pub fn status(connection: &mut DbConnection) -> Result<Vec<(String, bool)>, MigrateError> {
    fn of<DB: diesel::backend::Backend>(
        harness: &mut impl MigrationHarness<DB>,
        source: EmbeddedMigrations,
    ) -> diesel::migration::Result<Vec<(String, bool)>> {
        let applied = harness.applied_migrations()?;
        let all: Vec<Box<dyn Migration<DB>>> = source.migrations()?;
        let named = |one: &dyn Migration<DB>| {
            (one.name().to_string(), applied.contains(&one.name().version()))
        };
        let mut status: Vec<_> = all.iter().map(|one| named(&**one)).collect();
        status.sort();
        Ok(status)
    }
    match connection {
        DbConnection::Sqlite(sqlite) => of(sqlite, SQLITE),
        DbConnection::Postgres(postgres) => of(postgres, POSTGRES),
    }
    .map_err(MigrateError::Migration)
}

fn versions<V: ToString>(
    ran: diesel::migration::Result<Vec<V>>,
) -> Result<Vec<String>, MigrateError> {
    let ran = ran.map_err(MigrateError::Migration)?;
    Ok(ran.iter().map(ToString::to_string).collect())
}
