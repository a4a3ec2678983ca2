//! `orderhub load`: runs a scenario against a running hub, or compares two results.
//!
//! Its exit status: 0 all is well, 1 a promise is broken or an assertion fails, 2 the input is
//! invalid, 3 the hub cannot be reached or was lost, 4 a report cannot be written, 130 interrupted.
#![expect(clippy::print_stderr, reason = "how far it is goes to the terminal, results to stdout")]

mod files;
mod plan;
mod progress;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{ArgMatches, Args, Subcommand};

use self::files::Files;
use super::{CliError, output};
use load::address::Spread;
use load::engine::{self, RunEnd, RunOutcome, RunPlan};
use load::report::assertion::Assertion;
use load::report::{Report, compare, table};
use load::scenario::{BUILTIN, Scenario};
use protocol::codec::Framing;
use protocol::time::Timestamp;

/// A promise is broken, or an assertion fails.
const BROKEN: u8 = 1;
/// The input is invalid.
const BAD_INPUT: u8 = 2;
/// The hub cannot be reached, refuses this client, or was lost.
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
    /// The hub: ws://, http://, wss:// or https://HOST:PORT; several times for a cluster
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: Vec<String>,
    /// With several hubs, what is spread over them: the members of a `room`, or whole rooms by `order`
    #[arg(long, default_value = "room", value_name = "room|order")]
    spread: Spread,
    /// Authorities for wss:// and https://, a PEM file [default: the public ones, built in]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
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
    /// Over how long they go at the end, instead of the scenario's
    #[arg(long, value_name = "TIME")]
    ramp_down: Option<String>,
    /// The same seed, the same schedule
    #[arg(long, value_name = "N")]
    seed: Option<String>,
    /// Change anything in the scenario, like driver.locations=5; can be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// What must hold, like 'chat.p99<50ms' or 'errors==0'; can be given several times
    #[arg(long = "assert", value_name = "ASSERTION", num_args = 1..)]
    assertions: Vec<String>,
    /// The hub's process on this machine: its processor and memory are shown too; several are added
    #[arg(long, value_name = "PID", conflicts_with = "metrics")]
    pid: Vec<u32>,
    /// The address of the hub's /metrics, for the same
    #[arg(long, value_name = "URL")]
    metrics: Vec<String>,
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
    args.files.check().map_err(refused(NOT_WRITTEN))?;
    let plan = plan::plan(name, &args, matches)?;
    if let Some(warning) = short_lived(&plan) {
        eprintln!("orderhub: {warning}");
    }
    let stop = Arc::new(AtomicBool::new(false));
    listen_for_signals(&stop);
    let mut progress = progress::Progress::new();
    let outcome = engine::run(&plan, &stop, &mut |live| progress.show(live))
        .map_err(|error| CliError::Status(BAD_INPUT, format!("the run cannot begin: {error}")))?;
    progress.end();
    report_results(&args.files, &assertions, &plan, &outcome)
}

/// Reports the results, and returns the exit status.
fn report_results(
    files: &Files,
    assertions: &[Assertion],
    plan: &RunPlan,
    outcome: &RunOutcome,
) -> Result<(), CliError> {
    let mut report = Report::new(plan, outcome);
    report.assertions = assertions.iter().map(|assertion| assertion.judge(&report)).collect();
    // stdout comes first, so that a full disk does not lose the results.
    let mut missing = Vec::new();
    if let Err(error) = output(&table::table(&report)) {
        missing.push(error.to_string());
    }
    missing.extend(files.write(&report, &outcome.measure));
    for problem in &missing {
        eprintln!("orderhub: {problem}");
    }
    judge(&report, outcome.ended)?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(CliError::Status(NOT_WRITTEN, "not all results could be written".to_owned()))
}

/// A warning if the first token may expire before the run ends.
fn short_lived(plan: &RunPlan) -> Option<String> {
    let left = plan.people.expires? - Timestamp::now().as_millis() / 1000;
    let length = plan.scenario.length().as_secs();
    let short = u64::try_from(left).unwrap_or(0) < length;
    short
        .then(|| format!("the first token expires in {left} s, and the run lasts up to {length} s"))
}

fn judge(report: &Report, ended: RunEnd) -> Result<(), CliError> {
    let names: Vec<&str> = report.broken.keys().map(String::as_str).collect();
    if !names.is_empty() {
        let text = format!("the hub has broken its promises: {}", names.join(", "));
        return Err(CliError::Status(BROKEN, text));
    }
    if ended == RunEnd::HubLost {
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
    if ended == RunEnd::Interrupted {
        let text = "interrupted; these are the results so far";
        return Err(CliError::Status(INTERRUPTED, text.to_owned()));
    }
    Ok(())
}

fn listing() -> String {
    let about = |text| Scenario::read(text, &[]).map_or_else(|_| String::new(), |it| it.about);
    let mut lines = String::new();
    for (name, text) in BUILTIN {
        let _ = writeln!(lines, "{name:<16} {}", about(text));
    }
    lines
}

fn result(path: &Path) -> Result<Report, CliError> {
    let text = files::read(path).map_err(refused(BAD_INPUT))?;
    Report::read(&text)
        .map_err(|error| CliError::Status(BAD_INPUT, format!("{}: {error}", path.display())))
}

/// The first signal ends the run with its results, the second one ends it at once.
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
    // Without this thread a signal simply ends the program, as usual.
    std::thread::spawn(move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(wait);
        }
    });
}
