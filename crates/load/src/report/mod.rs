//! The results of a run: one JSON object that people, CI and `orderhub load compare` read.

pub mod assertion;
mod client;
pub mod compare;
pub mod html;
pub mod table;
pub mod workload;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use self::workload::Workload;
use super::engine::{Interval, RunEnd, RunOutcome, RunPlan};
use super::machine::Machine;
use super::measure::{Counts, Measure, Timing};
use super::seconds::Second;
use protocol::time::Timestamp;

pub use self::client::ClientUse;

/// The version of the JSON.
pub const FORMAT: u32 = 1;

/// The results of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of the program.
    pub version: String,
    /// The time of the run.
    pub at: Timestamp,
    /// The scenario's name.
    pub scenario: String,
    /// The hub, or several of them.
    pub url: String,
    /// `plain` or `socketio`.
    pub framing: String,
    /// The scenario's seed.
    pub seed: u64,
    /// The workload; none in the results of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// The machine of the load generator; none in the results of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// The version of the hub, if its metrics were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_version: Option<String>,
    /// How it ended: `complete`, `interrupted` or `hub lost`.
    pub ended: String,
    /// How long the hold was, in seconds.
    pub hold_secs: f64,
    /// Members: planned, the most at once, and at the end.
    pub connections: Connections,
    /// Times in milliseconds, by kind.
    pub timings: BTreeMap<String, Times>,
    /// The distributions of times: pairs of a part of 1 and the milliseconds that it does not
    /// exceed.
    #[serde(default)]
    pub percentiles: BTreeMap<String, Vec<(f64, f64)>>,
    /// Sums of the whole run.
    pub counts: Counts,
    /// Per second, in the hold.
    pub rates: Rates,
    /// Refusals by code.
    pub errors: BTreeMap<String, u64>,
    /// Connections that the hub ended, by close code or by how the socket ended.
    pub closes: BTreeMap<String, u64>,
    /// Broken promises by name.
    pub broken: BTreeMap<String, Broken>,
    /// The load of this program.
    pub client: ClientUse,
    /// The hub's resource usage, if it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubUse>,
    /// Results per second; in runs of more than two hours, per several seconds.
    pub seconds: Vec<Second>,
    /// The results of the assertions.
    #[serde(default)]
    pub assertions: Vec<assertion::AssertionResult>,
}

/// How many members there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    /// Members of the scenario.
    pub planned: usize,
    /// The most members in their rooms at once.
    pub peak: usize,
    /// Members in their rooms when the end of the run began.
    pub at_end: usize,
}

/// Times of one kind, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// How many.
    pub count: u64,
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 95th percentile; 0 in the results of older programs.
    #[serde(default)]
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

/// Per second, in the hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rates {
    /// Messages sent.
    pub sent: f64,
    /// Messages seen.
    pub deliveries: f64,
    /// Sessions begun.
    pub connects: f64,
    /// Bytes read.
    pub bytes_in: f64,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// The promise.
    pub promise: String,
    /// How often it was broken.
    pub count: u64,
    /// The first cases.
    pub examples: Vec<String>,
}

/// The hub's resource usage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HubUse {
    /// Its processor time in the hold; 1 is a core. None if it ended or restarted in that time.
    pub cpu: Option<f64>,
    /// Its processor time per message seen, in microseconds.
    pub cpu_per_delivery_us: Option<f64>,
    /// The most memory that it used, in bytes.
    pub memory: u64,
}

// === impl Report ===

impl Report {
    /// The results of a run.
    pub fn new(plan: &RunPlan, outcome: &RunOutcome) -> Self {
        let RunOutcome { measure, checker, hold, .. } = outcome;
        let broken = checker.breaches().map(|(promise, breach)| {
            let promise_in_words = promise.words().to_owned();
            let examples = breach.examples.clone();
            let broken = Broken { promise: promise_in_words, count: breach.count, examples };
            (promise.as_str().to_owned(), broken)
        });
        let ended = match outcome.ended {
            RunEnd::Complete => "complete",
            RunEnd::Interrupted => "interrupted",
            RunEnd::HubLost => "hub lost",
        };
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: Timestamp::now(),
            scenario: plan.scenario.name.clone(),
            url: plan.hubs.iter().map(|hub| &*hub.url).collect::<Vec<_>>().join(", "),
            framing: plan.hubs.first().map_or("", |hub| hub.framing.as_str()).to_owned(),
            seed: plan.scenario.seed,
            workload: Some(Workload::new(&plan.scenario)),
            machine: Some(Machine::this()),
            hub_version: plan.hub_version.clone(),
            ended: ended.to_owned(),
            hold_secs: hold.time.as_secs_f64(),
            connections: Connections {
                planned: plan.people.persons.len(),
                peak: outcome.peak,
                at_end: outcome.inside_at_end,
            },
            timings: timings(measure, Times::new),
            percentiles: timings(measure, distribution),
            counts: measure.counts,
            rates: Rates::new(hold),
            errors: measure.errors.clone(),
            closes: measure.closes.clone(),
            broken: broken.collect(),
            client: ClientUse::new(hold, measure),
            hub: HubUse::new(hold, &measure.seconds),
            seconds: measure.seconds.clone(),
            assertions: Vec::new(),
        }
    }

    /// Reads the results of a run, as `--json` has written them.
    ///
    /// # Errors
    /// A sentence if the text is something else, or newer than this program.
    pub fn read(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Versioned {
            format: u32,
        }
        let other =
            |error: serde_json::Error| format!("it is no result of a run (--json): {error}");
        let Versioned { format } = serde_json::from_str(text).map_err(other)?;
        if format != FORMAT {
            return Err(format!("it has format {format}, and this program reads {FORMAT}"));
        }
        serde_json::from_str(text).map_err(other)
    }

    /// The times in the order in which they occur, with their names.
    pub fn times(&self) -> impl Iterator<Item = (&'static str, &Times)> {
        let names = Timing::ALL.into_iter().map(Timing::as_str);
        names.filter_map(|name| Some((name, self.timings.get(name)?)))
    }

    /// The workload in a line, or what older results say of it.
    pub fn headline(&self) -> String {
        let connections = self.connections.planned;
        match &self.workload {
            Some(workload) => workload.words(connections),
            None => format!("{connections} connections"),
        }
    }

    /// If the times are unreliable, what to call that and the reason.
    pub fn doubt(&self) -> Option<(&'static str, &str)> {
        self.client.doubt()
    }

    /// How many cases of broken promises there were, in all.
    pub fn breaches(&self) -> u64 {
        self.broken.values().map(|broken| broken.count).sum()
    }
}

