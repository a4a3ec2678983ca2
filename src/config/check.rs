//! Checks settings that are each valid but cannot work together.

use super::http::{ConnectionShares, FileNeeds};
use super::{
    ClusterConfig, Config, ConfigError, DatabaseUrl, JoinPolicy, JwksSource, Networks, ServerConfig,
};

/// Finds the first setting that contradicts another.
pub(super) fn check_consistency(config: &Config) -> Result<(), ConfigError> {
    let (server, limits) = (&config.server, &config.limits);
    if server.admin_bind == Some(server.bind) && server.bind.port() != 0 {
        let problem = "it must be another address than BIND_ADDR";
        return Err(ConfigError::new("ADMIN_BIND", problem));
    }
    let has_server =
        matches!(&config.auth.jwks, Some(JwksSource::Url(url)) if url.starts_with("https"));
    if config.auth.jwks_ca.is_some() && !has_server {
        let problem = "it is for a JWT_JWKS that is an https URL";
        return Err(ConfigError::new("JWT_JWKS_CA", problem));
    }
    check_cluster(&config.cluster, &config.database.url)?;
    check_demo(config)?;
    check_burst("EVENTS", limits.events_per_second, limits.events_burst)?;
    check_burst("CHAT", limits.chat_per_second, limits.chat_burst)?;
    check_burst("JOINS", limits.joins_per_second, limits.joins_burst)?;
    check_burst("LOGINS", limits.logins_per_second, limits.logins_burst)?;
    check_burst("READS", limits.reads_per_second, limits.reads_burst)?;
    let (outbox, message) = (limits.outbox_bytes, limits.max_message_bytes);
    if outbox < message {
        let problem = format!("{outbox} must be at least MAX_MESSAGE_BYTES ({message})");
        return Err(ConfigError::new("OUTBOX_BYTES", problem));
    }
    let (timeout, interval) = (limits.pong_timeout.as_millis(), limits.ping_interval.as_millis());
    if timeout > interval {
        // The hub waits for one pong at a time.
        let problem = format!("{timeout} must be at most PING_INTERVAL_MS ({interval})");
        return Err(ConfigError::new("PONG_TIMEOUT_MS", problem));
    }
    // A status that no order can have would hide the driver forever, and is probably a typing
    // error.
    let rooms = &config.rooms;
    if let (Some(known), Some(visible)) = (&rooms.order_statuses, &rooms.location_visible_statuses)
        && let Some(unknown) = visible.difference(known).next()
    {
        let problem = format!("{unknown} is none of ORDER_STATUSES");
        return Err(ConfigError::new("LOCATION_VISIBLE_STATUSES", problem));
    }
    Ok(())
}

/// Nodes share a server; a file has one hub.
fn check_cluster(cluster: &ClusterConfig, database: &DatabaseUrl) -> Result<(), ConfigError> {
    let Some(url) = &cluster.redis_url else {
        return match cluster.redis_ca {
            Some(_) => Err(ConfigError::new("REDIS_CA", "it is for REDIS_URL, which is not set")),
            None => Ok(()),
        };
    };
    if matches!(database, DatabaseUrl::Sqlite(_)) {
        let problem = "hubs share a PostgreSQL, and DATABASE_URL is a SQLite file: set it to \
                       postgres://…, or unset REDIS_URL";
        return Err(ConfigError::new("REDIS_URL", problem));
    }
    if cluster.redis_ca.is_some() && !url.tls {
        return Err(ConfigError::new("REDIS_CA", "it is for rediss://, and REDIS_URL has no TLS"));
    }
    Ok(())
}

