//! Which database: `sqlite:PATH`, or `postgres://…`. A password in it is never shown.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The address of a database.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file, made where it is missing.
    Sqlite(PathBuf),
    /// A server, in the words of libpq.
    Postgres(String),
}

/// Why a text is no address of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDatabaseUrl {
    /// Neither of the two.
    #[error("must be sqlite:PATH, postgres://… or postgresql://…")]
    Scheme,
    /// `sqlite:` with nothing behind it.
    #[error("sqlite: must be followed by the path of a file")]
    NoPath,
    /// Every connection would have a database of its own.
    #[error("a database in memory cannot be shared by several connections")]
    InMemory,
}

// === impl DatabaseUrl ===

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        let path = text.strip_prefix("sqlite:").ok_or(InvalidDatabaseUrl::Scheme)?;
        // `sqlite:///var/hub` is how other tools write an absolute path.
        match path.strip_prefix("//").unwrap_or(path) {
            "" => Err(InvalidDatabaseUrl::NoPath),
            ":memory:" => Err(InvalidDatabaseUrl::InMemory),
            path => Ok(Self::Sqlite(PathBuf::from(path))),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => f.write_str(&masked(url)),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// The address without its password, which may stand before the host or, in libpq's words, among
/// the parameters. A password with unescaped `@`, `?` or `/` hides too much rather than too little.
fn masked(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
    let shown = match rest.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:***@{host}"),
            None => format!("{scheme}://{login}@{host}"),
        },
        None => url.to_owned(),
    };
    shown.split('&').map(masked_parameter).collect::<Vec<_>>().join("&")
}

fn masked_parameter(part: &str) -> String {
    match part.split_once("password=") {
        Some((before, _)) => format!("{before}password=***"),
        None => part.to_owned(),
    }
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
            ("mysql://h/db", Err(InvalidDatabaseUrl::Scheme)),
            ("sqlite:", Err(InvalidDatabaseUrl::NoPath)),
            ("sqlite::memory:", Err(InvalidDatabaseUrl::InMemory)),
        ] {
            assert_eq!(text.parse::<DatabaseUrl>(), expected, "{text}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for (text, shown) in [
            ("postgres://hub:se:c@ret@h:5432/db", "postgres://hub:***@h:5432/db"),
            ("postgres://hub@h/db?sslmode=require", "postgres://hub@h/db?sslmode=require"),
            ("postgres://h/db?user=hub&password=secret", "postgres://h/db?user=hub&password=***"),
            ("postgres://hub:se/c?ret@h/db", "postgres://hub:***@h/db"),
            ("postgres://h/db?sslpassword=secret&a=b", "postgres://h/db?sslpassword=***&a=b"),
            ("postgres://h/db", "postgres://h/db"),
        ] {
            let url: DatabaseUrl = text.parse().expect("a database");
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("secret"));
        }
    }
}
