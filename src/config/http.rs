//! Limits of HTTP connections, and how the process's files are divided.

use clap::Args;

use super::ConfigError;
use super::network::Networks;
use super::parse::integer;

/// Files for everything but clients, beside those of workers and the database: listeners, logs,
/// connections of `ADMIN_BIND`, and connections that are being refused.
const RESERVED_FILES: usize = 192;
/// Files of a worker: its event queue, its waker, its ring.
const FILES_PER_WORKER: usize = 4;
/// Files of a connection to the database; SQLite has three.
const FILES_PER_DATABASE_CONNECTION: usize = 4;
/// With fewer HTTP connections, clients that poll could not connect.
const MIN_HTTP: usize = 32;
/// The default of `MAX_HTTP_CONNECTIONS` is at most this.
const MAX_HTTP: usize = 65_536;
/// The default of `MAX_CONNECTIONS` if the system sets no useful limit.
const DEFAULT_MAX_CONNECTIONS: usize = 1_000_000;

/// Addresses of the operator's own networks. No mobile carrier or household uses them.
const OPERATOR_NETWORKS: &str = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,169.254.0.0/16,\
                         100.64.0.0/10,::1,fc00::/7,fe80::/10";

/// Limits of HTTP connections.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// `MAX_HTTP_CONNECTIONS`: HTTP connections, without upgraded ones. Beyond: 503.
    pub max_connections: usize,
    /// `MAX_HTTP_CONNECTIONS_PER_USER`: HTTP connections of one user (customers, drivers and
    /// support), default 256. Beyond: 429. A phone needs two to poll; behind a proxy that speaks
    /// HTTP/2, each request that is being served counts.
    pub max_connections_per_user: usize,
    /// `MAX_UNAUTHENTICATED_PER_ADDRESS`: connections and, counted separately, Socket.IO sessions
    /// without a valid token, by address, default 512. Beyond: 503.
    pub max_unauthenticated_per_address: usize,
    /// `ADDRESS_LIMIT_EXEMPT`: addresses without that limit, default private networks.
    pub address_limit_exempt: Networks,
    /// `HTTP_BUFFER_BYTES`: request bodies and answers in memory, default 134217728.
    pub buffer_bytes: usize,
    /// `HTTP_BUFFER_BYTES_PER_USER`: the same for one user, default 8388608.
    pub buffer_bytes_per_user: usize,
}

/// The settings as they are given.
#[derive(Args)]
pub(super) struct HttpArgs {
    /// Open HTTP connections, upgraded ones aside; beyond: 503 [default: by the file limit]
    #[arg(long, env = "MAX_HTTP_CONNECTIONS", value_name = "N")]
    #[arg(value_parser = integer(MIN_HTTP, 10_000_000))]
    pub(super) max_http_connections: Option<usize>,

    /// HTTP connections of one user
    #[arg(long, env = "MAX_HTTP_CONNECTIONS_PER_USER", value_name = "N")]
    #[arg(default_value = "256", value_parser = integer(2_usize, 1_000_000))]
    max_http_connections_per_user: usize,

    /// Connections of one address that have shown no good token
    #[arg(long, env = "MAX_UNAUTHENTICATED_PER_ADDRESS", value_name = "N")]
    #[arg(default_value = "512", value_parser = integer(1_usize, 10_000_000))]
    max_unauthenticated_per_address: usize,

    /// Addresses and networks without that limit, with commas
    #[arg(long, env = "ADDRESS_LIMIT_EXEMPT", value_name = "NETWORKS")]
    #[arg(default_value = OPERATOR_NETWORKS, value_parser = str::parse::<Networks>)]
    address_limit_exempt: Networks,

    /// Request bodies and answers under way (bytes)
    #[arg(long, env = "HTTP_BUFFER_BYTES", value_name = "BYTES")]
    #[arg(default_value = "134217728", value_parser = integer(1_usize << 20, 1 << 40))]
    http_buffer_bytes: usize,

    /// Request bodies and answers of one user under way (bytes)
    #[arg(long, env = "HTTP_BUFFER_BYTES_PER_USER", value_name = "BYTES")]
    #[arg(default_value = "8388608", value_parser = integer(1_usize << 20, 1 << 40))]
    http_buffer_bytes_per_user: usize,
}

/// How many files a process needs for everything but clients.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileNeeds {
    /// `WORKERS`.
    pub(super) workers: usize,
    /// `DATABASE_POOL_SIZE`.
    pub(super) pool_size: usize,
}

