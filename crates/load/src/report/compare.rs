//! A comparison of two runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use super::{Report, Times, float};
use crate::measure::Timing;

/// The prefix of a scenario's settings in a list of other conditions.
const SETTING: &str = "scenario's ";

/// Reads one number.
type OfTimes = fn(&Times) -> f64;
/// Reads a number that may be missing.
type OfReport = fn(&Report) -> Option<f64>;

/// A table of what both runs have measured, with the change from `a` to `b`.
pub fn compare(a: &Report, b: &Report) -> String {
    let mut text = format!("A: {}\nB: {}\n", headline(a), headline(b));
    differences(&mut text, a, b);
    for (name, report) in [("A", a), ("B", b)] {
        if report.workload.is_none() {
            let _ =
                writeln!(text, "{name} does not say all that was run: an older version made it.");
        }
        if let Some((what, why)) = report.doubt() {
            let _ = writeln!(text, "The load generator of {name} was {what}: {why}");
        }
    }
    let _ = writeln!(text, "\n{:<22} {:>12} {:>12} {:>9}", "", "A", "B", "change");
    let parts: [(&str, OfTimes); 4] = [
        ("p50", |times| times.p50),
        ("p99", |times| times.p99),
        ("p99.9", |times| times.p999),
        ("max", |times| times.max),
    ];
    for name in Timing::ALL.map(Timing::as_str) {
        let (a, b) = (a.timings.get(name), b.timings.get(name));
        if a.or(b).is_none() {
            continue;
        }
        for (part, read) in parts {
            row(&mut text, &format!("{name} {part} ms"), a.map(read), b.map(read), 2);
        }
    }
    let plain: [(&str, usize, OfReport); 10] = [
        ("sent/s", 1, |report| Some(report.rates.sent)),
        ("delivered/s", 1, |report| Some(report.rates.deliveries)),
        ("connections at once", 0, |report| Some(float(report.connections.peak as u64))),
        ("errors", 0, |report| Some(float(report.errors.values().sum()))),
        ("closes", 0, |report| Some(float(report.closes.values().sum()))),
        ("promises broken", 0, |report| Some(float(report.breaches()))),
        ("hub: cores", 2, |report| report.hub?.cpu),
        ("hub: µs a delivery", 2, |report| report.hub?.cpu_per_delivery_us),
        ("hub: MB in memory", 1, |report| Some(float(report.hub?.memory) / 1e6)),
        ("load generator: cores", 2, |report| report.client.cpu),
    ];
    for (name, digits, read) in plain {
        let (a, b) = (read(a), read(b));
        if a.or(b).is_some() {
            row(&mut text, name, a, b, digits);
        }
    }
    text
}

fn headline(report: &Report) -> String {
    let Report { scenario, framing, url, at, ended, .. } = report;
    format!("{scenario} ({framing}): {}; on {url}, {at}, {ended}", report.headline())
}

/// Lists conditions other than the hub that differ: first in a line, then one by one.
fn differences(text: &mut String, a: &Report, b: &Report) {
    let settings_told = a.workload.is_some() && b.workload.is_some();
    let (a, b) = (conditions(a), conditions(b));
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    // A value that one of them does not report is no difference, except for settings, which may be
    // left out.
    let differs = |name: &&String| {
        let told = a.contains_key(*name) && b.contains_key(*name);
        a.get(*name) != b.get(*name) && (told || (settings_told && name.starts_with(SETTING)))
    };
    let names: Vec<&String> = names.into_iter().filter(differs).collect();
    if names.is_empty() {
        return;
    }
    let short = |name: &str| name.strip_prefix(SETTING).unwrap_or(name).to_owned();
    let list: Vec<String> = names.iter().map(|name| short(name)).collect();
    let _ = writeln!(text, "These are different runs: not the same {}.", list.join(", "));
    let shown = |of: &BTreeMap<String, String>, name: &str| {
        of.get(name).cloned().unwrap_or_else(|| "-".to_owned())
    };
    for name in names {
        let _ = writeln!(text, "  {:<22} {} -> {}", short(name), shown(&a, name), shown(&b, name));
    }
}

