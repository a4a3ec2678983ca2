//! Where orders and chat are stored.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::parse;
use super::secret;
use super::settings::Chosen;
use super::{ConfigError, Secret};

/// Where orders and chat are stored.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `DATABASE_URL`: `sqlite:PATH` or `postgres://…`; by default
    /// `sqlite:<data-dir>/orderhub.sqlite3`.
    pub url: DatabaseUrl,
    /// `DATABASE_POOL`: connections, default 4. One of them (`PostgreSQL`: two) writes, the rest
    /// read; many cost the database memory.
    pub pool_size: u32,
    /// `AUTO_MIGRATE`: whether `serve` brings the database to this version, default true.
    pub auto_migrate: bool,
    /// Whether nothing else was said, so that the file lives in the data directory.
    pub in_data_dir: bool,
}

/// The address of a database. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(Secret);

impl DatabaseUrl {
    /// Takes the address of a database.
    ///
    /// # Errors
    /// What is allowed, where it is neither of the two kinds.
    pub fn new(url: &str) -> Result<Self, String> {
        let allowed = "sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME";
        if url.contains(":memory:") {
            return Err(format!("{allowed} (a database in memory has no second connection)"));
        }
        let path = url.strip_prefix("sqlite:").filter(|path| !path.is_empty());
        let host = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        if path.or(host.filter(|host| !host.is_empty())).is_none() {
            return Err(allowed.to_owned());
        }
        Ok(Self(Secret::new(url)))
    }

    /// The whole address, password included.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The file of an `SQLite` database; none where it is `PostgreSQL`.
    pub fn sqlite_path(&self) -> Option<&Path> {
        self.expose().strip_prefix("sqlite:").map(Path::new)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sqlite_path().is_some() {
            return f.write_str(self.expose());
        }
        let (url, query) = match self.expose().split_once('?') {
            Some((url, query)) => (url, Some(query)),
            None => (self.expose(), None),
        };
        let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
        // The last `@` ends the password, whatever it holds itself.
        match rest.rsplit_once('@') {
            Some((user, host)) => {
                let name = user.split(':').next().unwrap_or_default();
                write!(f, "{scheme}://{name}:***@{host}")?;
            }
            None => write!(f, "{scheme}://{rest}")?,
        }
        // libpq takes a password here too, and the names of other secrets.
        query.map_or(Ok(()), |_| f.write_str("?***"))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
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
    #[arg(default_value = "4", value_parser = parse::whole(2_u32, 1000))]
    database_pool: u32,

    /// Bring the database to this version at start
    #[arg(long, env = "AUTO_MIGRATE", value_name = "BOOL", action = clap::ArgAction::Set)]
    #[arg(default_value = "true", value_parser = parse::boolean)]
    auto_migrate: bool,
}

impl DatabaseArgs {
    pub(super) fn resolve(
        self,
        data_dir: &Path,
        chosen: Chosen,
    ) -> Result<DatabaseConfig, ConfigError> {
        let (variable, url) = match (chosen, self.database_url, self.database_url_file) {
            (Chosen::Value, Some(url), _) => ("DATABASE_URL", Some(url)),
            (Chosen::File, _, Some(file)) => {
                ("DATABASE_URL_FILE", Some(secret::read("DATABASE_URL_FILE", &file)?))
            }
            _ => ("DATABASE_URL", None),
        };
        let in_data_dir = url.is_none();
        let url = url
            .unwrap_or_else(|| format!("sqlite:{}", data_dir.join("orderhub.sqlite3").display()));
        let url = DatabaseUrl::new(&url)
            .map_err(|allowed| ConfigError::new(variable, format!("it must be {allowed}")))?;
        let least = if url.sqlite_path().is_some() { 2 } else { 3 };
        if self.database_pool < least {
            let problem =
                format!("with this database it must be at least {least}: some only write");
            return Err(ConfigError::new("DATABASE_POOL", problem));
        }
        let (pool_size, auto_migrate) = (self.database_pool, self.auto_migrate);
        Ok(DatabaseConfig { url, pool_size, auto_migrate, in_data_dir })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("sqlite:data/a.sqlite3", "sqlite:data/a.sqlite3"),
            ("postgres://hub:p%40ss@db:5432/orders", "postgres://hub:***@db:5432/orders"),
            ("postgresql://hub:p@ss:x@db/orders", "postgresql://hub:***@db/orders"),
            ("postgres://db/orders?password=pass", "postgres://db/orders?***"),
            ("postgres://db/orders", "postgres://db/orders"),
        ] {
            let url = DatabaseUrl::new(url).expect("a URL");
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
    }

    #[test]
    fn only_the_two_kinds_are_taken() {
        for bad in ["", "sqlite:", "sqlite::memory:", "postgres://", "mysql://db/x", "data.sqlite3"]
        {
            assert!(DatabaseUrl::new(bad).is_err(), "{bad:?}");
        }
    }
}