/// Applies `tell` to each kind of time that was recorded.
fn timings<T>(measure: &Measure, tell: fn(&Histogram<u64>) -> T) -> BTreeMap<String, T> {
    let timed = Timing::ALL.into_iter().map(|timing| (timing, measure.timing(timing)));
    let timed = timed.filter(|(_, times)| !times.is_empty());
    timed.map(|(timing, times)| (timing.as_str().to_owned(), tell(times))).collect()
}

fn distribution(times: &Histogram<u64>) -> Vec<(f64, f64)> {
    let steps = times.iter_quantiles(5);
    steps
        .map(|step| (step.quantile_iterated_to(), float(step.value_iterated_to()) / 1000.0))
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "reports need no 16 digits")]
fn float(number: u64) -> f64 {
    number as f64
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", float(bytes) / 1e6)
}

/// Advice about an error or a close, if it needs an explanation.
fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "rate_limited" | "4029" => {
            "the hub limits each user; see EVENTS_PER_SECOND and CHAT_PER_SECOND"
        }
        "http_503" | "1013" => "the hub is full or draining; see MAX_CONNECTIONS",
        "http_401" | "unauthenticated" | "token_expired" | "4401" => {
            "the token has expired or was revoked"
        }
        "unavailable" => "the hub had too much to do at once, or its database was not there",
        "forbidden" => "the token does not name the order, or another driver has it",
        "no_local_port" => "this machine has no more ports to one address; use several machines",
        "step_failed" => "a command of the scenario could not be run, or failed",
        "connect_refused" => "nobody listened there",
        "4008" => "the hub found this program, or a slow reader of the scenario, too slow",
        "4409" => "the user had too many connections; see MAX_CONNECTIONS_PER_USER",
        "closed_loop_stalled" => "what was sent did not come back for a second",
        _ => return None,
    })
}

// === impl Times ===

impl Times {
    fn new(times: &Histogram<u64>) -> Self {
        let at = |quantile| float(times.value_at_quantile(quantile)) / 1000.0;
        Self {
            count: times.len(),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: float(times.max()) / 1000.0,
            mean: (times.mean()).round() / 1000.0,
        }
    }
}

// === impl Rates ===

impl Rates {
    fn new(hold: &Interval) -> Self {
        let counts = &hold.counts;
        Self {
            sent: hold.per_second(counts.sent()),
            deliveries: hold.per_second(counts.seen()),
            connects: hold.per_second(counts.connects),
            bytes_in: hold.per_second(counts.bytes_in),
        }
    }
}

// === impl HubUse ===

impl HubUse {
    fn new(hold: &Interval, seconds: &[Second]) -> Option<Self> {
        let memory = seconds.iter().filter_map(|second| Some(second.hub?.memory)).max()?;
        let seen = hold.counts.seen();
        let per_delivery = |cpu: f64| cpu * hold.time.as_secs_f64() * 1e6 / float(seen);
        let cpu_per_delivery_us = hold.hub_cpu.filter(|_| seen > 0).map(per_delivery);
        Some(Self { cpu: hold.hub_cpu, cpu_per_delivery_us, memory })
    }
}

/// The distributions of all times, in the form that plotters of `HdrHistogram` read, one after the
/// other.
pub fn percentiles(measure: &Measure) -> String {
    let mut text = String::new();
    for timing in Timing::ALL {
        let times = measure.timing(timing);
        let _ = writeln!(text, "# {} (milliseconds)", timing.as_str());
        let _ = writeln!(
            text,
            "{:>12} {:>14} {:>10} {:>14}\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        );
        for step in times.iter_quantiles(5) {
            let (value, part) =
                (float(step.value_iterated_to()) / 1000.0, step.quantile_iterated_to());
            let count = times.count_between(0, step.value_iterated_to());
            let _ = write!(text, "{value:>12.3} {part:>14.12} {count:>10}");
            let _ = if part < 1.0 {
                writeln!(text, " {:>14.2}", 1.0 / (1.0 - part))
            } else {
                writeln!(text)
            };
        }
        let _ = writeln!(
            text,
            "#[Mean = {:.3}, Max = {:.3}, Total count = {}]\n",
            times.mean() / 1000.0,
            float(times.max()) / 1000.0,
            times.len()
        );
    }
    text
}

#[cfg(test)]
pub(super) mod tests;