/// All conditions of a run beside the hub's code, by name. Versions are included: they are what one
/// usually compares, and must be shown.
fn conditions(report: &Report) -> BTreeMap<String, String> {
    let ended = match report.ended.as_str() {
        "complete" => "complete".to_owned(),
        other => format!("{other} after {:.0} s", report.hold_secs),
    };
    let mut all = BTreeMap::from([
        ("scenario".to_owned(), report.scenario.clone()),
        ("framing".to_owned(), report.framing.clone()),
        ("connections".to_owned(), report.connections.planned.to_string()),
        ("seed".to_owned(), report.seed.to_string()),
        ("end".to_owned(), ended),
        ("version".to_owned(), report.version.clone()),
    ]);
    all.extend(report.machine.iter().map(|machine| ("machine".to_owned(), machine.words())));
    all.extend(report.hub_version.iter().map(|it| ("hub's version".to_owned(), it.clone())));
    if let Some(workload) = &report.workload {
        let settings = workload.settings.iter().filter(|(key, _)| *key != "seed");
        let shown = |value: &Value| value.as_str().map_or(value.to_string(), ToOwned::to_owned);
        all.extend(settings.map(|(key, value)| (format!("{SETTING}{key}"), shown(value))));
    }
    all
}

fn row(text: &mut String, name: &str, a: Option<f64>, b: Option<f64>, digits: usize) {
    let shown =
        |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    let change = match a.zip(b) {
        Some((a, b)) if a > 0.0 => format!("{:+.1} %", (b - a) / a * 100.0),
        _ => String::new(),
    };
    let _ = writeln!(text, "{name:<22} {:>12} {:>12} {change:>9}", shown(a), shown(b));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{sample, workload};

    #[test]
    fn changes_are_listed_and_different_runs_get_a_warning() {
        let a = sample();
        let mut b = sample();
        b.timings.get_mut("chat").expect("timed").p50 *= 1.5;
        b.rates.deliveries = 60.0;
        let text = compare(&a, &b);
        assert!(!text.contains("different runs"));
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).expect(start);
        assert!(line("chat p50 ms").ends_with("+50.0 %"));
        assert!(line("chat p99 ms").ends_with("+0.0 %"));
        assert!(line("errors").contains(" 1 "), "{text}");
        assert!(line("delivered/s").contains("30.0") && line("delivered/s").ends_with("+100.0 %"));
        b.seed = 2;
        b.timings.clear();
        let text = compare(&a, &b);
        assert!(text.contains("different runs: not the same seed.") && text.contains('-'));
    }

    #[test]
    fn different_loads_are_named_by_their_differences() {
        let a = sample();
        let changes = ["rooms=300", "customer.chat=0.5", "driver.stay=1m", "driver.away=1s"];
        let mut b = Report { workload: Some(workload(&changes)), ..sample() };
        let text = compare(&a, &b);
        let line = "not the same customer.chat, driver.stay, rooms.";
        assert!(text.contains(line), "{text}");
        for row in [
            "customer.chat          0.1 -> 0.5",
            "driver.stay            - -> 1m",
            "rooms                  100 -> 300",
        ] {
            assert!(text.contains(row), "{row:?} is not in {text}");
        }
        b = Report {
            hub_version: Some("0.2.0".to_owned()),
            version: "0.2.0".to_owned(),
            ..sample()
        };
        b.machine.as_mut().expect("told").cores = 64;
        (b.hold_secs, b.ended) = (3.0, "interrupted".to_owned());
        let text = compare(&a, &b);
        let line = "not the same end, hub's version, machine, version.";
        assert!(text.contains(line), "{text}");
        assert!(
            text.contains("complete -> interrupted after 3 s") && text.contains("64 cores"),
            "{text}"
        );
    }

    #[test]
    fn results_of_an_older_version_are_compared() {
        let a = Report { workload: None, machine: None, hub_version: None, ..sample() };
        let text = compare(&a, &sample());
        assert!(!text.contains("different runs"), "{text}");
        assert!(text.contains("A does not say all that was run"), "{text}");
    }

    #[test]
    fn a_load_generator_that_is_to_be_doubted_is_named() {
        let mut b = sample();
        b.client.disturbed = Some("why".to_owned());
        assert!(compare(&sample(), &b).contains("The load generator of B was disturbed: why"));
    }
}
