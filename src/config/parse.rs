//! Parsers of single values. Each error completes the sentence "it must be …".

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use protocol::order::is_status;

/// A whole number between two bounds, both included.
pub(super) fn integer<T>(min: T, max: T) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Copy,
{
    move |text| {
        let read = text.parse().ok().filter(|number| (min..=max).contains(number));
        read.ok_or_else(|| format!("a whole number from {min} to {max}"))
    }
}

/// Whole milliseconds between two bounds, both included.
pub(super) fn millis(min: u64, max: u64) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    let number = integer(min, max);
    move |text| number(text).map(Duration::from_millis).map_err(|range| range + " (milliseconds)")
}

/// Whole seconds between two bounds, both included.
pub(super) fn secs(min: u64, max: u64) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    let number = integer(min, max);
    move |text| number(text).map(Duration::from_secs).map_err(|range| range + " (seconds)")
}

/// Whole hours between two bounds, both included.
pub(super) fn hours(min: u64, max: u64) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    let number = integer(min, max);
    move |text| {
        let seconds = number(text).map(|hours| hours * 3600);
        seconds.map(Duration::from_secs).map_err(|range| range + " (hours)")
    }
}

/// `true` or `false`.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "true or false".to_owned())
}

/// An address to listen on. Names are not resolved: the address decides whether the hub can be
/// reached from outside, so it must be given.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "an IP address and a port, like 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080".to_owned()
    })
}

/// Any non-empty text.
pub(super) fn text(text: &str) -> Result<String, String> {
    let said = !text.trim().is_empty();
    said.then(|| text.to_owned()).ok_or_else(|| "a text that is not empty (or unset)".to_owned())
}

/// A non-empty path.
pub(super) fn path(text: &str) -> Result<std::path::PathBuf, String> {
    let said = !text.is_empty();
    said.then(|| text.into()).ok_or_else(|| "a path that is not empty (or unset)".to_owned())
}

/// Words, separated by commas.
pub(super) fn list(text: &str) -> Result<BTreeSet<String>, String> {
    let list: BTreeSet<_> = text.split(',').map(|word| word.trim().to_owned()).collect();
    let good = !list.contains("");
    good.then_some(list).ok_or_else(|| "words with commas between them".to_owned())
}

/// Statuses of orders, separated by commas.
pub(super) fn statuses(text: &str) -> Result<BTreeSet<String>, String> {
    let statuses = list(text).ok().filter(|all| all.iter().all(|status| is_status(status)));
    let form = "words of up to 40 of A-Z, 0-9 and _ with commas between them (or unset)";
    statuses.ok_or_else(|| form.to_owned())
}
