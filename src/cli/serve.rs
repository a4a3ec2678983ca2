//! `orderhub serve`: runs the hub.

use std::thread;

use super::{CliError, banner, logging, output};
use crate::actors::hooks::Hooks;
use crate::actors::webhooks::WebhookFile;
use crate::auth::Verifier;
use crate::config::{Config, LogFormat};
use crate::server;

pub(super) fn run(mut config: Config) -> Result<(), CliError> {
    logging::start(&config.log)?;
    // Every client is a file. The limit is raised before anything computes a share of it.
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => config.check_files(usize::try_from(limit).unwrap_or(usize::MAX))?,
        Err(error) => log::warn!("cannot raise the file limit: {error}"),
    }
    config.prepare()?;
    for warning in config.warnings() {
        log::warn!("{warning}");
    }
    run_server(config)
}

/// Runs the server until it has drained.
fn run_server(config: Config) -> Result<(), CliError> {
    // An invalid key, or endpoint, is reported like any other invalid setting.
    let verifier = Verifier::new(&config.auth)?.keeping_claims(config.hooks.join.is_some());
    let webhooks = WebhookFile::open(&config.webhooks)?;
    Hooks::check(&config.hooks)?;
    let listening = |address, config: &Config| {
        print_banner(for_stdout(banner(address, config), config.log.format));
    };
    server::run(config, verifier, webhooks, listening)
        .map_err(|error| CliError::Failed(error.to_string()))
}

/// The part of the banner that goes to stdout. With JSON logs, programs read the output, often
/// together with stdout. So stdout gets only the line that scripts wait for, and the log gets the
/// rest as a record.
fn for_stdout(banner: String, format: LogFormat) -> String {
    match (format, banner.split_once('\n')) {
        (LogFormat::Json, Some((first, rest))) => {
            log::info!("{}", rest.trim());
            format!("{first}\n")
        }
        _ => banner,
    }
}

/// Prints the banner on a thread of its own, so that a full or closed stdout does not stop the hub.
fn print_banner(text: String) {
    let print = move || {
        if let Err(error) = output(&text) {
            log::warn!("{error}");
        }
    };
    if let Err(error) = thread::Builder::new().name("banner".to_owned()).spawn(print) {
        log::warn!("cannot print where the hub listens: {error}");
    }
}
