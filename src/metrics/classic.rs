//! The classic text format of Prometheus (0.0.4), for scrapers that do not read `OpenMetrics`.
//!
//! The formats differ in the names of families: a classic counter has the name of its samples, with
//! `_total`, and an info metric is a gauge. The classic format has no units, exemplars, creation
//! times or end mark.

use std::fmt::Write as _;

/// Writes `OpenMetrics` text, each family with its HELP before its TYPE, in the classic format.
pub(super) fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            put_sample(line, &mut text);
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("HELP"), Some(_), words) => help = words.unwrap_or_default(),
            (Some("TYPE"), Some(name), Some(kind)) => put_family(name, kind, help, &mut text),
            // UNIT and EOF have no counterpart.
            _ => {}
        }
    }
    text
}

fn put_family(name: &str, kind: &str, help: &str, text: &mut String) {
    let (suffix, kind) = match kind {
        "counter" => ("_total", kind),
        "info" => ("_info", "gauge"),
        "stateset" => ("", "gauge"),
        "unknown" => ("", "untyped"),
        _ => ("", kind),
    };
    // Only `OpenMetrics` escapes quotes here.
    let help = help.replace("\\\"", "\"");
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
}

fn put_sample(line: &str, text: &mut String) {
    let sample = without_exemplar(line);
    let name = sample.split(['{', ' ']).next().unwrap_or_default();
    if !name.ends_with("_created") {
        text.push_str(sample);
        text.push('\n');
    }
}

/// A sample without its exemplar, which begins with `#`. A label value may contain `#` too.
fn without_exemplar(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    let begins = line.bytes().position(|byte| {
        let is_backslash = quoted && !escaped && byte == b'\\';
        quoted ^= byte == b'"' && !escaped;
        escaped = is_backslash;
        byte == b'#' && !quoted
    });
    line[..begins.unwrap_or(line.len())].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_called_as_their_samples_and_what_is_unknown_is_left_out() {
        let open_metrics = r##"# HELP hub_events Events \"in\".
# TYPE hub_events counter
hub_events_total{event="a # b\"#"} 7 # {trace="x"} 1.0 12.5
hub_events_created{event="a"} 1700000000.1
# HELP hub_wait_seconds Waiting.
# TYPE hub_wait_seconds histogram
# UNIT hub_wait_seconds seconds
hub_wait_seconds_sum 0.5
hub_wait_seconds_count 2
hub_wait_seconds_bucket{le="0.5"} 2 # {} 0.25
hub_wait_seconds_bucket{le="+Inf"} 2
# HELP hub_build What it is.
# TYPE hub_build info
hub_build_info{version="1"} 1
# HELP hub_odd Odd.
# TYPE hub_odd unknown
hub_odd 3
# EOF
"##;
        let expected = r##"# HELP hub_events_total Events "in".
# TYPE hub_events_total counter
hub_events_total{event="a # b\"#"} 7
# HELP hub_wait_seconds Waiting.
# TYPE hub_wait_seconds histogram
hub_wait_seconds_sum 0.5
hub_wait_seconds_count 2
hub_wait_seconds_bucket{le="0.5"} 2
hub_wait_seconds_bucket{le="+Inf"} 2
# HELP hub_build_info What it is.
# TYPE hub_build_info gauge
hub_build_info{version="1"} 1
# HELP hub_odd Odd.
# TYPE hub_odd untyped
hub_odd 3
"##;
        assert_eq!(classic(open_metrics), expected);
    }
}
