//! The results as one self-contained page: tables are made here, and uPlot draws charts from the
//! JSON in the page.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Report, Times};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const CHART_STYLE: &str = include_str!("uplot/uPlot.min.css");
const CHART_SCRIPT: &str = include_str!("uplot/uPlot.iife.min.js");
const CHART_LICENSE: &str = include_str!("uplot/LICENSE");

/// The browser enforces that the page loads nothing.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'";

/// The page.
pub fn page(report: &Report) -> String {
    let title = escaped(&format!("{}: {}", report.scenario, report.headline()));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{CHART_STYLE}\n{STYLE}</style>\n</head>\n<body>\n"
    );
    head(&mut page, report);
    verdicts(&mut page, report);
    tiles(&mut page, report);
    times(&mut page, report);
    counted(&mut page, "Errors", &report.errors);
    counted(&mut page, "Closes", &report.closes);
    sums(&mut page, report);
    page += "<h2>Over time</h2>\n<noscript>The charts are drawn by a script, and scripts are off.\
             </noscript>\n<div id=\"charts\" class=\"charts\"></div>\n";
    scripts(&mut page, report);
    page += "</body>\n</html>\n";
    page
}

fn head(page: &mut String, report: &Report) {
    let Report { scenario, framing, url, at, ended, hold_secs, seed, version, .. } = report;
    let machine = report.machine.as_ref().map(|it| format!(" on {}", escaped(&it.words())));
    let hub = report.hub_version.as_ref().map(|it| format!("; hub {}", escaped(it)));
    let _ = writeln!(
        page,
        "<h1>{}: {}</h1>\n<p>{framing} on {}, {at}</p>\n<p class=\"faint\">{ended}, {hold_secs:.1} s \
         measured, seed {seed}, orderhub load {}{}{}</p>",
        escaped(scenario),
        escaped(&report.headline()),
        escaped(url),
        escaped(version),
        machine.unwrap_or_default(),
        hub.unwrap_or_default(),
    );
}

fn verdicts(page: &mut String, report: &Report) {
    page.push_str("<ul class=\"verdicts\">\n");
    let mut verdict = |class: &str, what: &str, text: &str| {
        let _ = writeln!(page, "<li class=\"{class}\"><b>{what}</b>{}</li>", escaped(text));
    };
    if report.ended != "complete" {
        verdict("warn", "Not complete", &format!("{}: these are the results so far", report.ended));
    }
    if report.broken.is_empty() {
        verdict("good", "Promises kept", "nothing that the protocol promises was broken");
    }
    for (name, broken) in &report.broken {
        let examples = broken.examples.join("; ");
        let text = format!("{name}, {} times: {} ({examples})", broken.count, broken.promise);
        verdict("bad", "Promise broken", &text);
    }
    for assertion in &report.assertions {
        let (class, what) = if assertion.held { ("good", "Holds") } else { ("bad", "Fails") };
        verdict(class, what, &format!("{} ({})", assertion.text, assertion.found));
    }
    if let Some((what, why)) = report.doubt() {
        verdict("warn", &format!("The load generator was {what}"), why);
    }
    page.push_str("</ul>\n");
}

fn tiles(page: &mut String, report: &Report) {
    let percent = |cpu: f64| format!("{:.0} %", cpu * 100.0);
    let mut tiles = vec![
        ("delivered a second", format!("{:.0}", report.rates.deliveries)),
        ("sent a second", format!("{:.0}", report.rates.sent)),
        ("connections at once", report.connections.peak.to_string()),
    ];
    if let Some(hub) = &report.hub {
        tiles.extend(hub.cpu.map(|cpu| ("of a core: the hub", percent(cpu))));
        let per_delivery = hub.cpu_per_delivery_us;
        tiles
            .extend(per_delivery.map(|us| ("of the hub's core a delivery", format!("{us:.1} µs"))));
        tiles.push(("the hub's memory at most", super::megabytes(hub.memory)));
    }
    tiles.extend(report.client.cpu.map(|cpu| ("of a core: the load generator", percent(cpu))));
    page.push_str("<div class=\"tiles\">\n");
    for (name, value) in tiles {
        let _ = writeln!(page, "<div><b>{value}</b><span>{name}</span></div>");
    }
    page.push_str("</div>\n");
}

