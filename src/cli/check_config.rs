//! `orderhub check-config`: prints all settings, or the first invalid one. Connects to nothing and
//! creates nothing.

use std::fmt::Write as _;

use clap::ArgMatches;

use super::{CliError, logging, output};
use crate::actors::hooks::Hooks;
use crate::actors::webhooks::WebhookFile;
use crate::auth::Verifier;
use crate::config::{Config, Secret, Setting};

pub(super) fn run(mut config: Config, matches: &ArgMatches) -> Result<(), CliError> {
    config.read_secret()?;
    let mut auth = config.auth.clone();
    if auth.development_secret.is_some() && auth.secret.is_none() {
        // A secret that is not made yet cannot be invalid, and the other keys must be checked.
        auth.secret = Some(Secret::new(""));
    }
    Verifier::new(&auth)?;
    WebhookFile::open(&config.webhooks)?;
    Hooks::check(&config.hooks)?;
    output(&table(&config.describe(matches)))?;
    for warning in config.warnings() {
        // On stderr, because warnings are not part of the table.
        logging::print_stderr(&format!("orderhub: warning: {warning}\n"));
    }
    Ok(())
}

fn table(settings: &[Setting]) -> String {
    let width = |column: fn(&Setting) -> &str, title: &str| {
        let widths = settings.iter().map(|setting| column(setting).chars().count());
        widths.chain([title.len()]).max().unwrap_or_default()
    };
    let name = width(|setting| &setting.variable, "SETTING");
    let value = width(|setting| &setting.value, "VALUE");
    let mut lines = format!("{:name$}  {:value$}  SOURCE\n", "SETTING", "VALUE");
    for setting in settings {
        let Setting { variable, value: shown, source } = setting;
        let _ = writeln!(lines, "{variable:name$}  {shown:value$}  {source}");
    }
    lines
}