/// A hub that others can reach without a key of its own is one that `DEMO=true` has let start. If
/// something shows that it is used in earnest, the key is missing by mistake.
fn check_demo(config: &Config) -> Result<(), ConfigError> {
    if config.server.is_local() || config.auth.development_secret.is_none() {
        return Ok(());
    }
    let more = [
        ("DATABASE_URL", matches!(config.database.url, DatabaseUrl::Postgres(_))),
        ("WEBHOOKS_FILE", config.webhooks.file.is_some()),
        ("REDIS_URL", config.cluster.redis_url.is_some()),
    ];
    let found = config.against_demo().or_else(|| first_set(more));
    found.map_or(Ok(()), |other| {
        let problem = format!("true is not for a hub that has {other}: set JWT_SECRET");
        Err(ConfigError::new("DEMO", problem))
    })
}

fn first_set<const N: usize>(settings: [(&'static str, bool); N]) -> Option<&'static str> {
    settings.into_iter().find_map(|(name, is_set)| is_set.then_some(name))
}

/// A rate with a burst of 0 would allow nothing at all.
fn check_burst(what: &str, per_second: u32, burst: u32) -> Result<(), ConfigError> {
    if burst > 0 || per_second == 0 {
        return Ok(());
    }
    let problem =
        format!("0 lets nothing through, it must be at least 1 ({what}_PER_SECOND=0: no limit)");
    Err(ConfigError::new(&format!("{what}_BURST"), problem))
}

impl Config {
    /// Checks that this many files are enough for the configured connections.
    ///
    /// # Errors
    /// `MAX_CONNECTIONS`, with what to set, if they are not.
    pub fn check_files(&self, limit: usize) -> Result<(), ConfigError> {
        let pool_size = usize::try_from(self.database.pool_size).unwrap_or(usize::MAX);
        let needs = FileNeeds { workers: self.server.workers, pool_size };
        let shares = ConnectionShares {
            connections: self.server.max_connections,
            http: self.http.max_connections,
        };
        needs.check(shares, limit)
    }

    /// Whether `/demo` is served: `DEMO` says so, the hub has made its own secret, and no setting
    /// shows that it is used in earnest.
    pub fn serves_demo(&self) -> bool {
        let is_development = self.auth.development_secret.is_some();
        self.server.demo && is_development && self.against_demo().is_none()
    }

    /// A setting with which the demo is not served: its tokens would open more than its orders,
    /// other programs have keys for this hub, or clients reach it through a proxy.
    fn against_demo(&self) -> Option<&'static str> {
        first_set([
            ("JOIN_POLICY=open", self.rooms.join_policy == JoinPolicy::Open),
            ("API_KEYS_FILE", self.auth.api_keys.is_some()),
            ("JWT_SECRET_PREVIOUS", self.auth.previous_secret.is_some()),
            ("JOIN_HOOK_URL", self.hooks.join.is_some()),
            ("CHAT_HOOK_URL", self.hooks.chat.is_some()),
            ("TRUSTED_PROXIES", self.server.trusted_proxies != Networks::default()),
        ])
    }

    /// Settings that work but deserve a warning, a sentence each, for the log at start.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.rooms.join_policy == JoinPolicy::Open {
            warnings.push("JOIN_POLICY=open: every logged-in user may join any order".to_owned());
        }
        if self.server.allow_query_token && !self.server.is_local() {
            warnings.push("ALLOW_QUERY_TOKEN=true: proxies may log tokens".to_owned());
        }
        if self.auth.development_secret.is_some() && !self.server.is_local() {
            let warning = "DEMO=true: everyone who reaches the hub can take part in demo-… orders";
            warnings.push(warning.to_owned());
        }
        let (statuses, terminal) = (&self.rooms.order_statuses, &self.rooms.terminal_statuses);
        if statuses.as_ref().is_some_and(|known| known.is_disjoint(terminal)) {
            let warning = "TERMINAL_STATUSES: none is one of ORDER_STATUSES, so no order ever ends";
            warnings.push(warning.to_owned());
        }
        if let Err(error) = self.check_files(ServerConfig::file_limit()) {
            warnings.push(error.to_string());
        }
        warnings
    }
}
