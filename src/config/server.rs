//! Addresses, threads and allowed origins.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::network::Networks;
use super::origins::{Origins, origins};
use super::parse;

/// The file limit if the system does not report one.
const USUAL_FILE_LIMIT: u64 = 1024;

/// Addresses, threads and allowed origins.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// `BIND_ADDR`: address to listen on, default `127.0.0.1:8080`; port 0 picks one.
    pub bind: SocketAddr,
    /// `ADMIN_BIND`: a second address for `/admin` and `/metrics`, default none. If it is set, they
    /// are not on the first address.
    pub admin_bind: Option<SocketAddr>,
    /// `WORKERS`: worker threads, default as many as cores. More threads only share the cores.
    pub workers: usize,
    /// `ALLOWED_ORIGINS`: pages that browsers may connect from, default all.
    pub allowed_origins: Origins,
    /// `TRUSTED_PROXIES`: proxies whose `X-Forwarded-For` is believed, default none. A client in
    /// these networks can claim any address.
    pub trusted_proxies: Networks,
    /// `MAX_CONNECTIONS`: default by the file limit, see [`super::HttpConfig`]. Beyond it an
    /// upgrade is answered with 503.
    pub max_connections: usize,
    /// `CONNECT_TIMEOUT_MS`: the time for the head of a request, and for the body of a call,
    /// milliseconds, default 10000. Short times refuse phones on slow networks.
    pub connect_timeout: Duration,
    /// `ALLOW_QUERY_TOKEN`: whether `?token=` is accepted, default only on loopback, because
    /// proxies log addresses.
    pub allow_query_token: bool,
    /// `DEMO`: whether `/demo` is served, see [`super::Config::serves_demo`]; default only where the
    /// hub can be reached from this machine alone and has no trusted proxies. `true` also lets a hub
    /// that others can reach make its own secret.
    pub demo: bool,
    /// `IO_URING`: whether one system call writes many sockets, if the system allows it (Linux 6.1
    /// and later), default true.
    pub io_uring: bool,
    /// `DATA_DIR`: the directory of the embedded database and the development secret, default
    /// `./data`.
    pub data_dir: PathBuf,
}

impl ServerConfig {
    /// Whether the hub can be reached only from this machine.
    pub fn is_local(&self) -> bool {
        is_local(self.bind, self.admin_bind)
    }

    /// The most files that this process may open.
    pub fn file_limit() -> usize {
        // The hard limit, because `serve` raises the soft one to it.
        let limit = rlimit::Resource::NOFILE.get_hard().unwrap_or(USUAL_FILE_LIMIT);
        usize::try_from(limit).unwrap_or(usize::MAX)
    }
}

fn is_local(bind: SocketAddr, admin_bind: Option<SocketAddr>) -> bool {
    bind.ip().is_loopback() && admin_bind.is_none_or(|address| address.ip().is_loopback())
}

/// The settings as they are given.
#[derive(Args)]
pub(super) struct ServerArgs {
    /// Address to listen on; port 0 picks one
    #[arg(long, env = "BIND_ADDR", value_name = "ADDR")]
    #[arg(default_value = "127.0.0.1:8080", value_parser = parse::address)]
    bind: SocketAddr,

    /// Where the embedded database and the development secret live
    #[arg(long, env = "DATA_DIR", value_name = "DIR")]
    #[arg(default_value = "./data", value_parser = parse::path)]
    data_dir: PathBuf,

    /// Worker threads [default: as many as cores]
    #[arg(long, env = "WORKERS", value_name = "N", value_parser = parse::integer(1_usize, 1024))]
    workers: Option<usize>,

    /// Write many sockets by one system call, where the system allows it
    #[arg(long = "io-uring", env = "IO_URING", value_name = "BOOL", default_value = "true")]
    #[arg(value_parser = parse::boolean, action = clap::ArgAction::Set)]
    io_uring: bool,

    /// A second address for /admin and /metrics; then they are not on the first
    #[arg(long, env = "ADMIN_BIND", value_name = "ADDR", value_parser = parse::address)]
    admin_bind: Option<SocketAddr>,

    /// Accept ?token= in the address [default: on loopback only]
    #[arg(long, env = "ALLOW_QUERY_TOKEN", value_name = "BOOL", value_parser = parse::boolean)]
    allow_query_token: Option<bool>,

    /// Serve /demo, if no key is set [default: on loopback only]
    #[arg(long, env = "DEMO", value_name = "BOOL", value_parser = parse::boolean)]
    demo: Option<bool>,

    /// Origins of web pages that may connect, with commas, or * for all
    #[arg(long, env = "ALLOWED_ORIGINS", value_name = "ORIGINS")]
    #[arg(default_value = "*", value_parser = origins)]
    allowed_origins: Origins,

    /// Addresses and networks whose X-Forwarded-For counts, with commas
    #[arg(long, env = "TRUSTED_PROXIES", value_name = "NETWORKS", value_parser = str::parse::<Networks>)]
    trusted_proxies: Option<Networks>,

    /// Open sessions; beyond: 503 [default: by the file limit]
    #[arg(long, env = "MAX_CONNECTIONS", value_name = "N")]
    #[arg(value_parser = parse::integer(1_usize, 10_000_000))]
    pub(super) max_connections: Option<usize>,

    /// For the head of a request (milliseconds)
    #[arg(long = "connect-timeout-ms", env = "CONNECT_TIMEOUT_MS", value_name = "MS")]
    #[arg(default_value = "10000", value_parser = parse::millis(100, 600_000))]
    connect_timeout: Duration,
}

impl ServerArgs {
    pub(super) fn workers(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.unwrap_or_else(cores)
    }

    pub(super) fn resolve(self, max_connections: usize) -> ServerConfig {
        ServerConfig {
            demo: self
                .demo
                .unwrap_or(is_local(self.bind, self.admin_bind) && self.trusted_proxies.is_none()),
            bind: self.bind,
            admin_bind: self.admin_bind,
            workers: self.workers(),
            allowed_origins: self.allowed_origins,
            trusted_proxies: self.trusted_proxies.unwrap_or_default(),
            max_connections,
            connect_timeout: self.connect_timeout,
            allow_query_token: self.allow_query_token.unwrap_or(self.bind.ip().is_loopback()),
            io_uring: self.io_uring,
            data_dir: self.data_dir,
        }
    }
}
