//! `orderhub load`: a scenario against a running hub, and two results beside each other.
//!
//! Its exit status says what to do: 0 all is well, 1 a promise is broken or an assertion fails, 2
//! what was asked cannot be done, 3 the hub cannot be reached or was lost, 4 a report cannot be
//! written, 130 interrupted.
#![expect(clippy::print_stderr, reason = "how far it is goes to the terminal, results to stdout")]

mod files;
mod progress;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{ArgMatches, Args, Subcommand};

use self::files::Files;
use super::{CliError, output};
use crate::auth::{Grant, mint};
use crate::config::{Config, Secret};
use crate::ids::{OrderId, UserId};
use crate::load::address::Target;
use crate::load::engine::{self, Ended, Outcome, Plan};
use crate::load::report::assertion::Assertion;
use crate::load::report::{Report, compare, table};
use crate::load::scenario::{READY, Scenario, ready};
use crate::load::tokens::People;
use crate::load::track::Track;
use crate::load::{limits, probe};
use crate::protocol::codec::Framing;
use crate::protocol::role::Role;
use crate::time::Timestamp;

/// A promise is broken, or an assertion fails.
const BROKEN: u8 = 1;
/// What was asked cannot be done.
const BAD_INPUT: u8 = 2;
/// The hub cannot be reached, does not want this client, or was lost.
const NO_HUB: u8 = 3;
/// A report cannot be written.
const NOT_WRITTEN: u8 = 4;
/// Ended by a signal, with the results so far.
const INTERRUPTED: u8 = 130;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct LoadArgs {
    #[command(subcommand)]
    command: Option<LoadCommand>,
    /// A scenario that comes with the program (see --list), or a TOML file
    #[arg(value_name = "SCENARIO", required_unless_present = "list")]
    scenario: Option<String>,
    /// List the scenarios that come with the program
    #[arg(long)]
    list: bool,
    /// The hub: ws://HOST:PORT or http://HOST:PORT
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// plain or socketio
    #[arg(long, default_value = "plain", value_parser = framing)]
    framing: Framing,
    /// The hub's HS256 secret [default: that of the settings, as for `orderhub token`]
    #[arg(long)]
    secret: Option<String>,
    /// A file of tokens, as `orderhub token --count N --format ndjson` makes it
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    tokens: Option<PathBuf>,
    /// A GPX or CSV track for the drivers [default: a drive that is made up]
    #[arg(long, value_name = "FILE")]
    track: Option<PathBuf>,
    /// How many rooms, instead of the scenario's
    #[arg(long, value_name = "N")]
    rooms: Option<String>,
    /// How long to measure, instead of the scenario's, like 30s
    #[arg(long, value_name = "TIME")]
    hold: Option<String>,
    /// Over how long people come, instead of the scenario's
    #[arg(long, value_name = "TIME")]
    ramp_up: Option<String>,
    /// Another schedule
    #[arg(long, value_name = "N")]
    seed: Option<String>,
    /// Change anything in the scenario, like driver.locations=5; can be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// What must hold, like 'chat.p99<50ms' or 'errors==0'; can be given several times
    #[arg(long = "assert", value_name = "ASSERTION", num_args = 1..)]
    assertions: Vec<String>,
    #[command(flatten)]
    files: Files,
}

#[derive(Subcommand)]
enum LoadCommand {
    /// Show two results (--json) beside each other
    Compare {
        /// The result before
        a: PathBuf,
        /// The result after
        b: PathBuf,
    },
}

fn framing(text: &str) -> Result<Framing, String> {
    let known = [Framing::Plain, Framing::SocketIo].into_iter().find(|f| f.as_str() == text);
    known.ok_or_else(|| format!("it must be one of {}", Framing::NAMES.join(", ")))
}

fn refused(status: u8) -> impl Fn(String) -> CliError {
    move |text| CliError::Status(status, text)
}

pub(super) fn run(args: LoadArgs, matches: &ArgMatches) -> Result<(), CliError> {
    if let Some(LoadCommand::Compare { a, b }) = &args.command {
        return output(&compare::compare(&result(a)?, &result(b)?));
    }
    let Some(name) = args.scenario.as_deref().filter(|_| !args.list) else {
        return output(&listing());
    };
    let assertions: Result<Vec<Assertion>, String> =
        args.assertions.iter().map(|text| Assertion::read(text)).collect();
    let assertions = assertions.map_err(refused(BAD_INPUT))?;
    let plan = plan(name, &args, matches)?;
    args.files.check().map_err(refused(NOT_WRITTEN))?;
    let token = plan.people.persons.first().map_or("", |person| &person.token);
    probe::ask(&plan.target, token).map_err(refused(NO_HUB))?;
    let stop = Arc::new(AtomicBool::new(false));
    listen_for_signals(&stop);
    let mut progress = progress::Progress::new();
    let outcome = engine::run(&plan, &stop, &mut |live| progress.show(live))
        .map_err(|error| CliError::Status(BAD_INPUT, format!("the run cannot begin: {error}")))?;
    progress.end();
    conclude(&args.files, &assertions, &plan, &outcome)
}

/// Tells the results, and judges.
fn conclude(
    files: &Files,
    assertions: &[Assertion],
    plan: &Plan,
    outcome: &Outcome,
) -> Result<(), CliError> {
    let mut report = Report::new(plan, outcome);
    report.assertions = assertions.iter().map(|assertion| assertion.judge(&report)).collect();
    // First where it cannot get lost: a full disk must not cost the results.
    let shown = output(&table::table(&report));
    let written = files.write(&report, &outcome.measure);
    if let Err(error) = &written {
        eprintln!("orderhub: {error}");
    }
    judge(&report, outcome.ended)?;
    written.map_err(|_| CliError::Status(NOT_WRITTEN, "a report is missing".to_owned()))?;
    shown
}

