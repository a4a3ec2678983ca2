//! Values of a scenario. Each is checked where it is read, so that an error names the line.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The highest rate, per second and connection.
const MAX_RATE: f64 = 100_000.0;
/// The most connections of one run.
pub const MAX_PEOPLE: u32 = 1_000_000;
/// The longest time span.
const MAX_SPAN: Duration = Duration::from_secs(7 * 86_400);

/// A time span, written as `250ms`, `30s` or `2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeSpan(pub Duration);

/// How often something happens: times per second, for each connection. 0 is never.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Deserialize, Serialize)]
#[serde(try_from = "f64")]
pub struct Rate(pub f64);

/// A number of rooms or members, 1 to a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "i64")]
pub struct Count(pub u32);

/// How many members of a role each room has, 0 to a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "i64")]
pub struct HeadCount(pub u32);

/// How many messages a sender keeps in flight, 1 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "i64")]
pub struct SendWindow(pub u32);

/// Characters of a chat message, 1 to 4000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "i64")]
pub struct Characters(pub usize);

impl TryFrom<String> for TimeSpan {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TimeSpan> for String {
    fn from(span: TimeSpan) -> Self {
        humantime::format_duration(span.0).to_string()
    }
}

impl std::str::FromStr for TimeSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = humantime::parse_duration(text).ok().filter(|span| *span <= MAX_SPAN);
        read.map(Self).ok_or_else(|| {
            format!("{text:?} is no time span, it must be up to a week, like 250ms, 30s or 2h")
        })
    }
}

impl TryFrom<f64> for Rate {
    type Error = String;

    fn try_from(rate: f64) -> Result<Self, String> {
        if (0.0..=MAX_RATE).contains(&rate) {
            return Ok(Self(rate));
        }
        Err(format!("{rate} is no rate, it must be 0 to {MAX_RATE} a second"))
    }
}

/// Takes a whole number within bounds.
fn within(number: i64, bounds: RangeInclusive<u32>, what: &str) -> Result<u32, String> {
    let read = u32::try_from(number).ok().filter(|read| bounds.contains(read));
    let (least, most) = bounds.into_inner();
    read.ok_or_else(|| format!("{number} is no {what}, it must be {least} to {most}"))
}

impl TryFrom<i64> for Count {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        within(number, 1..=MAX_PEOPLE, "count").map(Self)
    }
}

impl TryFrom<i64> for HeadCount {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        within(number, 0..=MAX_PEOPLE, "number of people").map(Self)
    }
}

impl TryFrom<i64> for SendWindow {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        within(number, 1..=1000, "number of messages in flight").map(Self)
    }
}

impl TryFrom<i64> for Characters {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        within(number, 1..=4000, "length of a message").map(|read| Self(read as usize))
    }
}

impl Default for Characters {
    fn default() -> Self {
        Self(40)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_refused_with_what_is_allowed() {
        assert_eq!("250ms".parse(), Ok(TimeSpan(Duration::from_millis(250))));
        assert!("8days".parse::<TimeSpan>().is_err_and(|error| error.contains("up to a week")));
        assert!("soon".parse::<TimeSpan>().is_err());
        assert_eq!(Rate::try_from(0.5), Ok(Rate(0.5)));
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(Rate::try_from(bad).is_err(), "{bad}");
        }
        assert_eq!(Count::try_from(1), Ok(Count(1)));
        assert!(Count::try_from(0).is_err());
        assert_eq!(HeadCount::try_from(0), Ok(HeadCount(0)));
        assert!(HeadCount::try_from(-1).is_err());
        assert!(SendWindow::try_from(1001).is_err());
        assert!(Characters::try_from(4001).is_err());
    }
}
