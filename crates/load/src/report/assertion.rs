//! Assertions for CI: `chat.p99<50ms`, `errors==0`, `client.cpu<85%`.

use serde::{Deserialize, Serialize};

use super::{Report, Times, float};
use crate::measure::Timing;

/// A condition on the results.
#[derive(Debug, Clone, PartialEq)]
pub struct Assertion {
    text: String,
    name: String,
    compare: Compare,
    /// In the unit of the measured value: milliseconds, parts of 1, or a plain number.
    limit: f64,
}

/// The result of an assertion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssertionResult {
    /// The assertion as it was written.
    pub text: String,
    /// The measured value.
    pub found: String,
    /// Whether the assertion holds.
    pub held: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Below,
    AtMost,
    Equal,
    Different,
    AtLeast,
    Above,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Milliseconds,
    Part,
    Bytes,
    Plain,
}

/// Longer ones first, because `<` is a prefix of `<=`.
const COMPARES: [(&str, Compare); 6] = [
    ("<=", Compare::AtMost),
    (">=", Compare::AtLeast),
    ("==", Compare::Equal),
    ("!=", Compare::Different),
    ("<", Compare::Below),
    (">", Compare::Above),
];

const OF_TIMES: [&str; 8] = ["count", "p50", "p90", "p95", "p99", "p999", "max", "mean"];

impl Assertion {
    /// Reads an assertion.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn read(text: &str) -> Result<Self, String> {
        let refused = |problem: String| format!("{text:?}: {problem}");
        let found = COMPARES.iter().find_map(|(sign, compare)| {
            text.split_once(sign).map(|(name, limit)| (name.trim(), *compare, limit.trim()))
        });
        let Some((name, compare, limit)) = found else {
            return Err(refused(
                "it must compare, like 'chat.p99<50ms'; a scenario comes before --assert"
                    .to_owned(),
            ));
        };
        let unit = unit(name).ok_or_else(|| refused(format!("{name} is not measured; {KNOWN}")))?;
        let limit = quantity(limit, unit).map_err(refused)?;
        Ok(Self { text: text.to_owned(), name: name.to_owned(), compare, limit })
    }

    /// Compares it with the results. It does not hold if its value was not measured.
    pub fn judge(&self, report: &Report) -> AssertionResult {
        let value = value(&self.name, report);
        let held = value.is_some_and(|value| self.compare.holds(value, self.limit));
        let found = match (value, unit(&self.name)) {
            (None, _) => "nothing was measured".to_owned(),
            (Some(value), Some(Unit::Milliseconds)) => format!("{value:.2} ms"),
            (Some(value), Some(Unit::Part)) => format!("{:.1} %", value * 100.0),
            (Some(value), Some(Unit::Bytes)) => format!("{:.1} MB", value / 1e6),
            (Some(value), _) => format!("{}", (value * 10.0).round() / 10.0),
        };
        AssertionResult { text: self.text.clone(), found, held }
    }
}

const KNOWN: &str = "there are connect, join, location, chat, chat-ack, reconnect and late with \
     .p50 .p90 .p95 .p99 .p999 .max .mean .count; errors, errors.CODE, closes, closes.CODE, broken, \
     broken.PROMISE, sent.rate, deliveries.rate, connects.rate, connections.peak, \
     connections.at-end, client.cpu, client.late, hub.cpu and hub.memory";

/// The unit of a name; none if the name is unknown.
fn unit(name: &str) -> Option<Unit> {
    let (first, rest) = name.split_once('.').unwrap_or((name, ""));
    if Timing::ALL.iter().any(|timing| timing.as_str() == first) {
        let time = if rest == "count" { Unit::Plain } else { Unit::Milliseconds };
        return OF_TIMES.contains(&rest).then_some(time);
    }
    match (first, rest) {
        ("errors" | "closes" | "broken", _)
        | ("sent" | "deliveries" | "connects", "rate")
        | ("connections", "peak" | "at-end") => Some(Unit::Plain),
        ("client", "cpu" | "late") | ("hub", "cpu") => Some(Unit::Part),
        ("hub", "memory") => Some(Unit::Bytes),
        _ => None,
    }
}

