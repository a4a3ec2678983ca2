//! Two runs beside each other.

use std::fmt::Write as _;

use super::{Report, Times, float};
use crate::load::measure::Timing;

/// Reads one number.
type OfTimes = fn(&Times) -> f64;
/// The same, where it may not be there.
type OfReport = fn(&Report) -> Option<f64>;

/// A table of what both have measured, with the change from `a` to `b`.
pub fn compare(a: &Report, b: &Report) -> String {
    let mut text = format!("A: {}\nB: {}\n", headline(a), headline(b));
    let differs = [
        ("scenario", a.scenario != b.scenario),
        ("framing", a.framing != b.framing),
        ("seed", a.seed != b.seed),
        ("connections", a.connections.planned != b.connections.planned),
    ];
    let differs: Vec<&str> = differs.iter().filter(|(_, is)| *is).map(|(what, _)| *what).collect();
    if !differs.is_empty() {
        let _ = writeln!(text, "These are different runs: not the same {}.", differs.join(", "));
    }
    for (name, report) in [("A", a), ("B", b)] {
        if let Some(why) = &report.client.bottleneck {
            let _ = writeln!(text, "{name} says more of the load generator than of the hub: {why}");
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
    format!("{scenario} ({framing}) on {url}, {at}, {ended}")
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
    use crate::load::report::tests::sample;

    #[test]
    fn changes_are_told_and_different_runs_warned_of() {
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
}
