//! Settings: one struct per concern, read from flags and the environment.
//!
//! A flag wins over its environment variable, that over the default. A value that cannot be read
//! is an error and never a silent default; this includes a variable that is set but empty, which
//! mostly is a deployment that failed to fill in a secret. Reading the settings reads files and
//! creates nothing; what the hub makes for itself is made by [`Config::prepare`].

mod auth;
mod check;
mod database;
mod database_url;
mod describe;
mod drain;
mod error;
mod http;
mod limits;
mod log;
mod network;
mod origins;
mod parse;
mod postgres_url;
mod prepare;
mod role_map;
mod room;
mod secret;
mod server;
mod settings;

pub use auth::{AuthConfig, JwksSource, PublicKeyPem};
pub use database::DatabaseConfig;
pub use database_url::{DatabaseUrl, InvalidDatabaseUrl};
pub use describe::{Setting, ValueOrigin};
pub use drain::DrainConfig;
pub use error::ConfigError;
pub use http::HttpConfig;
pub use limits::LimitsConfig;
pub use log::{LogConfig, LogFormat};
pub use network::{AddressGroup, IpNet, Networks};
pub use origins::{Origins, without_default_port};
pub use postgres_url::InvalidPostgresUrl;
pub use role_map::RoleMap;
pub use room::{JoinPolicy, RoomConfig};
pub use secret::{Secret, redacted_url};
pub use server::ServerConfig;
pub use settings::{Settings, explain};

/// Everything that can be set, checked and filled in.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses, threads and who may connect from where.
    pub server: ServerConfig,
    /// What HTTP connections may cost.
    pub http: HttpConfig,
    /// Where orders and chat are stored.
    pub database: DatabaseConfig,
    /// Which tokens count.
    pub auth: AuthConfig,
    /// What one connection may cost.
    pub limits: LimitsConfig,
    /// Rules of the rooms.
    pub rooms: RoomConfig,
    /// How the hub goes down.
    pub drain: DrainConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

#[cfg(test)]
mod tests;
