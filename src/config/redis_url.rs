//! The address of Redis: one server, a cluster, or the Sentinels that know the master. Its passwords
//! are never shown.

use std::fmt;
use std::str::FromStr;

use super::Secret;
use super::postgres_url::unescaped;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// A host and its port.
pub type Address = (String, u16);

/// The address of Redis. Shown without its passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// Whether connections use TLS: `rediss`.
    pub tls: bool,
    /// Whom the servers of Redis know the hub as.
    pub login: Login,
    /// One server, servers of one cluster, or the Sentinels.
    pub hosts: Vec<Address>,
    /// The number of the database; a cluster has only 0.
    pub database: i64,
    /// How to find the master, if Sentinels are to be asked.
    pub sentinel: Option<SentinelUrl>,
}

/// What only an address with Sentinels has.
#[derive(Clone, PartialEq, Eq)]
pub struct SentinelUrl {
    /// The name that the Sentinels have for the master.
    pub master: String,
    /// Whom the Sentinels know the hub as.
    pub login: Login,
}

/// A user and password; a server without either needs none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The user; without one, Redis takes `default`.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
}

/// Why a text is not the address of Redis. Repeats nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedisUrl {
    /// The scheme is another one.
    #[error(
        "it must begin with redis://, rediss:// (TLS), redis+sentinel:// or rediss+sentinel://"
    )]
    Scheme,
    /// An escape is not two hexadecimal digits.
    #[error(
        "a % must be followed by two hexadecimal digits; write @ : / ? # % as %40 %3A %2F %3F %23 %25"
    )]
    Escape,
    /// A user without a password.
    #[error("a user needs a password, USER:PASSWORD@ (only a password: :PASSWORD@)")]
    Login,
    /// A host or port cannot be read.
    #[error(
        "its hosts must be HOST or HOST:PORT, with commas between several; in a user or password write @ : / ? # % as %40 %3A %2F %3F %23 %25"
    )]
    Hosts,
    /// The database is not a number.
    #[error("after the hosts only /DATABASE is allowed, a number from 0 to 65535")]
    Database,
    /// The name of the master is missing.
    #[error("after the Sentinels must come /MASTER, the name that they have for the master")]
    Master,
    /// It has a parameter that is not known.
    #[error("the only parameters are sentinel_user and sentinel_password, for Sentinels")]
    Parameter,
}

// === impl RedisUrl ===

impl FromStr for RedisUrl {
    type Err = InvalidRedisUrl;

    fn from_str(text: &str) -> Result<Self, InvalidRedisUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidRedisUrl::Scheme)?;
        let (tls, with_sentinel) = match scheme {
            "redis" => (false, false),
            "rediss" => (true, false),
            "redis+sentinel" => (false, true),
            "rediss+sentinel" => (true, true),
            _ => return Err(InvalidRedisUrl::Scheme),
        };
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let port = if with_sentinel { SENTINEL_PORT } else { PORT };
        let hosts = hosts.split(',').map(|host| address(host, port)).collect::<Option<_>>();
        let (sentinel, database) = if with_sentinel {
            let (master, database) = path.split_once('/').unwrap_or((path, ""));
            let master = decoded(master)?;
            if master.is_empty() {
                return Err(InvalidRedisUrl::Master);
            }
            (Some(SentinelUrl { master, login: sentinel_login(parameters)? }), database)
        } else if parameters.is_empty() {
            (None, path)
        } else {
            return Err(InvalidRedisUrl::Parameter);
        };
        Ok(Self {
            tls,
            login: Login::read(login)?,
            hosts: hosts.ok_or(InvalidRedisUrl::Hosts)?,
            database: database_number(database).ok_or(InvalidRedisUrl::Database)?,
            sentinel,
        })
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentinel = if self.sentinel.is_some() { "+sentinel" } else { "" };
        write!(f, "redis{}{sentinel}://", if self.tls { "s" } else { "" })?;
        if self.login != Login::default() {
            f.write_str("***@")?;
        }
        for (index, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
            write!(f, "{comma}{open}{host}{close}:{port}")?;
        }
        if let Some(sentinel) = &self.sentinel {
            write!(f, "/{}", sentinel.master)?;
        }
        if self.database != 0 { write!(f, "/{}", self.database) } else { Ok(()) }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

// === impl Login ===

impl Login {
    fn read(text: &str) -> Result<Self, InvalidRedisUrl> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let (user, password) = text.split_once(':').ok_or(InvalidRedisUrl::Login)?;
        let (user, password) = (decoded(user)?, decoded(password)?);
        if password.is_empty() {
            return Err(InvalidRedisUrl::Login);
        }
        let user = Some(user).filter(|user| !user.is_empty());
        Ok(Self { user, password: Some(Secret::new(password)) })
    }
}