/// The limits of each kind of connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConnectionShares {
    pub(super) connections: usize,
    pub(super) http: usize,
}

// === impl HttpArgs ===

impl HttpArgs {
    pub(super) fn resolve(self, max_connections: usize) -> HttpConfig {
        HttpConfig {
            max_connections,
            max_connections_per_user: self.max_http_connections_per_user,
            max_unauthenticated_per_address: self.max_unauthenticated_per_address,
            address_limit_exempt: self.address_limit_exempt,
            buffer_bytes: self.http_buffer_bytes,
            buffer_bytes_per_user: self.http_buffer_bytes_per_user,
        }
    }
}

// === impl FileNeeds ===

impl FileNeeds {
    fn reserved(self) -> usize {
        let workers = self.workers.saturating_mul(FILES_PER_WORKER);
        let database = self.pool_size.saturating_mul(FILES_PER_DATABASE_CONNECTION);
        RESERVED_FILES.saturating_add(workers).saturating_add(database)
    }

    /// Divides the files of a limit, as far as the settings do not.
    pub(super) fn share(
        self,
        limit: usize,
        connections: Option<usize>,
        http: Option<usize>,
    ) -> ConnectionShares {
        let files = limit.saturating_sub(self.reserved());
        let http = http.unwrap_or_else(|| {
            let wanted = match connections {
                // Clients that poll need two connections.
                Some(most) => most.saturating_mul(2).max(1024).min(files.saturating_sub(most)),
                None => files / 4,
            };
            wanted.clamp(MIN_HTTP, MAX_HTTP)
        });
        let left = files.saturating_sub(http).clamp(1, DEFAULT_MAX_CONNECTIONS);
        ConnectionShares { connections: connections.unwrap_or(left), http }
    }

    /// Checks that a file limit is enough for these connections.
    pub(super) fn check(self, shares: ConnectionShares, limit: usize) -> Result<(), ConfigError> {
        let ConnectionShares { connections, http } = shares;
        let needed = connections.saturating_add(http).saturating_add(self.reserved());
        if needed <= limit {
            return Ok(());
        }
        let problem = format!(
            "{connections}, MAX_HTTP_CONNECTIONS of {http} and {} files of the hub's own need a file \
             limit of {needed}, and it is {limit}: raise it (ulimit -n, LimitNOFILE, nofile), or set \
             MAX_CONNECTIONS and MAX_HTTP_CONNECTIONS lower",
            self.reserved()
        );
        Err(ConfigError::new("MAX_CONNECTIONS", problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: FileNeeds = FileNeeds { workers: 2, pool_size: 4 };

    #[test]
    fn a_dashboard_behind_a_proxy_may_fetch_two_hundred_orders_at_once() {
        let flags = ["--jwt-secret", "secret-for-tests-only-0123456789abcdef"];
        let config = crate::config::Config::from_flags(flags).expect("settings");
        assert!(config.http.max_connections_per_user > 200);
    }

    #[test]
    fn the_files_of_a_process_are_shared_out() {
        let share = |limit, connections, http| {
            let ConnectionShares { connections, http } = NEEDS.share(limit, connections, http);
            (connections, http)
        };
        assert_eq!(share(1016, None, None), (600, 200));
        assert_eq!(share(1_048_576, None, None), (982_824, 65_536));
        assert_eq!(share(usize::MAX, None, None), (1_000_000, 65_536));
        assert_eq!(share(100_216, Some(2), None), (2, 1024));
        assert_eq!(share(100_216, Some(40_000), None), (40_000, 60_000));
        assert_eq!(share(100_216, Some(99_000), None), (99_000, 1000));
        assert_eq!(share(1216, None, Some(100)), (900, 100));
        assert_eq!(share(1216, Some(5), Some(7)), (5, 7));
    }

    #[test]
    fn an_impossible_limit_is_refused_with_a_remedy() {
        for limit in [1016, 5000, 1_048_576] {
            NEEDS.check(NEEDS.share(limit, None, None), limit).expect("what is shared out fits");
        }
        let error = NEEDS.check(NEEDS.share(1024, Some(10_000), None), 1024);
        let error = error.expect_err("it does not fit").to_string();
        assert!(error.starts_with("MAX_CONNECTIONS: 10000, "), "{error}");
        assert!(error.contains("10248") && error.contains("it is 1024"), "{error}");
    }
}
