//! `orderhub migrate`: brings the database to this version, or says how far it is.

use clap::Args;

use super::{CliError, logging};
use crate::config::Config;

#[derive(Args)]
pub(super) struct MigrateArgs {
    /// Only say which migrations are applied and which are not
    #[arg(long)]
    status: bool,
}

pub(super) fn run(config: Config, args: &MigrateArgs) -> Result<(), CliError> {
    logging::start(&config.log);
    config.prepare_data_dir()?;
    run_migrations(&config, args.status)
}

/// Hands over to the database.
fn run_migrations(_config: &Config, _status_only: bool) -> Result<(), CliError> {
    Err(CliError::Failed("migrate is not wired yet".to_owned()))
}
