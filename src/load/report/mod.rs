//! The results of a run, as they are kept: one JSON object that people, CI and
//! `orderhub load compare` read.

pub mod assertion;
pub mod compare;
pub mod html;
pub mod table;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::engine::{Ended, Outcome, Plan};
use super::measure::{Counts, Measure, Second, Timing};
use crate::time::Timestamp;

/// The version of the JSON.
pub const FORMAT: u32 = 1;

/// The results of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// Which program made it.
    pub version: String,
    /// When.
    pub at: Timestamp,
    /// The scenario's name.
    pub scenario: String,
    /// The hub.
    pub url: String,
    /// `plain` or `socketio`.
    pub framing: String,
    /// The scenario's seed.
    pub seed: u64,
    /// How it ended: `complete`, `interrupted` or `hub lost`.
    pub ended: String,
    /// How long was measured, in seconds.
    pub hold_secs: f64,
    /// Members: planned, the most at once, and at the end.
    pub connections: Connections,
    /// Times in milliseconds, by what was timed.
    pub timings: BTreeMap<String, Times>,
    /// Sums of the whole run.
    pub counts: Counts,
    /// Per second, in the hold.
    pub rates: Rates,
    /// Refusals by code.
    pub errors: BTreeMap<String, u64>,
    /// Ends that the hub caused, by close code or by how the socket ended.
    pub closes: BTreeMap<String, u64>,
    /// Broken promises by name.
    pub broken: BTreeMap<String, Broken>,
    /// This program itself.
    pub client: Client,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// What was asserted.
    #[serde(default)]
    pub assertions: Vec<assertion::Verdict>,
}

/// How many members there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    /// Members of the scenario.
    pub planned: usize,
    /// The most that were in their rooms at once.
    pub peak: usize,
    /// In their rooms at the end, before they went.
    pub at_end: usize,
}

/// Times of one kind, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// How many.
    pub count: u64,
    /// The middle.
    pub p50: f64,
    /// Nine in ten are not above.
    pub p90: f64,
    /// 99 in a hundred.
    pub p99: f64,
    /// 999 in a thousand.
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
    /// What was promised.
    pub promise: String,
    /// How often that was not so.
    pub count: u64,
    /// The first cases.
    pub examples: Vec<String>,
}

/// What this program was busy with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// The part of a core that it took in the hold; none where the system does not tell.
    pub cpu: Option<f64>,
    /// The part of the messages that went out over 10 ms after they were due.
    pub late: f64,
    /// Why its times say more of itself than of the hub; none where they do not.
    pub bottleneck: Option<String>,
}

/// Above so much of a core the program is not believed any more.
const BUSY: f64 = 0.85;
/// Above so many late messages neither.
const OFTEN_LATE: f64 = 0.01;
/// Fewer late messages than this happen to anybody.
const FEW: u64 = 10;

// === impl Report ===

impl Report {
    /// What a run came to.
    pub fn new(plan: &Plan, outcome: &Outcome) -> Self {
        let Outcome { measure, checker, hold, .. } = outcome;
        let secs = outcome.hold_time.as_secs_f64();
        let broken = checker.breaches().map(|(promise, breach)| {
            let promise_in_words = promise.words().to_owned();
            let examples = breach.examples.clone();
            let broken = Broken { promise: promise_in_words, count: breach.count, examples };
            (promise.as_str().to_owned(), broken)
        });
        let ended = match outcome.ended {
            Ended::Complete => "complete",
            Ended::Interrupted => "interrupted",
            Ended::HubLost => "hub lost",
        };
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: Timestamp::now(),
            scenario: plan.scenario.name.clone(),
            url: plan.target.url.clone(),
            framing: plan.target.framing.as_str().to_owned(),
            seed: plan.scenario.seed,
            ended: ended.to_owned(),
            hold_secs: secs,
            connections: Connections {
                planned: plan.people.persons.len(),
                peak: outcome.peak,
                at_end: outcome.inside_at_end,
            },
            timings: timings(measure),
            counts: measure.counts,
            rates: Rates::new(hold, secs),
            errors: measure.errors.clone(),
            closes: measure.closes.clone(),
            broken: broken.collect(),
            client: Client::new(outcome.cpu, hold, measure),
            seconds: measure.seconds.clone(),
            assertions: Vec::new(),
        }
    }

    /// How many promises were broken, all cases together.
    pub fn breaches(&self) -> u64 {
        self.broken.values().map(|broken| broken.count).sum()
    }
}

fn timings(measure: &Measure) -> BTreeMap<String, Times> {
    let timed = Timing::ALL.into_iter().map(|timing| (timing, measure.timing(timing)));
    let timed = timed.filter(|(_, times)| !times.is_empty());
    timed.map(|(timing, times)| (timing.as_str().to_owned(), Times::new(times))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "reports need no 16 digits")]
fn float(number: u64) -> f64 {
    number as f64
}

// === impl Times ===

impl Times {
    fn new(times: &Histogram<u64>) -> Self {
        let at = |quantile| float(times.value_at_quantile(quantile)) / 1000.0;
        Self {
            count: times.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: float(times.max()) / 1000.0,
            mean: (times.mean()).round() / 1000.0,
        }
    }
}

// === impl Rates ===

impl Rates {
    fn new(hold: &Counts, secs: f64) -> Self {
        let rate = |count| if secs > 0.0 { float(count) / secs } else { 0.0 };
        Self {
            sent: rate(hold.sent()),
            deliveries: rate(hold.seen()),
            connects: rate(hold.connects),
            bytes_in: rate(hold.bytes_in),
        }
    }
}

// === impl Client ===

impl Client {
    fn new(cpu: Option<f64>, hold: &Counts, measure: &Measure) -> Self {
        let scheduled = measure.timing(Timing::Late).len();
        let late = if scheduled == 0 { 0.0 } else { float(hold.late) / float(scheduled) };
        let busy = cpu.filter(|cpu| *cpu > BUSY).map(|cpu| {
            format!("it took {:.0} % of a core; take more machines or fewer rooms", cpu * 100.0)
        });
        let bottleneck = busy.or_else(|| {
            (late > OFTEN_LATE && hold.late >= FEW)
                .then(|| format!("{:.1} % of its messages went out over 10 ms late", late * 100.0))
        });
        Self { cpu, late, bottleneck }
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
