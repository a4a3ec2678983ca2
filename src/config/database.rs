//! Where orders and chat are stored.

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args};

use super::database_url::InvalidDatabaseUrl;
use super::parse;
use super::secret;
use super::{ConfigError, DatabaseUrl};

/// Where orders and chat are stored.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `DATABASE_URL`: `sqlite:PATH` or `postgres://…`; by default
    /// `sqlite:<data-dir>/orderhub.sqlite3`.
    pub url: DatabaseUrl,
    /// `DATABASE_POOL`: connections, default 4. One of them (`PostgreSQL`: two) writes, the rest
    /// read. Each costs the database memory.
    pub pool_size: u32,
    /// `AUTO_MIGRATE`: whether `serve` brings the database to this version, default true.
    pub auto_migrate: bool,
    /// Whether the URL is the default, so that the file is in the data directory.
    pub in_data_dir: bool,
}

/// The settings as they are given.
#[derive(Args)]
pub(super) struct DatabaseArgs {
    /// sqlite:PATH or postgres://… [default: sqlite:<data-dir>/orderhub.sqlite3]
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    #[arg(value_parser = parse::text)]
    database_url: Option<String>,

    /// A file that holds the database URL
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE", value_parser = parse::path)]
    database_url_file: Option<PathBuf>,

    /// Database connections
    #[arg(long, env = "DATABASE_POOL", value_name = "N")]
    #[arg(default_value = "4", value_parser = parse::integer(2_u32, 1000))]
    database_pool: u32,

    /// Bring the database to this version at start
    #[arg(long, env = "AUTO_MIGRATE", value_name = "BOOL", action = clap::ArgAction::Set)]
    #[arg(default_value = "true", value_parser = parse::boolean)]
    auto_migrate: bool,
}

impl DatabaseArgs {
    pub(super) fn pool_size(&self) -> usize {
        usize::try_from(self.database_pool).unwrap_or(usize::MAX)
    }

    pub(super) fn resolve(
        self,
        data_dir: &Path,
        matches: &ArgMatches,
    ) -> Result<DatabaseConfig, ConfigError> {
        let (value, file) = (self.database_url, self.database_url_file);
        let url = secret::value_or_file(matches, "DATABASE_URL", value, file)?;
        let in_data_dir = url.is_none();
        let url = match url {
            Some((variable, url)) => url.parse().map_err(|invalid: InvalidDatabaseUrl| {
                ConfigError::new(&variable, invalid.to_string())
            })?,
            None => DatabaseUrl::Sqlite(data_dir.join("orderhub.sqlite3")),
        };
        let least = match url {
            DatabaseUrl::Sqlite(_) => 2,
            DatabaseUrl::Postgres(_) => 3,
        };
        if self.database_pool < least {
            let problem =
                format!("with this database it must be at least {least}: some only write");
            return Err(ConfigError::new("DATABASE_POOL", problem));
        }
        let (pool_size, auto_migrate) = (self.database_pool, self.auto_migrate);
        Ok(DatabaseConfig { url, pool_size, auto_migrate, in_data_dir })
    }
}
