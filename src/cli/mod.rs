//! The command line: the commands of `orderhub`, and how they report failures.
//!
//! Every setting is an argument of every command, so that `serve`, `token` and `check-config` use
//! the same configuration. Results go to stdout; everything else goes to stderr.

mod api_key;
mod banner;
mod check_config;
mod healthcheck;
mod help;
mod load;
mod logging;
mod migrate;
mod serve;
mod shell;
mod token;
mod webhook;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{self, Config, ConfigError, Settings};

pub use banner::banner;

/// A realtime hub for delivery apps: one room per order, live driver locations, stored chat.
#[derive(Parser)]
#[command(name = "orderhub", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum Command {
    /// Run the hub (what happens without a command)
    Serve,
    /// Make a token that the hub accepts, or many, and print it
    #[command(override_usage = token::USAGE)]
    Token(token::TokenArgs),
    /// Make an API key for a service: the key on stdout, its entry for the file on stderr
    ApiKey(api_key::ApiKeyArgs),
    /// Put a running hub under load, and check what it promises
    Load(Box<load::LoadArgs>),
    /// Bring the database to this version
    Migrate(migrate::MigrateArgs),
    /// Print all settings and where they came from, or the first that cannot work
    CheckConfig,
    /// Ask the hub on this machine whether it is ready
    Healthcheck,
    /// Send a webhook to an endpoint, and print its answer
    Webhook(webhook::WebhookArgs),
    /// Print the script with which a shell completes this program's commands and flags
    Completions(shell::CompletionsArgs),
    /// Print the manual page, for man
    Man,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CliError {
    /// A setting is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Any other failure, as a sentence.
    #[error("{0}")]
    Failed(String),
    /// The same, with an exit status of the command's own.
    #[error("{1}")]
    Status(u8, String),
}

/// Runs the program with these arguments, its own name first.
///
/// The exit status is 0, 1 if the command failed, or 2 if the command is unknown; `load` has more
/// values.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let _flush = logging::FlushAtEnd;
    let command = command();
    let args: Vec<OsString> = args.into_iter().collect();
    let matches = match command.clone().try_get_matches_from(&args) {
        Ok(matches) => matches,
        Err(error) => return refuse(&error, &command, &args),
    };
    let result = unreadable(&command).map_or_else(|| dispatch(&matches), |error| Err(error.into()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::print_stderr(&format!("orderhub: {error}\n"));
            if let CliError::Status(status, _) = error {
                return ExitCode::from(status);
            }
            ExitCode::FAILURE
        }
    }
}

/// The command line; every setting is allowed before and after the command.
fn command() -> clap::Command {
    let mut command =
        Cli::command().mut_args(|arg| if arg.get_env().is_some() { arg.global(true) } else { arg });
    // Only a built command has the settings in its subcommands.
    command.build();
    help::with_own_settings(command)
}

/// Prints the result of a command. If the reader has gone away, `print!` would panic; this does
/// not.
fn output(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| CliError::Failed(format!("cannot write the result: {error}")))
}

fn dispatch(matches: &ArgMatches) -> Result<(), CliError> {
    let cli =
        Cli::from_arg_matches(matches).map_err(|error| CliError::Failed(error.to_string()))?;
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(Config::from_matches(matches)?),
        Command::Load(args) => load::run(*args, matches),
        Command::Token(args) => token::run(Config::from_matches(matches)?, args),
        Command::ApiKey(args) => api_key::run(&args),
        Command::Migrate(args) => migrate::run(Config::from_matches(matches)?, &args),
        Command::CheckConfig => check_config::run(Config::from_matches(matches)?, matches),
        Command::Healthcheck => healthcheck::run(matches),
        Command::Webhook(args) => webhook::run(&Config::from_matches(matches)?, &args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man => shell::man(),
    }
}

/// Finds a variable whose value is not valid text. The parser would not name it.
fn unreadable(command: &clap::Command) -> Option<ConfigError> {
    let variables = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str());
    let set = variables.filter_map(|variable| Some((variable, std::env::var_os(variable)?)));
    set.filter(|(_, value)| value.to_str().is_none())
        .map(|(variable, _)| ConfigError::new(variable, "it must be text in UTF-8"))
        .next()
}

/// Answers an invalid command line, or a request for help.
fn refuse(error: &clap::Error, command: &clap::Command, args: &[OsString]) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return if error.print().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let mut words = args.iter().skip(1).filter_map(|arg| arg.to_str());
    let asked = words.find(|word| command.find_subcommand(word).is_some());
    if let Some(problem) = unreadable(command).or_else(|| config::explain(error, command)) {
        logging::print_stderr(&format!("orderhub: {problem}\n"));
        // For `load`, status 1 would mean that a promise is broken.
        return if asked == Some("load") { ExitCode::from(2) } else { ExitCode::FAILURE };
    }
    let text = error.to_string();
    let first: Vec<&str> =
        text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let first = first.join(" ");
    let problem = first.strip_prefix("error: ").unwrap_or(&first);
    // A misplaced word may be an address with a password.
    let words: Vec<String> = problem.split(' ').map(config::redacted_url).collect();
    let problem = words.join(" ");
    let asked = asked.map(|asked| format!(" {asked}")).unwrap_or_default();
    logging::print_stderr(&format!("orderhub: {problem} (see orderhub{asked} --help)\n"));
    ExitCode::from(2)
}