fn value(name: &str, report: &Report) -> Option<f64> {
    let (first, rest) = name.split_once('.').unwrap_or((name, ""));
    let counted = |map: &std::collections::BTreeMap<String, u64>| match rest {
        "" => float(map.values().sum()),
        code => float(map.get(code).copied().unwrap_or(0)),
    };
    Some(match (first, rest) {
        ("errors", _) => counted(&report.errors),
        ("closes", _) => counted(&report.closes),
        ("broken", "") => float(report.breaches()),
        ("broken", promise) => float(report.broken.get(promise).map_or(0, |broken| broken.count)),
        ("sent", _) => report.rates.sent,
        ("deliveries", _) => report.rates.deliveries,
        ("connects", _) => report.rates.connects,
        ("connections", "peak") => float(report.connections.peak as u64),
        ("connections", _) => float(report.connections.at_end as u64),
        ("client", "cpu") => report.client.cpu?,
        ("client", _) => report.client.late,
        ("hub", "cpu") => report.hub?.cpu?,
        ("hub", _) => float(report.hub?.memory),
        _ => of_times(report.timings.get(first)?, rest)?,
    })
}

fn of_times(times: &Times, which: &str) -> Option<f64> {
    Some(match which {
        "count" => float(times.count),
        "p50" => times.p50,
        "p90" => times.p90,
        "p95" => times.p95,
        "p99" => times.p99,
        "p999" => times.p999,
        "max" => times.max,
        "mean" => times.mean,
        _ => return None,
    })
}

/// A number with its unit.
fn quantity(text: &str, unit: Unit) -> Result<f64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is no number"))?;
    match (unit, suffix.trim()) {
        (Unit::Milliseconds, "ms") | (Unit::Plain | Unit::Part, "") => Ok(number),
        (Unit::Milliseconds, "us" | "µs") => Ok(number / 1000.0),
        (Unit::Milliseconds, "s") | (Unit::Bytes, "KB" | "kB") => Ok(number * 1e3),
        (Unit::Part, "%") => Ok(number / 100.0),
        (Unit::Bytes, "MB") => Ok(number * 1e6),
        (Unit::Bytes, "GB") => Ok(number * 1e9),
        (Unit::Milliseconds, _) => Err(format!("{text:?} is no time, like 50ms or 1.5s")),
        (Unit::Part, _) => Err(format!("{text:?} is no part, like 85%")),
        (Unit::Bytes, _) => Err(format!("{text:?} is no size, like 200MB")),
        (Unit::Plain, _) => Err(format!("{text:?} is no plain number")),
    }
}

impl Compare {
    #[expect(clippy::float_cmp, reason = "counts are whole, and whoever compares times means it")]
    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
            Self::Equal => value == limit,
            Self::Different => value != limit,
            Self::AtLeast => value >= limit,
            Self::Above => value > limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn assertions_are_held_against_the_report() {
        for (text, held, found) in [
            ("chat.p50 < 51ms", true, "50.02 ms"),
            ("chat.p50<50000us", false, "50.02 ms"),
            ("chat.max<=0.2s", true, "100.03 ms"),
            ("chat.count==100", true, "100"),
            ("location.p99<50ms", false, "nothing was measured"),
            ("errors==0", false, "1"),
            ("errors.forbidden==0", true, "0"),
            ("errors.rate_limited!=0", true, "1"),
            ("closes.4008<=1", true, "1"),
            ("broken==0", false, "1"),
            ("broken.chat-seen==0", true, "0"),
            ("deliveries.rate>=30", true, "30"),
            ("connections.peak>2", true, "3"),
            ("client.cpu<50%", false, "50.0 %"),
            ("client.cpu<=0.5", true, "50.0 %"),
            ("hub.cpu<20%", false, "25.0 %"),
            ("hub.memory<=50MB", true, "50.0 MB"),
        ] {
            let verdict = Assertion::read(text).expect(text).judge(&sample());
            assert_eq!((verdict.held, &*verdict.found), (held, found), "{text}");
        }
    }

    #[test]
    fn an_invalid_assertion_is_refused_with_the_allowed_ones() {
        for (text, part) in [
            ("chat.p99", "it must compare"),
            ("chats.p99<5ms", "chats.p99 is not measured; there are connect"),
            ("chat.p98<5ms", "chat.p98 is not measured"),
            ("chat.p99<5", "\"5\" is no time"),
            ("chat.p99<soon", "\"soon\" is no number"),
            ("errors<5ms", "\"5ms\" is no plain number"),
            ("client.cpu<5ms", "is no part"),
            ("hub.memory<5", "\"5\" is no size"),
            ("hub.disk<5", "hub.disk is not measured"),
            ("tracking", "a scenario comes before --assert"),
            ("", "it must compare"),
        ] {
            let error = Assertion::read(text).expect_err(text);
            assert!(error.contains(part), "{error}");
        }
    }
}
