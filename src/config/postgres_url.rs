//! The address of a PostgreSQL server, read as libpq reads it.
//!
//! libpq repeats what it cannot read, which may be part of a password. So the hub checks first, and
//! its own errors repeat only the names of parameters.

use percent_encoding::percent_decode_str;

/// Explains which characters of a user name or a password must be escaped.
macro_rules! escape {
    ($problem:literal) => {
        concat!($problem, "; in a user or password write @ : / ? # % as %40 %3A %2F %3F %23 %25")
    };
}

/// Parameters of the bundled libpq (18). It also reads `ssl=true`, as `sslmode=require`.
const PARAMETERS: &[&str] = &[
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "options",
    "passfile",
    "password",
    "port",
    "replication",
    "require_auth",
    "requirepeer",
    "scram_client_key",
    "scram_server_key",
    "service",
    "ssl",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslkeylogfile",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// Parameters that must not be shown.
const SECRETS: &[&str] =
    &["password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"];

/// Parameters that are whole numbers.
const NUMBERS: &[&str] = &[
    "connect_timeout",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
];

/// Values that need a program built with TLS.
const TLS: &[(&str, &str)] = &[
    ("sslmode", "require"),
    ("sslmode", "verify-ca"),
    ("sslmode", "verify-full"),
    ("ssl", "true"),
    ("sslnegotiation", "direct"),
    ("channel_binding", "require"),
];

/// Why libpq could not use the address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPostgresUrl {
    /// An escape is not two hexadecimal digits.
    #[error("{}", escape!("a % must be followed by two hexadecimal digits, and not by 00"))]
    Escape,
    /// The host has a second `@`, or a bracket that is not closed.
    #[error("{}", escape!("its host cannot be read"))]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("{}", escape!("its port must be a number from 1 to 65535"))]
    Port,
    /// The database name contains an `@`, and so is probably the end of a password.
    #[error("{}", escape!("there is an @ after its host"))]
    Name,
    /// A parameter is not of the form `NAME=VALUE`.
    #[error("{}", escape!("after the ? must come NAME=VALUE, separated by &"))]
    Parameters,
    /// A parameter that libpq does not know.
    #[error("libpq knows no parameter {0}")]
    Unknown(String),
    /// A parameter whose value must be a number.
    #[error("its parameter {0} must be a whole number")]
    Number(&'static str),
    /// `sslmode` has an unknown value.
    #[error("its sslmode must be disable, allow, prefer, require, verify-ca or verify-full")]
    SslMode,
    /// This program was built without TLS.
    #[error("{0}={1} needs a program that was built with --features postgres-tls")]
    NeedsTls(&'static str, &'static str),
}

/// The parts of an address, as it contains them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UrlParts<'t> {
    pub(super) scheme: &'t str,
    pub(super) user: Option<&'t str>,
    /// The user's password.
    pub(super) password: Option<&'t str>,
    /// The hosts with their ports, separated by commas.
    pub(super) hosts: &'t str,
    /// The database's name, with the slash before it.
    pub(super) name: &'t str,
    /// Each parameter with its value.
    pub(super) parameters: Vec<(&'t str, &'t str)>,
}

impl<'t> UrlParts<'t> {
    /// Splits an address into its parts and checks each one.
    ///
    /// # Errors
    /// The first part that libpq could not use.
    pub(super) fn read(url: &'t str) -> Result<Self, InvalidPostgresUrl> {
        let (scheme, rest) = url.split_once("://").ok_or(InvalidPostgresUrl::Host)?;
        // The user and password end at the first @, if there is one before the first slash.
        let (login, rest) = match rest.find(['@', '/']) {
            Some(place) if rest[place..].starts_with('@') => {
                (Some(&rest[..place]), &rest[place + 1..])
            }
            _ => (None, rest),
        };
        let (user, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
            Some(Ok((user, password))) => (Some(user), Some(password)),
            Some(Err(user)) => (Some(user), None),
            None => (None, None),
        };
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, name) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // A ? in a user name starts the parameters of an address without a slash.
        if hosts.contains('@') || user.is_some_and(|user| user.contains('?')) {
            return Err(InvalidPostgresUrl::Host);
        }
        hosts.split(',').try_for_each(host)?;
        if name.contains('@') {
            return Err(InvalidPostgresUrl::Name);
        }
        for part in [user.unwrap_or_default(), password.unwrap_or_default(), hosts, name] {
            unescaped(part)?;
        }
        let parameters = read_parameters(parameters)?;
        Ok(Self { scheme, user, password, hosts, name, parameters })
    }

    /// The secrets of the address, escaped and unescaped, the longest first.
    pub(super) fn secrets(&self) -> Vec<String> {
        let secret = |(name, _): &&(&str, &str)| SECRETS.contains(name);
        let values = self.parameters.iter().filter(secret).map(|(_, value)| *value);
        let raw = values.chain(self.password).filter(|secret| !secret.is_empty());
        let mut secrets: Vec<String> = raw
            .flat_map(|raw| [raw.to_owned(), percent_decode_str(raw).decode_utf8_lossy().into()])
            .collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets
    }
}

/// Checks a host, or an IPv6 address in brackets, with or without a port.
fn host(text: &str) -> Result<(), InvalidPostgresUrl> {
    let port = match text.strip_prefix('[') {
        Some(address) => {
            let (_, behind) = address.split_once(']').ok_or(InvalidPostgresUrl::Host)?;
            match behind.strip_prefix(':') {
                Some(port) => port,
                None if behind.is_empty() => "",
                None => return Err(InvalidPostgresUrl::Host),
            }
        }
        None => text.split_once(':').map_or("", |(_, port)| port),
    };
    is_port(port).then_some(()).ok_or(InvalidPostgresUrl::Port)
}

