//! How the nodes of a cluster find each other.

use std::path::PathBuf;

use clap::{ArgMatches, Args};

use super::redis_url::{InvalidRedisUrl, RedisUrl};
use super::{ConfigError, parse, secret};

/// How the nodes of a cluster find each other.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// `REDIS_URL` or `REDIS_URL_FILE`: the Redis that all nodes share, default none: this hub is
    /// the only one.
    pub redis_url: Option<RedisUrl>,
    /// `REDIS_PREFIX`: how the names of all channels and keys begin, default `orderhub`. All nodes
    /// of a cluster need the same.
    pub redis_prefix: String,
    /// `REDIS_CA`: a PEM file of authorities; one of them must have signed the certificate of the
    /// server. Default: the public authorities, which are built in.
    pub redis_ca: Option<PathBuf>,
    /// `NODE_NAME`: what this node is called in logs and by the admin API, default the name of the
    /// machine and a part of the boot id.
    pub node_name: Option<String>,
}

/// The settings as they are given.
#[derive(Args)]
pub(super) struct ClusterArgs {
    /// redis://…, rediss://… or redis+sentinel://…, shared by all nodes [default: one node]
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    #[arg(value_parser = parse::text)]
    redis_url: Option<String>,

    /// A file that holds the URL of Redis
    #[arg(long, env = "REDIS_URL_FILE", value_name = "FILE", value_parser = parse::path)]
    redis_url_file: Option<PathBuf>,

    /// How names in Redis begin, the same on all nodes
    #[arg(long, env = "REDIS_PREFIX", value_name = "WORD")]
    #[arg(default_value = "orderhub", value_parser = name)]
    redis_prefix: String,

    /// Authorities for rediss://, a PEM file [default: the public ones, built in]
    #[arg(long, env = "REDIS_CA", value_name = "FILE", value_parser = parse::path)]
    redis_ca: Option<PathBuf>,

    /// What this node is called [default: by its machine and boot id]
    #[arg(long, env = "NODE_NAME", value_name = "NAME", value_parser = name)]
    node_name: Option<String>,
}

/// A word that needs no escapes in a channel name, in a log line or in a path. Braces would change
/// the slot of a channel.
fn name(text: &str) -> Result<String, String> {
    let is_name = (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte));
    is_name.then(|| text.to_owned()).ok_or_else(|| "1 to 64 of A-Z a-z 0-9 . _ : -".to_owned())
}

impl ClusterArgs {
    pub(super) fn resolve(self, matches: &ArgMatches) -> Result<ClusterConfig, ConfigError> {
        let (value, file) = (self.redis_url, self.redis_url_file);
        let url = secret::value_or_file(matches, "REDIS_URL", value, file)?;
        let read = |(variable, url): (String, String)| {
            url.parse().map_err(|invalid: InvalidRedisUrl| {
                ConfigError::new(&variable, invalid.to_string())
            })
        };
        Ok(ClusterConfig {
            redis_url: url.map(read).transpose()?,
            redis_prefix: self.redis_prefix,
            redis_ca: self.redis_ca,
            node_name: self.node_name,
        })
    }
}
