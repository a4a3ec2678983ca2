//! The results as a table for people.

use std::fmt::Write as _;

use super::{Report, Times};
use crate::engine::RunProgress;
use crate::measure::Timing;

/// The whole report, as lines.
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    let Report { scenario, url, framing, ended, hold_secs, .. } = report;
    let _ = writeln!(text, "{scenario} on {url} ({framing}): {ended}, {hold_secs:.1} s measured");
    let _ = writeln!(text, "{:<15} {}", "run", report.headline());
    let super::Connections { planned, peak, at_end } = report.connections;
    let _ =
        writeln!(text, "connections     {planned} planned, {peak} at once, {at_end} at the end");
    let rates = &report.rates;
    let _ = writeln!(
        text,
        "per second      {:.0} sent, {:.0} delivered, {:.0} connects, {:.1} MB read",
        rates.sent,
        rates.deliveries,
        rates.connects,
        rates.bytes_in / 1e6
    );
    sums(&mut text, report);
    let _ = writeln!(
        text,
        "\n{:<10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}   ms",
        "", "count", "p50", "p90", "p99", "p99.9", "max"
    );
    for (name, times) in report.times() {
        let Times { count, p50, p90, p99, p999, max, .. } = times;
        let _ = writeln!(
            text,
            "{name:<10} {count:>9} {p50:>9.2} {p90:>9.2} {p99:>9.2} {p999:>9.2} {max:>9.2}"
        );
    }
    if let Some(lost) = report.timings.get(Timing::Reconnect.as_str()) {
        let _ = writeln!(
            text,
            "\nreconnected     95 % of {} lost connections were back in their rooms after {:.0} ms",
            lost.count, lost.p95
        );
    }
    text.push('\n');
    counted(&mut text, "errors", &report.errors);
    counted(&mut text, "closes", &report.closes);
    verdicts(&mut text, report);
    text
}

fn sums(text: &mut String, report: &Report) {
    let counts = &report.counts;
    if counts.locations_sent > 0 {
        let _ = writeln!(
            text,
            "positions       {} sent, {} delivered (about {} due)",
            counts.locations_sent, counts.locations_seen, counts.locations_expected
        );
    }
    if counts.chat_sent > 0 {
        let _ = writeln!(
            text,
            "chat            {} sent, {} acknowledged, {} delivered",
            counts.chat_sent, counts.chat_acked, counts.chat_seen
        );
    }
    if counts.skipped > 0 {
        let _ =
            writeln!(text, "not sent        {} (their sender was not connected)", counts.skipped);
    }
}

fn counted(text: &mut String, title: &str, counts: &std::collections::BTreeMap<String, u64>) {
    if counts.is_empty() {
        let _ = writeln!(text, "{title:<15} none");
    }
    for (code, count) in counts {
        let hint = super::hint(code).map(|hint| format!(" ({hint})")).unwrap_or_default();
        let _ = writeln!(text, "{title:<15} {code}: {count}{hint}");
    }
}

fn verdicts(text: &mut String, report: &Report) {
    let client = &report.client;
    let cpu =
        client.cpu.map_or_else(|| "unknown".to_owned(), |cpu| format!("{:.0} %", cpu * 100.0));
    let _ = writeln!(
        text,
        "this program    {cpu} of a core, {:.2} % of its messages late",
        client.late * 100.0
    );
    if let Some((what, why)) = report.doubt() {
        let _ = writeln!(text, "                THIS PROGRAM WAS {}: {why}", what.to_uppercase());
    }
    if let Some(hub) = &report.hub {
        let cpu = hub.cpu.map_or("unknown".to_owned(), |cpu| format!("{:.0} %", cpu * 100.0));
        let each = hub.cpu_per_delivery_us.map(|us| format!(", {us:.1} µs a delivery"));
        let _ = writeln!(
            text,
            "the hub         {cpu} of a core{}, at most {} in memory",
            each.unwrap_or_default(),
            super::megabytes(hub.memory)
        );
    }
    for verdict in &report.assertions {
        let held = if verdict.held { "holds " } else { "FAILS " };
        let _ = writeln!(text, "assertion       {held} {} ({})", verdict.text, verdict.found);
    }
    if report.broken.is_empty() {
        let _ = writeln!(text, "promises        all kept");
    }
    for (name, broken) in &report.broken {
        let times = broken.count;
        let _ = writeln!(text, "promises        BROKEN {name}, {times} times: {}", broken.promise);
        for example in &broken.examples {
            let _ = writeln!(text, "                {example}");
        }
    }
}

/// The progress of a run in one line: problems come first, because the end of the line may be cut.
pub fn line(live: &RunProgress) -> String {
    let second = &live.second;
    let mut text = format!("{:>5.0}/{} s {:<9}", live.at, live.length.as_secs(), live.stage);
    for (count, what) in [(live.broken, "BROKEN"), (live.errors, "errors"), (live.closes, "closed")]
    {
        if count > 0 {
            let _ = write!(text, " {count} {what},");
        }
    }
    let _ = write!(
        text,
        " {}/{} in, {:.0} sent/s, {:.0} delivered/s, {:.0} % cpu",
        live.inside,
        live.people,
        second.per_second(second.counts.sent()),
        second.per_second(second.counts.seen()),
        second.cpu.unwrap_or(0.0) * 100.0
    );
    if let Some(cpu) = second.hub_cpu {
        let _ = write!(text, ", hub {:.0} %", cpu * 100.0);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn the_table_has_the_main_figures() {
        let text = table(&sample());
        for part in [
            "chat on ws://127.0.0.1:8080 (plain): complete, 10.0 s measured",
            "run             100 rooms, 3 connections, 30 chat messages a second, for 30s",
            "3 planned, 3 at once",
            "10 sent, 30 delivered",
            "errors          rate_limited: 1",
            "EVENTS_PER_SECOND",
            "closes          4008: 1",
            "50 % of a core",
            "BROKEN chat-once, 1 times",
            "room 1, connection 2: seq 7 came again",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains("BOTTLENECK"));
    }
}
