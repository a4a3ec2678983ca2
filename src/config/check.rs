//! Settings that each look good and cannot work together.

use super::{Config, ConfigError, JoinPolicy, ServerConfig};

/// Finds the first setting that contradicts another.
pub(super) fn consistent(config: &Config) -> Result<(), ConfigError> {
    let (server, limits) = (&config.server, &config.limits);
    let checks = [
        (
            server.admin_bind != Some(server.bind) || server.bind.port() == 0,
            "ADMIN_BIND",
            "it must be another address than BIND_ADDR".to_owned(),
        ),
        (
            limits.events_burst > 0 || limits.events_per_second == 0,
            "EVENTS_BURST",
            "0 lets nothing through; it must be at least 1 (EVENTS_PER_SECOND=0 switches the \
             limit off)"
                .to_owned(),
        ),
        (
            limits.chat_burst > 0 || limits.chat_per_second == 0,
            "CHAT_BURST",
            "0 lets nothing through; it must be at least 1 (CHAT_PER_SECOND=0 switches the limit \
             off)"
                .to_owned(),
        ),
        (
            limits.outbox_bytes >= limits.max_message_bytes,
            "OUTBOX_BYTES",
            format!(
                "{} is less than one message may have; it must be at least MAX_MESSAGE_BYTES ({})",
                limits.outbox_bytes, limits.max_message_bytes
            ),
        ),
        (
            limits.pong_timeout <= limits.ping_interval,
            "PONG_TIMEOUT_MS",
            format!(
                "{} outlasts the next ping; it must be at most PING_INTERVAL_MS ({})",
                limits.pong_timeout.as_millis(),
                limits.ping_interval.as_millis()
            ),
        ),
    ];
    match checks.into_iter().find(|(good, ..)| !good) {
        Some((_, variable, problem)) => Err(ConfigError::new(variable, problem)),
        None => Ok(()),
    }
}

impl Config {
    /// What works but should not go unsaid, a sentence each: for the log at start.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.rooms.join_policy == JoinPolicy::Open {
            warnings.push("JOIN_POLICY=open: every logged-in user may join any order".to_owned());
        }
        if self.server.allow_query_token && !self.server.is_local() {
            warnings.push("ALLOW_QUERY_TOKEN=true: proxies may log tokens".to_owned());
        }
        let possible = ServerConfig::connections_by_file_limit();
        if self.server.max_connections > possible {
            warnings.push(format!(
                "MAX_CONNECTIONS: the file limit of this process allows {possible}, not {}",
                self.server.max_connections
            ));
        }
        warnings
    }
}
