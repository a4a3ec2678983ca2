//! `orderhub token`: makes a token with the settings that `serve` would judge it by.

use std::time::Duration;

use clap::Args;

use super::{CliError, output};
use crate::auth::{Grant, mint};
use crate::config::Config;
use crate::ids::{OrderId, UserId};
use crate::protocol::role::Role;
use crate::time::Timestamp;

/// No token lives longer; leap days are no matter here.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

#[derive(Args)]
pub(super) struct TokenArgs {
    /// Whose token it is
    #[arg(long)]
    user: UserId,
    /// The name that others see
    #[arg(long)]
    name: Option<String>,
    /// customer, driver, support, admin or service
    #[arg(long, default_value = "customer", value_parser = role)]
    role: Role,
    /// An order that the user may join; can be given several times
    #[arg(long = "order", value_name = "ORDER")]
    orders: Vec<OrderId>,
    /// How long it counts, like 90s, 1h or 30d
    #[arg(long, default_value = "1h", value_parser = ttl)]
    ttl: Duration,
}

fn role(text: &str) -> Result<Role, String> {
    Role::from_name(text).ok_or_else(|| format!("it must be one of {}", Role::NAMES.join(", ")))
}

fn ttl(text: &str) -> Result<Duration, String> {
    let read = humantime::parse_duration(text).ok();
    let read = read.filter(|ttl| (Duration::from_secs(1)..=LONGEST).contains(ttl));
    read.ok_or_else(|| "it must be from 1s to ten years, like 90s, 1h or 30d".to_owned())
}

pub(super) fn run(mut config: Config, args: TokenArgs) -> Result<(), CliError> {
    config.prepare_secret()?;
    let TokenArgs { user, name, role, orders, ttl } = args;
    let grant = Grant { user, name, role, orders, ttl };
    output(&(mint(&config.auth, &grant, Timestamp::now())? + "\n"))
}
