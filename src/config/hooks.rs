//! Settings of the questions that the hub asks a back end.

use std::path::PathBuf;

use clap::{ArgMatches, Args};

use super::secret::{self, Secret};
use super::{ConfigError, parse};

/// Which questions are asked, and where.
#[derive(Debug, Clone, Default)]
pub struct HookConfig {
    /// `JOIN_HOOK_URL`: asked before a join that nothing else allows, default none: it is refused.
    pub join: Option<String>,
    /// `CHAT_HOOK_URL`: asked before a message of a user is stored, default none.
    pub chat: Option<String>,
    /// `HOOK_SECRET` or `HOOK_SECRET_FILE`: signs the questions; several with commas, newest first.
    pub secret: Option<Secret>,
    /// `CHAT_HOOK_FAIL`: whether a message is stored about which there is no answer; `closed` by
    /// default: it is not.
    pub chat_fails_open: bool,
}

/// The settings as they are given.
#[derive(Args)]
pub(super) struct HookArgs {
    /// Asked before a join that nothing else allows [default: it is refused]
    #[arg(long, env = "JOIN_HOOK_URL", value_name = "URL", hide_env_values = true)]
    #[arg(value_parser = parse::text)]
    join_hook_url: Option<String>,

    /// Asked before a message of a user is stored [default: it is stored]
    #[arg(long, env = "CHAT_HOOK_URL", value_name = "URL", hide_env_values = true)]
    #[arg(value_parser = parse::text)]
    chat_hook_url: Option<String>,

    /// Signs the questions, whsec_…; several with commas, newest first
    #[arg(long, env = "HOOK_SECRET", value_name = "SECRET", hide_env_values = true)]
    #[arg(value_parser = parse::text)]
    hook_secret: Option<String>,

    /// A file that holds the secret
    #[arg(long, env = "HOOK_SECRET_FILE", value_name = "FILE", value_parser = parse::path)]
    hook_secret_file: Option<PathBuf>,

    /// Without an answer a message is refused (closed) or stored (open)
    #[arg(long, env = "CHAT_HOOK_FAIL", value_name = "HOW", default_value = "closed")]
    #[arg(value_parser = is_open)]
    chat_hook_fail: bool,
}

fn is_open(text: &str) -> Result<bool, String> {
    match text {
        "open" => Ok(true),
        "closed" => Ok(false),
        _ => Err("closed or open".to_owned()),
    }
}

impl HookArgs {
    pub(super) fn resolve(self, matches: &ArgMatches) -> Result<HookConfig, ConfigError> {
        let (value, file) = (self.hook_secret, self.hook_secret_file);
        let secret = secret::value_or_file(matches, "HOOK_SECRET", value, file)?;
        Ok(HookConfig {
            join: self.join_hook_url,
            chat: self.chat_hook_url,
            secret: secret.map(|(_, text)| Secret::new(text)),
            chat_fails_open: self.chat_hook_fail,
        })
    }
}
