//! Whole numbers as JSON brings them. JavaScript bridges, Java and PHP may write 7 as `7.0`, which is
//! the same number (RFC 8259, section 6), so that both count wherever a whole number is asked for.

use std::fmt;

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// The largest integer that every JSON implementation keeps exact.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// A whole number, 0 or above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeNumber(pub u64);

/// A text, or a whole number as its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextOrNumber(pub String);

/// The integer that a floating-point number stands for, where it is one that is exact.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "exact up to 2^53 - 1, and nothing above passes"
)]
pub fn integer(number: f64) -> Option<i64> {
    let is_exact = number.fract() == 0.0 && number.abs() <= MAX_SAFE_INTEGER as f64;
    is_exact.then_some(number as i64)
}

/// Reads a field that may be absent or null.
///
/// # Errors
/// Where it is anything else than a whole number.
pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Option::<WholeNumber>::deserialize(deserializer)?.map(|WholeNumber(number)| number))
}

/// Reads a text that may be absent or null, and may be written as a whole number.
///
/// # Errors
/// Where it is anything else.
pub fn optional_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    Ok(Option::<TextOrNumber>::deserialize(deserializer)?.map(|TextOrNumber(text)| text))
}

impl<'de> Deserialize<'de> for WholeNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(WholeNumberVisitor)
    }
}

impl<'de> Deserialize<'de> for TextOrNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumberVisitor)
    }
}

struct WholeNumberVisitor;

impl Visitor<'_> for WholeNumberVisitor {
    type Value = WholeNumber;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, 0 or above")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<WholeNumber, E> {
        Ok(WholeNumber(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<WholeNumber, E> {
        let whole = u64::try_from(number).map(WholeNumber);
        whole.map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<WholeNumber, E> {
        let whole = integer(number).and_then(|number| u64::try_from(number).ok()).map(WholeNumber);
        whole.ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }
}

struct TextOrNumberVisitor;

impl Visitor<'_> for TextOrNumberVisitor {
    type Value = TextOrNumber;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a whole number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TextOrNumber, E> {
        Ok(TextOrNumber(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<TextOrNumber, E> {
        Ok(TextOrNumber(text))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<TextOrNumber, E> {
        Ok(TextOrNumber(number.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<TextOrNumber, E> {
        Ok(TextOrNumber(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<TextOrNumber, E> {
        let whole = integer(number).map(|number| TextOrNumber(number.to_string()));
        whole.ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_double_without_a_fraction_is_a_whole_number() {
        let read = |text| serde_json::from_str(text).ok().map(|WholeNumber(number)| number);
        for (text, expected) in [
            ("7", Some(7)),
            ("7.0", Some(7)),
            ("7e0", Some(7)),
            ("-0.0", Some(0)),
            ("0.0", Some(0)),
            ("9007199254740991.0", Some(MAX_SAFE_INTEGER)),
            ("18446744073709551615", Some(u64::MAX)),
            ("9007199254740992.0", None),
            ("7.5", None),
            ("-7", None),
            ("-7.0", None),
            ("1e300", None),
            ("\"7\"", None),
            ("null", None),
            ("true", None),
            ("[7]", None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn a_number_becomes_the_text_of_its_integer() {
        let read = |text| serde_json::from_str(text).ok().map(|TextOrNumber(text)| text);
        for (text, expected) in [
            ("\"a\\u0062\"", Some("ab")),
            ("\"7.0\"", Some("7.0")),
            ("7", Some("7")),
            ("-7", Some("-7")),
            ("7.0", Some("7")),
            ("1767225600000.0", Some("1767225600000")),
            ("7.5", None),
            ("null", None),
            ("{}", None),
        ] {
            assert_eq!(read(text).as_deref(), expected, "{text}");
        }
    }
}
