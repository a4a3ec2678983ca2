//! The database: `sqlite:PATH`, or `postgres://…`. Its password is never shown.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::postgres_url::{InvalidPostgresUrl, UrlParts};

/// The address of a database. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file, which is created if it is missing.
    Sqlite(PathBuf),
    /// A server, in libpq's form of a URL, password included.
    Postgres(String),
}

/// Why a text is not the address of a database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDatabaseUrl {
    /// It has neither scheme, or nothing after it.
    #[error("it must be sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME")]
    Form,
    /// A database in memory: every connection would have its own.
    #[error("it must be a file: a database in memory cannot be shared by several connections")]
    InMemory,
    /// libpq could not use a part of it.
    #[error(transparent)]
    Postgres(#[from] InvalidPostgresUrl),
}

// === impl DatabaseUrl ===

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            // Other tools write an absolute path as `sqlite:///var/hub`.
            return match path.strip_prefix("//").unwrap_or(path) {
                "" => Err(InvalidDatabaseUrl::Form),
                path if path.contains(":memory:") => Err(InvalidDatabaseUrl::InMemory),
                path => Ok(Self::Sqlite(PathBuf::from(path))),
            };
        }
        let server =
            text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        match server {
            Some(server) if !server.is_empty() => {
                UrlParts::read(text)?;
                Ok(Self::Postgres(text.to_owned()))
            }
            _ => Err(InvalidDatabaseUrl::Form),
        }
    }
}

impl DatabaseUrl {
    /// Removes the secrets of this address from a text of the database or its library.
    pub fn redact(&self, text: &str) -> String {
        match self {
            Self::Sqlite(_) => text.to_owned(),
            Self::Postgres(url) => match UrlParts::read(url) {
                Ok(parts) => {
                    let secrets = parts.secrets();
                    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
                }
                Err(_) => "the address of the database cannot be read".to_owned(),
            },
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => f.write_str(&without_password(url)),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// The address without its password and its parameters: libpq also takes passwords as parameters,
/// under several names.
fn without_password(url: &str) -> String {
    let Ok(parts) = UrlParts::read(url) else { return "postgres://***".to_owned() };
    let UrlParts { scheme, user, password, hosts, name, parameters } = parts;
    let password = password.map_or("", |_| ":***");
    let login = user.map(|user| format!("{user}{password}@")).unwrap_or_default();
    let parameters = if parameters.is_empty() { "" } else { "?***" };
    format!("{scheme}://{login}{hosts}{name}{parameters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_databases_are_read() {
        for (text, expected) in [
            ("sqlite:hub.sqlite3", Ok(DatabaseUrl::Sqlite("hub.sqlite3".into()))),
            ("sqlite:///var/hub.sqlite3", Ok(DatabaseUrl::Sqlite("/var/hub.sqlite3".into()))),
            ("postgres://h/db", Ok(DatabaseUrl::Postgres("postgres://h/db".into()))),
            ("postgresql://h/db", Ok(DatabaseUrl::Postgres("postgresql://h/db".into()))),
            ("mysql://h/db", Err(InvalidDatabaseUrl::Form)),
            ("data.sqlite3", Err(InvalidDatabaseUrl::Form)),
            ("", Err(InvalidDatabaseUrl::Form)),
            ("postgres://", Err(InvalidDatabaseUrl::Form)),
            ("sqlite:", Err(InvalidDatabaseUrl::Form)),
            ("sqlite::memory:", Err(InvalidDatabaseUrl::InMemory)),
        ] {
            assert_eq!(text.parse::<DatabaseUrl>(), expected, "{text}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for (text, shown) in [
            ("sqlite:data/a.sqlite3", "sqlite:data/a.sqlite3"),
            ("postgres://hub:se:c%40ret@h:5432/db", "postgres://hub:***@h:5432/db"),
            ("postgresql://hub:s%40cret@h/db", "postgresql://hub:***@h/db"),
            ("postgres://hub:se%2Fc?ret@h/db", "postgres://hub:***@h/db"),
            ("postgres://hub@h/db?sslmode=prefer", "postgres://hub@h/db?***"),
            ("postgres://h/db?user=hub&password=secret", "postgres://h/db?***"),
            ("postgres://h/db?password=se@cret", "postgres://h/db?***"),
            ("postgres://h/db?password=se:c@ret", "postgres://h/db?***"),
            ("postgres://h/db", "postgres://h/db"),
        ] {
            let url: DatabaseUrl = text.parse().expect("a database");
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("{shown:?}"));
        }
    }

    #[test]
    fn a_text_of_libpq_is_shown_without_the_password() {
        let url: DatabaseUrl =
            "postgres://hub:s%40cret@h/db?sslpassword=other".parse().expect("one");
        let text = "no host \"s@cret\", \"s%40cret\" or \"other\"";
        assert_eq!(url.redact(text), "no host \"***\", \"***\" or \"***\"");
        let unread = DatabaseUrl::Postgres("postgres://hub:5%secret@h/db".into());
        assert!(!unread.redact("\"secret\"").contains("secret"));
        assert_eq!(unread.to_string(), "postgres://***");
    }
}