fn decoded(text: &str) -> Result<String, InvalidRedisUrl> {
    unescaped(text).map_err(|_| InvalidRedisUrl::Escape)
}

fn sentinel_login(parameters: &str) -> Result<Login, InvalidRedisUrl> {
    let mut login = Login::default();
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').ok_or(InvalidRedisUrl::Parameter)?;
        let value = decoded(value)?;
        match name {
            "sentinel_user" => login.user = Some(value),
            "sentinel_password" => login.password = Some(Secret::new(value)),
            _ => return Err(InvalidRedisUrl::Parameter),
        }
    }
    if login.user.is_some() && login.password.is_none() {
        return Err(InvalidRedisUrl::Login);
    }
    Ok(login)
}

/// A host, or an IPv6 address in brackets, with or without a port.
fn address(text: &str, default_port: u16) -> Option<Address> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None if port.is_empty() => default_port,
        None => return None,
    };
    let is_host = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte));
    is_host.then(|| (host.to_owned(), port))
}

fn database_number(text: &str) -> Option<i64> {
    if text.is_empty() { Some(0) } else { text.parse::<u16>().ok().map(i64::from) }
}

#[cfg(test)]
mod tests {
    use super::InvalidRedisUrl as Invalid;
    use super::*;

    fn read(text: &str) -> RedisUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn login(user: Option<&str>, password: &str) -> Login {
        Login { user: user.map(str::to_owned), password: Some(Secret::new(password)) }
    }

    #[test]
    fn a_server_a_cluster_and_sentinels_are_read() {
        let url = read("redis://cache");
        assert_eq!((url.tls, url.hosts, url.database), (false, vec![("cache".into(), 6379)], 0));
        let url = read("rediss://hub:s%40c:ret@a.example:7000,[::1]:7001,b/2");
        let hosts = [("a.example", 7000), ("::1", 7001), ("b", 6379)];
        assert_eq!(url.hosts, hosts.map(|(host, port)| (host.to_owned(), port)));
        assert_eq!((url.tls, url.database), (true, 2));
        assert_eq!(url.login, login(Some("hub"), "s@c:ret"));
        assert_eq!(read("redis://hub:s/e#c@r@h").login, login(Some("hub"), "s/e#c@r"));
        assert_eq!(read("redis://:secret@h").login, login(None, "secret"));
        let url = read("redis+sentinel://hub:one@s1,s2:5000/mymaster/3?sentinel_password=two");
        assert_eq!(url.hosts, [("s1".into(), 26379), ("s2".into(), 5000)]);
        assert_eq!((url.database, &url.login), (3, &login(Some("hub"), "one")));
        let sentinel = url.sentinel.expect("Sentinels");
        assert_eq!((sentinel.master.as_str(), sentinel.login), ("mymaster", login(None, "two")));
    }

    #[test]
    fn an_invalid_address_is_refused_and_not_repeated() {
        for (text, expected) in [
            ("cache:6379", Invalid::Scheme),
            ("http://secret", Invalid::Scheme),
            ("redis://", Invalid::Hosts),
            ("redis://h,", Invalid::Hosts),
            ("redis://h:0", Invalid::Hosts),
            ("redis://h:70000", Invalid::Hosts),
            ("redis://[::1", Invalid::Hosts),
            ("redis://secret@h", Invalid::Login),
            ("redis://hub:@h", Invalid::Login),
            ("redis://hub:5%secret@h", Invalid::Escape),
            ("redis://h/secret", Invalid::Database),
            ("redis://h/0/1", Invalid::Database),
            ("redis://h?protocol=secret", Invalid::Parameter),
            ("redis+sentinel://h", Invalid::Master),
            ("redis+sentinel://h/m?user=secret", Invalid::Parameter),
            ("redis+sentinel://h/m?sentinel_user=secret", Invalid::Login),
        ] {
            let error = text.parse::<RedisUrl>().expect_err(text);
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for (text, shown) in [
            ("redis://h", "redis://h:6379"),
            ("rediss://hub:secret@h:1,[::1]:2/3", "rediss://***@h:1,[::1]:2/3"),
            (
                "redis+sentinel://:secret@h/m?sentinel_password=secret",
                "redis+sentinel://***@h:26379/m",
            ),
        ] {
            let url = read(text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("{shown:?}"));
            assert!(!format!("{:?}", url.login).contains("secret"));
        }
    }
}
