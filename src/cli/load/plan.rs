//! Prepares a run from the command line: the scenario, the hub, the users, the track.

use std::path::Path;
use std::time::Duration;

use clap::ArgMatches;

use super::{BAD_INPUT, LoadArgs, NO_HUB, files, refused};
use crate::auth::{NewToken, mint};
use crate::cli::CliError;
use crate::config::{Config, ConfigError, Secret};
use load::address::{Address, HubTarget};
use load::engine::RunPlan;
use load::hub_usage::UsageSource;
use load::limits;
use load::probe;
use load::process::Usage;
use load::scenario::{BUILTIN, Scenario, builtin};
use load::tls::Authorities;
use load::tokens::People;
use load::track::Track;
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;

/// The user that reads the hub's metrics, if they require one.
const WATCHER: &str = "orderhub-load";
/// How many seconds tokens are valid beyond the run.
const SPARE_SECS: u64 = 3600;

/// Everything that a run needs, checked; the hub was reached.
pub(super) fn plan(name: &str, args: &LoadArgs, matches: &ArgMatches) -> Result<RunPlan, CliError> {
    let bad = refused(BAD_INPUT);
    let scenario = scenario(name, args).map_err(&bad)?;
    limits::raise_file_limit(scenario.people()).map_err(&bad)?;
    let track = match &args.track {
        None => Track::sample(scenario.seed),
        Some(path) => of_file(path, Track::read).map_err(&bad)?,
    };
    let authorities = match &args.ca {
        None => Authorities::public(),
        Some(path) => of_file(path, |text| Authorities::read(text.as_bytes())).map_err(&bad)?,
    };
    let addresses: Result<Vec<Address>, String> =
        args.url.iter().map(|url| Address::read(url)).collect();
    let addresses = addresses.map_err(&bad)?;
    let (people, sign) = if let Some(path) = &args.tokens {
        let listed = |text: &str| People::from_token_lines(&scenario, text, Timestamp::now());
        (of_file(path, listed).map_err(&bad)?, None)
    } else {
        let sign = Signer::new(args, &scenario, matches)?;
        (sign.people(&scenario).map_err(&bad)?, Some(sign))
    };
    let token = people.persons.first().map_or("", |person| &person.token);
    let reach = |address: &Address| {
        let mut hub = HubTarget::find(address, args.framing, &authorities)?;
        probe::ask(&mut hub, token).map(|()| hub)
    };
    let hubs: Result<Vec<HubTarget>, String> = addresses.iter().map(reach).collect();
    let hubs = hubs.map_err(refused(NO_HUB))?;
    // After the hubs were reached: without a hub, an error about its metrics would mislead.
    let hub = source(args, &addresses, sign.as_ref(), &authorities).map_err(&bad)?;
    let hub_version = hub.as_ref().and_then(|(source, _)| source.version());
    Ok(RunPlan { scenario, hubs, spread: args.spread, people, track, hub, hub_version })
}

/// Reads a file, and adds its name to an error.
fn of_file<T>(path: &Path, read: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
    let text = files::read(path)?;
    read(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn scenario(name: &str, args: &LoadArgs) -> Result<Scenario, String> {
    let text = match builtin(name) {
        Some(text) => text.to_owned(),
        None if Path::new(name).exists() || name.contains(['/', '.']) => {
            files::read(Path::new(name))?
        }
        None => {
            let names: Vec<&str> = BUILTIN.iter().map(|(name, _)| *name).collect();
            let names = names.join(", ");
            return Err(format!("{name}: there is no such file, and no such scenario; {names}"));
        }
    };
    let flags = [
        ("rooms", &args.rooms),
        ("hold", &args.hold),
        ("ramp-up", &args.ramp_up),
        ("ramp-down", &args.ramp_down),
        ("seed", &args.seed),
    ];
    let flags = flags.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
    let mut changes: Vec<String> = flags.map(|(key, value)| format!("{key}={value}")).collect();
    changes.extend(args.changes.iter().cloned());
    Scenario::read(&text, &changes).map_err(|error| format!("{name}: {error}"))
}

/// Makes tokens with the same settings as `orderhub token`.
struct Signer {
    config: Config,
    ttl: Duration,
    now: Timestamp,
}

impl Signer {
    fn new(args: &LoadArgs, scenario: &Scenario, matches: &ArgMatches) -> Result<Self, CliError> {
        let bad = |error: ConfigError| CliError::Status(BAD_INPUT, error.to_string());
        let mut config = Config::from_matches(matches).map_err(bad)?;
        match &args.secret {
            Some(secret) => config.auth.secret = Some(Secret::new(secret)),
            None => config.read_secret().map_err(bad)?,
        }
        if config.auth.secret.is_none() {
            let text = "there is no secret to make tokens with: give --secret, JWT_SECRET, the \
                 hub's --data-dir, or --tokens";
            return Err(CliError::Status(BAD_INPUT, text.to_owned()));
        }
        let ttl = scenario.length() + Duration::from_secs(SPARE_SECS);
        Ok(Self { config, ttl, now: Timestamp::now() })
    }

    fn people(&self, scenario: &Scenario) -> Result<People, String> {
        People::from_scenario(scenario, &|user, role, order| {
            self.token(user.clone(), role, vec![order.clone()])
        })
    }

    fn token(&self, user: UserId, role: Role, orders: Vec<OrderId>) -> Result<String, String> {
        let grant = NewToken { user, name: None, role, orders, ttl: self.ttl };
        mint(&self.config.auth, &grant, self.now).map_err(|error| error.to_string())
    }
}

/// Where the resource usage of the hubs can be read, if anywhere, and its current value.
fn source(
    args: &LoadArgs,
    hubs: &[Address],
    sign: Option<&Signer>,
    authorities: &Authorities,
) -> Result<Option<(UsageSource, Usage)>, String> {
    let metrics = |url: &String| {
        // The holder of the secret may read metrics. But a token is for the hub alone, and is sent
        // only to the origin to which clients send theirs.
        let ours = hubs.iter().any(|hub| hub.is_origin_of(url));
        let admin = UserId::new(WATCHER).map_err(|error| error.to_string())?;
        let token = sign.filter(|_| ours).map(|it| it.token(admin, Role::Admin, Vec::new()));
        Ok::<_, String>(UsageSource::metrics(url.clone(), token.transpose()?, authorities))
    };
    let mut sources: Vec<_> = args.pid.iter().copied().map(UsageSource::Process).collect();
    sources.extend(args.metrics.iter().map(metrics).collect::<Result<Vec<_>, _>>()?);
    if sources.is_empty() {
        return Ok(None);
    }
    let source = UsageSource::Sum(sources);
    let first = source.read()?;
    Ok(Some((source, first)))
}