fn times(page: &mut String, report: &Report) {
    page.push_str(
        "<h2>Times in milliseconds</h2>\n<div class=\"scroll\"><table><thead><tr><th></th>",
    );
    for title in ["count", "p50", "p90", "p95", "p99", "p99.9", "max", "mean"] {
        let _ = write!(page, "<th>{title}</th>");
    }
    page.push_str("</tr></thead><tbody>\n");
    for (name, times) in report.times() {
        let Times { count, p50, p90, p95, p99, p999, max, mean } = times;
        let _ = write!(page, "<tr><td>{name}</td><td>{count}</td>");
        for value in [p50, p90, p95, p99, p999, max, mean] {
            let _ = write!(page, "<td>{value:.2}</td>");
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

fn sums(page: &mut String, report: &Report) {
    let counts = &report.counts;
    let rows = [
        ("connections planned", report.connections.planned as u64),
        ("in their rooms at the end", report.connections.at_end as u64),
        ("sessions begun", counts.connects),
        ("positions sent", counts.locations_sent),
        ("positions delivered", counts.locations_seen),
        ("chat messages sent", counts.chat_sent),
        ("chat messages acknowledged", counts.chat_acked),
        ("chat messages delivered", counts.chat_seen),
        ("not sent: their sender was not connected", counts.skipped),
        ("sent over 10 ms late", counts.late),
    ];
    page.push_str("<h2>Sums of the whole run</h2>\n<dl>\n");
    for (name, count) in rows {
        let _ = writeln!(page, "<div><dt>{name}</dt><dd>{count}</dd></div>");
    }
    page.push_str("</dl>\n");
}

fn counted(page: &mut String, title: &str, counts: &BTreeMap<String, u64>) {
    if counts.is_empty() {
        let _ = writeln!(page, "<p class=\"none\"><b>{title}</b> none</p>");
        return;
    }
    let _ = writeln!(page, "<h2>{title}</h2>\n<table><tbody>");
    for (code, count) in counts {
        let _ = write!(page, "<tr><td>{}", escaped(code));
        if let Some(hint) = super::hint(code) {
            let _ = write!(page, " <span class=\"faint\">({hint})</span>");
        }
        let _ = writeln!(page, "</td><td>{count}</td></tr>");
    }
    page.push_str("</tbody></table>\n");
}

/// The data, then the scripts that draw it. Scripts have no escapes, so no text in the data may end
/// one.
fn scripts(page: &mut String, report: &Report) {
    let data = serde_json::to_string(report).unwrap_or_else(|_| "null".to_owned());
    let data = data.replace('<', "\\u003c");
    let _ = write!(
        page,
        "<script type=\"application/json\" id=\"report\">{data}</script>\n\
         <!-- uPlot:\n{CHART_LICENSE}-->\n<script>{CHART_SCRIPT}</script>\n<script>{SCRIPT}</script>\n"
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn the_page_is_whole_and_shows_names_as_text() {
        let mut report = sample();
        report.scenario = "</script><script>alert(1)</script>".to_owned();
        report.errors.insert("<img src=x>".to_owned(), 1);
        let page = page(&report);
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        assert!(!page.contains("alert(1)</script>") && !page.contains("<img"));
        assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("\\u003cscript>alert(1)"));
    }

    #[test]
    fn the_page_is_self_contained_and_names_its_chart_library() {
        let page = page(&sample());
        for part in ["src=\"", "<link", "@import", "url("] {
            assert!(!page.contains(part), "{part}");
        }
        assert!(page.contains("default-src 'none'"));
        assert!(page.contains("Leon Sorokin") && page.contains("Permission is hereby granted"));
    }

    #[test]
    fn the_page_has_the_figures_of_the_table() {
        let page = page(&sample());
        for part in [
            "<title>chat: 100 rooms, 3 connections, 30 chat messages a second, for 30s</title>",
            "<h1>chat: 100 rooms, 3 connections, 30 chat messages a second, for 30s</h1>",
            "on box: 2 cores",
            "Promise broken</b>chat-once, 1 times",
            "<td>chat</td><td>100</td><td>50.02</td>",
            "rate_limited <span",
            "25 %</b><span>of a core: the hub",
            "4.5 µs",
            "50.0 MB",
        ] {
            assert!(page.contains(part), "{part:?} is not in the page");
        }
    }
}