/// The port may be missing; it is 5432 then.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.parse().is_ok_and(|port: u16| port > 0)
}

fn read_parameters(text: &str) -> Result<Vec<(&str, &str)>, InvalidPostgresUrl> {
    let mut parameters = Vec::new();
    for parameter in text.split('&').filter(|_| !text.is_empty()) {
        let (name, value) = parameter.split_once('=').ok_or(InvalidPostgresUrl::Parameters)?;
        let Some(known) = PARAMETERS.iter().find(|known| **known == name) else {
            // After a password with a slash, this is not a name.
            let is_name = !text.contains('@') && name.len() <= 40;
            let is_name =
                is_name && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            if !is_name {
                return Err(InvalidPostgresUrl::Parameters);
            }
            return Err(InvalidPostgresUrl::Unknown(name.to_owned()));
        };
        if value.contains('=') {
            return Err(InvalidPostgresUrl::Parameters);
        }
        check(known, &unescaped(value)?)?;
        parameters.push((name, value));
    }
    Ok(parameters)
}

/// Whether a parameter can have this value.
fn check(name: &'static str, value: &str) -> Result<(), InvalidPostgresUrl> {
    if NUMBERS.contains(&name) && value.trim().parse::<i32>().is_err() {
        return Err(InvalidPostgresUrl::Number(name));
    }
    if name == "port" && !value.split(',').all(is_port) {
        return Err(InvalidPostgresUrl::Port);
    }
    let modes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    if name == "sslmode" && !modes.contains(&value) {
        return Err(InvalidPostgresUrl::SslMode);
    }
    let mut tls = TLS.iter().filter(|_| !cfg!(feature = "postgres-tls"));
    match tls.find(|(parameter, setting)| (*parameter, *setting) == (name, value)) {
        Some((parameter, setting)) => Err(InvalidPostgresUrl::NeedsTls(parameter, setting)),
        None => Ok(()),
    }
}

/// The part without escapes.
pub(super) fn unescaped(part: &str) -> Result<String, InvalidPostgresUrl> {
    let escapes = part.split('%').skip(1);
    let is_escape = |after: &str| {
        let digits = after.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit) && digits != b"00")
    };
    if !escapes.into_iter().all(is_escape) {
        return Err(InvalidPostgresUrl::Escape);
    }
    Ok(percent_decode_str(part).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::InvalidPostgresUrl as Invalid;
    use super::*;

    #[test]
    fn addresses_that_libpq_can_use_are_parsed() {
        let url = "postgresql://hub:s%40c:ret@[::1]:5433,b.example/orders?sslmode=disable&options=-c%20a%3Db";
        let parts = UrlParts::read(url).expect("an address");
        assert_eq!((parts.user, parts.password), (Some("hub"), Some("s%40c:ret")));
        assert_eq!((parts.hosts, parts.name), ("[::1]:5433,b.example", "/orders"));
        assert_eq!(parts.parameters, [("sslmode", "disable"), ("options", "-c%20a%3Db")]);
        assert_eq!(parts.secrets(), ["s%40c:ret", "s@c:ret"]);
        for url in [
            "postgres://h",
            "postgres:///orders?host=/var/run/postgresql&port=5433,",
            "postgres://%2Fvar%2Frun/orders",
            "postgres://hub@/orders",
            "postgres://hub:@h:/orders?",
            "postgres://h/o?password=se@c:ret/?&connect_timeout=10",
        ] {
            assert!(UrlParts::read(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn addresses_that_libpq_cannot_use_are_refused_and_not_repeated() {
        for (url, expected) in [
            ("postgres://hub:5%secret@h/db", Invalid::Escape),
            ("postgres://hub:secret%0@h/db", Invalid::Escape),
            ("postgres://hub:secret%00@h/db", Invalid::Escape),
            ("postgres://h/db?password=secret%zz", Invalid::Escape),
            ("postgres://hub:se@cret@h/db", Invalid::Host),
            ("postgres://hub@[::1/secret", Invalid::Host),
            ("postgres://h?password=secret@h", Invalid::Host),
            ("postgres://hub:secret/x@h/db", Invalid::Port),
            ("postgres://hub:secret@h:70000/db", Invalid::Port),
            ("postgres://hub:secret@h:0/db", Invalid::Port),
            ("postgres://hub:123/secret@h/db", Invalid::Name),
            ("postgres://hub:123/se?secret@h/db", Invalid::Parameters),
            ("postgres://hub:123/se?secret=1@h/db", Invalid::Parameters),
            ("postgres://h/db?password=a=secret", Invalid::Parameters),
            ("postgres://h/db?secret", Invalid::Parameters),
            ("postgres://h/db?pasword=secret", Invalid::Unknown("pasword".into())),
            ("postgres://h/db?connect_timeout=secret", Invalid::Number("connect_timeout")),
            ("postgres://h/db?port=secret", Invalid::Port),
            ("postgres://h/db?sslmode=secret", Invalid::SslMode),
        ] {
            let problem = UrlParts::read(url).expect_err(url);
            assert_eq!(problem, expected, "{url}");
            assert!(!problem.to_string().contains("secret"), "{problem}");
        }
    }

    #[test]
    fn tls_needs_its_feature() {
        for (parameter, value) in
            [("sslmode", "require"), ("sslmode", "verify-full"), ("ssl", "true")]
        {
            let url = format!("postgres://h/db?{parameter}={value}");
            let problem = UrlParts::read(&url).err();
            let needed = InvalidPostgresUrl::NeedsTls(parameter, value);
            assert!(needed.to_string().contains("--features postgres-tls"), "{needed}");
            assert_eq!(problem, (!cfg!(feature = "postgres-tls")).then_some(needed), "{url}");
        }
    }
}
