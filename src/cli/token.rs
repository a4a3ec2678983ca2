//! `orderhub token`: makes tokens with the settings by which `serve` verifies them.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{CliError, output};
use crate::auth::{NewToken, mint};
use crate::config::Config;
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;

/// The longest life of a token; leap days do not matter here.
const MAX_TTL: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Replaced by the number of each of several tokens.
const NUMBER_PLACEHOLDER: &str = "{n}";
/// The help of the arguments cannot contain [`NUMBER_PLACEHOLDER`]: clap turns it into a line
/// break.
pub(super) const USAGE: &str = "\
orderhub token [OPTIONS] --user <USER>
       orderhub token [OPTIONS] --count 3 --user 'user-{n}' --order 'order-{n}'";

#[derive(Args)]
pub(super) struct TokenArgs {
    /// Whose token it is; with --count a number from 1 is put in as the usage shows
    #[arg(long, value_parser = pattern)]
    user: String,
    /// The name that others see
    #[arg(long)]
    name: Option<String>,
    /// customer, driver, support, admin or service
    #[arg(long, default_value = "customer", value_parser = role)]
    role: Role,
    /// An order that the user may join, with a number like --user; can be given several times
    #[arg(long = "order", value_name = "ORDER", value_parser = pattern)]
    orders: Vec<String>,
    /// How long it counts, like 90s, 1h or 30d
    #[arg(long, default_value = "1h", value_parser = ttl)]
    ttl: Duration,
    /// How many tokens, each for a user of its own
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// The token alone, or an object a line with the user, role and orders beside it
    #[arg(long, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Ndjson,
}

/// A token with what is in it, as `orderhub load --tokens` reads it.
#[derive(Serialize)]
struct TokenLine {
    user: UserId,
    role: Role,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    orders: Vec<OrderId>,
    token: String,
}

fn role(text: &str) -> Result<Role, String> {
    Role::from_name(text).ok_or_else(|| format!("it must be one of {}", Role::NAMES.join(", ")))
}

/// Checks an id that may contain the placeholder.
fn pattern(text: &str) -> Result<String, String> {
    let numbered = text.replace(NUMBER_PLACEHOLDER, "1");
    UserId::new(&numbered).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn ttl(text: &str) -> Result<Duration, String> {
    let read = humantime::parse_duration(text).ok();
    let read = read.filter(|ttl| (Duration::from_secs(1)..=MAX_TTL).contains(ttl));
    read.ok_or_else(|| "it must be from 1s to ten years, like 90s, 1h or 30d".to_owned())
}

pub(super) fn run(mut config: Config, args: TokenArgs) -> Result<(), CliError> {
    if args.count > 1 && !args.user.contains(NUMBER_PLACEHOLDER) {
        let text = format!(
            "--user: with --count it needs {NUMBER_PLACEHOLDER}, like driver-{NUMBER_PLACEHOLDER}"
        );
        return Err(CliError::Failed(text));
    }
    read_secret(&mut config)?;
    let now = Timestamp::now();
    let mut lines = String::new();
    for number in 1..=args.count {
        let grant = grant(&args, number)?;
        let token = mint(&config.auth, &grant, now)?;
        let NewToken { user, role, orders, .. } = grant;
        lines += &match args.format {
            Format::Text => token,
            Format::Ndjson => serde_json::to_string(&TokenLine { user, role, orders, token })
                .map_err(|error| CliError::Failed(error.to_string()))?,
        };
        lines.push('\n');
    }
    output(&lines)
}

/// Reads the secret that the hub has made, if no key was given. A secret made here would be unknown
/// to every running hub.
fn read_secret(config: &mut Config) -> Result<(), CliError> {
    config.read_secret()?;
    match &config.auth.development_secret {
        Some(path) if config.auth.secret.is_none() => Err(CliError::Failed(format!(
            "there is no secret to make tokens with, {} does not exist: give the --data-dir of a \
             hub that has been started, or JWT_SECRET",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// The content of the token with this number.
fn grant(args: &TokenArgs, number: u32) -> Result<NewToken, CliError> {
    let numbered = |text: &String| text.replace(NUMBER_PLACEHOLDER, &number.to_string());
    let bad =
        |error: protocol::ids::InvalidId| CliError::Failed(format!("--user, --order: {error}"));
    let user = UserId::new(&numbered(&args.user)).map_err(bad)?;
    let orders = args.orders.iter().map(|order| OrderId::new(&numbered(order)));
    let orders = orders.collect::<Result<_, _>>().map_err(bad)?;
    Ok(NewToken { user, name: args.name.clone(), role: args.role, orders, ttl: args.ttl })
}
