//! How fields that several events share are read.

use serde::{Deserialize, Deserializer, de};

use super::history::{DEFAULT_PAGE, MAX_PAGE};
use crate::error::Failure;
use crate::json_number::{self, MAX_SAFE_INTEGER};

/// A message number that may have any value.
///
/// # Errors
/// `invalid_payload` if it is beyond [`MAX_SAFE_INTEGER`].
pub fn checked_seq(seq: u64, field: &'static str) -> Result<i64, Failure> {
    let exact = Some(seq).filter(|seq| *seq <= MAX_SAFE_INTEGER);
    exact
        .and_then(|seq| i64::try_from(seq).ok())
        .ok_or_else(|| Failure::invalid(field, "must be 0 to 2^53 - 1"))
}

pub(super) fn default_page() -> i64 {
    DEFAULT_PAGE
}

pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

pub(super) fn seq<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    bounded(deserializer, MAX_SAFE_INTEGER, "a seq, 0 to 2^53 - 1")
}

pub(super) fn required_seq<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    seq(deserializer)?
        .ok_or_else(|| de::Error::invalid_type(de::Unexpected::Unit, &"a seq, 0 to 2^53 - 1"))
}

pub(super) fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    bounded(deserializer, MAX_PAGE.unsigned_abs(), "a limit, 0 to 200")
        .map(|limit| limit.unwrap_or(DEFAULT_PAGE))
}

fn bounded<'de, D: Deserializer<'de>>(
    deserializer: D,
    most: u64,
    expected: &'static str,
) -> Result<Option<i64>, D::Error> {
    match json_number::optional(deserializer)? {
        Some(number) if number > most => {
            Err(de::Error::invalid_value(de::Unexpected::Unsigned(number), &expected))
        }
        number => Ok(number.and_then(|number| i64::try_from(number).ok())),
    }
}
