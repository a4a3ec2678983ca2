//! `orderhub api-key`: makes an API key for a service. It reads no settings and writes no file: the
//! operator adds the entry to the file of keys.
#![expect(clippy::print_stderr, reason = "the entry must not end up where the key goes")]

use clap::Args;

use super::{CliError, output};
use crate::auth::{Scope, check_name, new_key};

#[derive(Args)]
pub(super) struct ApiKeyArgs {
    /// The name of the key's holder in the log
    #[arg(value_parser = name)]
    name: String,
    /// What it may do; can be given several times [default: everything under /api]
    #[arg(long = "scope", value_name = "SCOPE", value_parser = scope)]
    scopes: Vec<Scope>,
}

fn name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned()).map_err(|allowed| format!("it must be {allowed}"))
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::from_name(text).ok_or_else(|| format!("it must be one of {}", Scope::names()))
}

pub(super) fn run(args: &ApiKeyArgs) -> Result<(), CliError> {
    // The default is what the role `service` of a token may do, so that a key can replace such a
    // token.
    let chosen = |scope: &Scope| match args.scopes.as_slice() {
        [] => scope.is_api(),
        scopes => scopes.contains(scope),
    };
    let scopes: Vec<Scope> = Scope::ALL.iter().copied().filter(chosen).collect();
    let made = new_key(&args.name, &scopes)
        .map_err(|error| CliError::Failed(format!("the system gives no random bytes: {error}")))?;
    eprint!("{}", made.entry);
    output(&(made.key + "\n"))
}
