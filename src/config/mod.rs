//! Settings: one struct per concern, read from flags and the environment.
//!
//! A flag takes precedence over its environment variable, and that over the default. An unreadable
//! value is an error and never a silent default. This includes a variable that is set but empty,
//! which usually comes from a deployment that failed to fill in a secret. Reading the settings
//! reads files and creates nothing; [`Config::prepare`] creates what the hub makes for itself.

mod auth;
mod check;
mod cluster;
mod database;
mod database_url;
mod describe;
mod drain;
mod error;
mod hooks;
mod http;
mod limits;
mod log;
mod network;
mod origins;
mod parse;
mod postgres_url;
mod prepare;
mod redis_url;
mod role_map;
mod room;
mod secret;
mod server;
mod settings;
mod webhooks;

pub use auth::{AuthConfig, JwksSource, PublicKeyPem};
pub use cluster::ClusterConfig;
pub use database::DatabaseConfig;
pub use database_url::{DatabaseUrl, InvalidDatabaseUrl};
pub use describe::{Setting, ValueOrigin};
pub use drain::DrainConfig;
pub use error::ConfigError;
pub use hooks::HookConfig;
pub use http::HttpConfig;
pub use limits::LimitsConfig;
pub use log::{LogConfig, LogFormat};
pub use network::{AddressGroup, Networks};
pub use origins::{Origins, without_default_port};
pub use postgres_url::InvalidPostgresUrl;
pub use redis_url::{Address, InvalidRedisUrl, Login, RedisUrl, SentinelUrl};
pub use role_map::RoleMap;
pub use room::{JoinPolicy, RoomConfig};
pub use secret::{Secret, redacted_url};
pub use server::ServerConfig;
pub use settings::{Settings, explain};
pub use webhooks::WebhookConfig;

/// All settings, checked and completed.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses, threads and allowed origins.
    pub server: ServerConfig,
    /// Limits of HTTP connections.
    pub http: HttpConfig,
    /// Where orders and chat are stored.
    pub database: DatabaseConfig,
    /// How the nodes of a cluster find each other.
    pub cluster: ClusterConfig,
    /// Which tokens are valid.
    pub auth: AuthConfig,
    /// Limits of one user and one connection.
    pub limits: LimitsConfig,
    /// Rules of the rooms.
    pub rooms: RoomConfig,
    /// Who is told of what happens.
    pub webhooks: WebhookConfig,
    /// What the back end is asked.
    pub hooks: HookConfig,
    /// How the hub drains.
    pub drain: DrainConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

#[cfg(test)]
mod tests;
