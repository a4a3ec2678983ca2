//! `orderhub serve`: runs the hub.

use super::{CliError, logging};
use crate::config::Config;

pub(super) fn run(mut config: Config) -> Result<(), CliError> {
    logging::start(&config.log);
    // Every client is a file. Raised before anything counts what is left.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        log::warn!("the file limit stays as it is: {error}");
    }
    config.prepare()?;
    for warning in config.warnings() {
        log::warn!("{warning}");
    }
    run_server(config)
}

/// Hands over to the server, which returns when it has drained. It prints
/// [`super::banner`] once it listens and the port is known.
fn run_server(config: Config) -> Result<(), CliError> {
    // The keys are read here already, so that a bad one is told like any other bad setting.
    let _verifier = crate::auth::Verifier::new(&config.auth)?;
    Err(CliError::Failed("serve is not wired yet".to_owned()))
}