fn judge(report: &Report, ended: Ended) -> Result<(), CliError> {
    let names: Vec<&str> = report.broken.keys().map(String::as_str).collect();
    if !names.is_empty() {
        let text = format!("the hub has broken its promises: {}", names.join(", "));
        return Err(CliError::Status(BROKEN, text));
    }
    if ended == Ended::HubLost {
        let text = "the hub was lost: nobody got in for ten seconds; these are the results so far";
        return Err(CliError::Status(NO_HUB, text.to_owned()));
    }
    let failed = report.assertions.iter().filter(|verdict| !verdict.held);
    let failed: Vec<String> =
        failed.map(|verdict| format!("{} ({})", verdict.text, verdict.found)).collect();
    if !failed.is_empty() {
        let text = format!("what was asserted does not hold: {}", failed.join(", "));
        return Err(CliError::Status(BROKEN, text));
    }
    if ended == Ended::Interrupted {
        let text = "interrupted; these are the results so far";
        return Err(CliError::Status(INTERRUPTED, text.to_owned()));
    }
    Ok(())
}

fn listing() -> String {
    let about = |text| Scenario::read(text, &[]).map_or_else(|_| String::new(), |it| it.about);
    let mut lines = String::new();
    for (name, text) in READY {
        let _ = writeln!(lines, "{name:<16} {}", about(text));
    }
    lines
}

fn result(path: &Path) -> Result<Report, CliError> {
    let text = files::read(path).map_err(refused(BAD_INPUT))?;
    serde_json::from_str(&text).map_err(|error| {
        let text = format!("{}: it is no result of a run: {error}", path.display());
        CliError::Status(BAD_INPUT, text)
    })
}

/// Everything that a run needs, checked.
fn plan(name: &str, args: &LoadArgs, matches: &ArgMatches) -> Result<Plan, CliError> {
    let bad = refused(BAD_INPUT);
    let scenario = scenario(name, args).map_err(&bad)?;
    limits::make_room(scenario.people()).map_err(&bad)?;
    let track = match &args.track {
        None => Track::made_up(scenario.seed),
        Some(path) => files::read(path)
            .and_then(|text| {
                Track::read(&text).map_err(|error| format!("{}: {error}", path.display()))
            })
            .map_err(&bad)?,
    };
    let target = Target::find(&args.url, args.framing).map_err(refused(NO_HUB))?;
    let people = match &args.tokens {
        Some(path) => files::read(path).and_then(|text| {
            People::listed(&scenario, &text).map_err(|error| format!("{}: {error}", path.display()))
        }),
        None => people(&scenario, args.secret.as_deref(), matches)?,
    };
    Ok(Plan { people: people.map_err(&bad)?, scenario, target, track })
}

fn scenario(name: &str, args: &LoadArgs) -> Result<Scenario, String> {
    let text = match ready(name) {
        Some(text) => text.to_owned(),
        None if Path::new(name).exists() || name.contains(['/', '.']) => {
            files::read(Path::new(name))?
        }
        None => {
            let names: Vec<&str> = READY.iter().map(|(name, _)| *name).collect();
            return Err(format!("{name}: there is no such scenario or file; {}", names.join(", ")));
        }
    };
    let flags = [
        ("rooms", &args.rooms),
        ("hold", &args.hold),
        ("ramp-up", &args.ramp_up),
        ("seed", &args.seed),
    ];
    let flags = flags.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
    let mut changes: Vec<String> = flags.map(|(key, value)| format!("{key}={value}")).collect();
    changes.extend(args.changes.iter().cloned());
    Scenario::read(&text, &changes).map_err(|error| format!("{name}: {error}"))
}

/// Makes tokens by the same settings as `orderhub token`.
fn people(
    scenario: &Scenario,
    secret: Option<&str>,
    matches: &ArgMatches,
) -> Result<Result<People, String>, CliError> {
    let mut config = Config::from_matches(matches)?;
    match secret {
        Some(secret) => config.auth.secret = Some(Secret::new(secret)),
        None => config.read_secret()?,
    }
    if config.auth.secret.is_none() {
        let text = "there is no secret to make tokens with: give --secret, JWT_SECRET, the hub's \
             --data-dir, or --tokens";
        return Err(CliError::Status(BAD_INPUT, text.to_owned()));
    }
    let times = [scenario.ramp_up, scenario.hold, scenario.settle, scenario.ramp_down];
    let length: Duration = times.iter().map(|time| time.0).sum();
    let ttl = length + Duration::from_secs(3600);
    let now = Timestamp::now();
    let sign = |user: &UserId, role: Role, order: &OrderId| {
        let (user, orders) = (user.clone(), vec![order.clone()]);
        let grant = Grant { user, name: None, role, orders, ttl };
        mint(&config.auth, &grant, now).map_err(|error| error.to_string())
    };
    Ok(People::made(scenario, &sign))
}

/// The first signal ends the run with its results, the second one at once.
fn listen_for_signals(stop: &Arc<AtomicBool>) {
    let stop = stop.clone();
    let wait = async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if stop.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(INTERRUPTED));
            }
        }
    };
    // Without it a signal just ends the program, as it would any other.
    std::thread::spawn(move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(wait);
        }
    });
}
