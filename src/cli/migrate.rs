//! `orderhub migrate`: migrates the database to this version, or shows the state of its migrations.

use clap::Args;

use super::{CliError, logging, output};
use crate::config::Config;
use crate::db::migrate;

#[derive(Args)]
pub(super) struct MigrateArgs {
    /// Only say which migrations are applied and which are not
    #[arg(long)]
    status: bool,
}

pub(super) fn run(config: Config, args: &MigrateArgs) -> Result<(), CliError> {
    logging::start(&config.log)?;
    if !args.status {
        config.prepare_data_dir()?;
    }
    run_migrations(&config, args.status)
}

/// Runs the migrations or shows their state.
fn run_migrations(config: &Config, status_only: bool) -> Result<(), CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::Failed(format!("DATABASE_URL: {error}"));
    let url = &config.database.url;
    if !status_only {
        migrate::bring_up_to_date(url).map_err(|error| failed(&error))?;
    }
    for (name, state) in migrate::status_of(url).map_err(|error| failed(&error))? {
        output(&format!("{name}  {state}\n"))?;
    }
    Ok(())
}
