//! All settings with their values and where these came from, for `check-config`.

use std::fmt;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command};

use super::secret::redacted_url;
use super::{Config, Settings};

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueOrigin {
    /// The setting was not set.
    Default,
    /// An environment variable.
    Environment,
    /// The command line.
    Flag,
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Default => "default",
            Self::Environment => "environment",
            Self::Flag => "flag",
        })
    }
}

/// A setting in displayable form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The environment variable.
    pub variable: String,
    /// The value, without secrets; `-` if there is none.
    pub value: String,
    /// Where the value came from.
    pub source: ValueOrigin,
}

impl Config {
    /// All settings in the order of their documentation. `matches` is what this configuration was
    /// read from.
    pub fn describe(&self, matches: &ArgMatches) -> Vec<Setting> {
        let command = Settings::augment_args(Command::new("settings"));
        command.get_arguments().filter_map(|arg| self.setting(arg, matches)).collect()
    }

    fn setting(&self, arg: &Arg, matches: &ArgMatches) -> Option<Setting> {
        let variable = arg.get_env()?.to_str()?.to_owned();
        let id = arg.get_id().as_str();
        let raw = matches.get_raw(id).and_then(|mut values| values.next());
        let value = self.computed(id).or_else(|| Some(raw?.to_string_lossy().into_owned()));
        let source = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => ValueOrigin::Flag,
            Some(ValueSource::EnvVariable) => ValueOrigin::Environment,
            _ => ValueOrigin::Default,
        };
        Some(Setting { variable, value: value.unwrap_or_else(|| "-".to_owned()), source })
    }

    /// Values that are not shown as they were given: secrets, and computed defaults.
    fn computed(&self, id: &str) -> Option<String> {
        match id {
            "workers" => Some(self.server.workers.to_string()),
            "max_connections" => Some(self.server.max_connections.to_string()),
            "max_http_connections" => Some(self.http.max_connections.to_string()),
            "allow_query_token" => Some(self.server.allow_query_token.to_string()),
            "demo" => Some(self.server.demo.to_string()),
            "database_url" => Some(self.database.url.to_string()),
            "redis_url" => self.cluster.redis_url.as_ref().map(ToString::to_string),
            "jwt_jwks" => self.auth.jwks.as_ref().map(ToString::to_string),
            "jwt_secret" => Some(match (&self.auth.development_secret, &self.auth.secret) {
                (Some(path), _) => format!("generated, in {}", path.display()),
                (None, Some(_)) => "***".to_owned(),
                (None, None) => "-".to_owned(),
            }),
            "jwt_secret_previous" => self.auth.previous_secret.as_ref().map(|_| "***".to_owned()),
            "hook_secret" => self.hooks.secret.as_ref().map(|_| "***".to_owned()),
            "join_hook_url" => self.hooks.join.as_deref().map(redacted_url),
            "chat_hook_url" => self.hooks.chat.as_deref().map(redacted_url),
            "chat_hook_fail" => {
                Some(if self.hooks.chat_fails_open { "open" } else { "closed" }.to_owned())
            }
            _ => None,
        }
    }
}
