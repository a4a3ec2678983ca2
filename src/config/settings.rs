//! Reads a [`Config`] from the command line and the environment.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::auth::AuthArgs;
use super::cluster::ClusterArgs;
use super::database::DatabaseArgs;
use super::hooks::HookArgs;
use super::http::{FileNeeds, HttpArgs};
use super::secret::redacted_url;
use super::server::ServerArgs;
use super::{
    Config, ConfigError, DrainConfig, LimitsConfig, LogConfig, RoomConfig, ServerConfig,
    WebhookConfig, check,
};

/// Settings whose values errors must not repeat.
const SECRETS: &[&str] =
    &["JWT_SECRET", "JWT_SECRET_PREVIOUS", "DATABASE_URL", "REDIS_URL", "HOOK_SECRET"];

/// All settings, as arguments of a command line.
#[derive(Args)]
pub struct Settings {
    #[command(flatten, next_help_heading = "Server")]
    server: ServerArgs,
    #[command(flatten, next_help_heading = "HTTP connections")]
    http: HttpArgs,
    #[command(flatten, next_help_heading = "Database")]
    database: DatabaseArgs,
    #[command(flatten, next_help_heading = "Several nodes")]
    cluster: ClusterArgs,
    #[command(flatten, next_help_heading = "Tokens")]
    auth: AuthArgs,
    #[command(flatten, next_help_heading = "Limits")]
    limits: LimitsConfig,
    #[command(flatten, next_help_heading = "Rooms")]
    rooms: RoomConfig,
    #[command(flatten, next_help_heading = "Webhooks")]
    webhooks: WebhookConfig,
    #[command(flatten, next_help_heading = "Questions to the back end")]
    hooks: HookArgs,
    #[command(flatten, next_help_heading = "Going down")]
    drain: DrainConfig,
    #[command(flatten, next_help_heading = "Logs")]
    log: LogConfig,
}

impl Config {
    /// Reads the settings from a command line that was parsed with [`Settings`] in it. Reads the
    /// files that they name and creates nothing.
    ///
    /// # Errors
    /// The first invalid setting.
    pub fn from_matches(matches: &ArgMatches) -> Result<Self, ConfigError> {
        let settings = Settings::from_arg_matches(matches)
            .map_err(|error| ConfigError::new("settings", error.kind().to_string()))?;
        let needs = FileNeeds {
            workers: settings.server.workers(),
            pool_size: settings.database.pool_size(),
        };
        let (limit, http) = (ServerConfig::file_limit(), settings.http.max_http_connections);
        let shares = needs.share(limit, settings.server.max_connections, http);
        let http = settings.http.resolve(shares.http);
        let server = settings.server.resolve(shares.connections);
        let database = settings.database.resolve(&server.data_dir, matches)?;
        let cluster = settings.cluster.resolve(matches)?;
        let auth = settings.auth.resolve(&server, matches)?;
        let hooks = settings.hooks.resolve(matches)?;
        let (limits, rooms) = (settings.limits, settings.rooms);
        let (webhooks, drain, log) = (settings.webhooks, settings.drain, settings.log);
        let config = Self {
            server,
            http,
            database,
            cluster,
            auth,
            limits,
            rooms,
            webhooks,
            hooks,
            drain,
            log,
        };
        check::check_consistency(&config)?;
        Ok(config)
    }

    /// Reads the settings from flags alone, without the environment: for tests and for programs
    /// that run a hub inside themselves.
    ///
    /// # Errors
    /// The first invalid setting, or an unknown flag.
    pub fn from_flags<I>(flags: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let command = Settings::augment_args(Command::new("settings").no_binary_name(true));
        let described = command.clone();
        let command = command.mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
        let matches =
            command.try_get_matches_from(flags.into_iter().map(Into::into)).map_err(|error| {
                explain(&error, &described).unwrap_or_else(|| {
                    let text = error.to_string();
                    ConfigError::new("flags", text.lines().next().unwrap_or_default())
                })
            })?;
        Self::from_matches(&matches)
    }
}

/// The error of the parser in terms of a setting; none if it is about something else.
///
/// The parser itself would name only the flag, although most deployments set the variable, and
/// would repeat secrets.
pub fn explain(error: &clap::Error, command: &Command) -> Option<ConfigError> {
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return None;
    }
    let shown = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    // clap names it as in the help: `--workers <N>`.
    let flag = shown(ContextKind::InvalidArg)?.split_whitespace().next()?.strip_prefix("--")?;
    let arg = command.get_arguments().find(|arg| arg.get_long() == Some(flag))?;
    let variable = arg.get_env()?.to_str()?;
    let allowed =
        std::error::Error::source(error).map_or_else(|| "a value".to_owned(), ToString::to_string);
    let problem = match shown(ContextKind::InvalidValue) {
        Some(value) if !SECRETS.contains(&variable) => {
            format!("{:?} is refused, it must be {allowed}", redacted_url(value))
        }
        _ => format!("it must be {allowed}"),
    };
    Some(ConfigError::new(variable, problem))
}
