//! Tolerates mistakes of phones that leave a position usable: a byte-order mark, `NaN` for a
//! number, and other fields than the coordinates that are not numbers or times.
//!
//! It does not slow down valid messages: it runs only after the strict reader has failed, or for
//! fields other than the coordinates.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::Failure;
use super::json::{WHITESPACE, read_object};
use crate::time::Timestamp;

/// U+FEFF, which some editors and languages write before a text. A reader may ignore it (RFC 8259,
/// section 8.1).
const BYTE_ORDER_MARK: char = '\u{feff}';
/// What languages write for a value that is not a number, without its sign and in lower case:
/// JavaScript, Java and Python `NaN` and `Infinity`, C `nan` and `inf`.
const NO_NUMBERS: [&str; 3] = ["nan", "inf", "infinity"];

/// A text without the byte-order mark before it.
pub fn without_mark(text: &str) -> &str {
    text.trim_start_matches(WHITESPACE).strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// The JSON text with `null` for each `NaN`, `Infinity` and the like, and for numbers out of range.
/// None if there are none.
pub fn without_nan(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut quoted, mut escaped, mut before) = (false, false, b' ');
    let (mut out, mut copied, mut place) = (String::new(), 0, 0);
    while let Some(byte) = bytes.get(place).copied() {
        let begins_value = !quoted && matches!(before, b':' | b',' | b'[');
        if let Some(length) = begins_value.then(|| no_number(&text[place..])).flatten() {
            out.push_str(&text[copied..place]);
            out.push_str("null");
            place += length;
            copied = place;
            before = b'l';
            continue;
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            before = byte;
        }
        place += 1;
        // `text` is cut at `place` next, which must be a character boundary.
        while !text.is_char_boundary(place) {
            place += 1;
        }
    }
    (copied > 0).then(|| {
        out.push_str(&text[copied..]);
        out
    })
}

/// The length of the word at the start of a text, if it is not a number or out of range.
fn no_number(text: &str) -> Option<usize> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let length = text.bytes().take_while(is_part).count();
    let word = text.get(..length)?;
    let unsigned = word.strip_prefix(['-', '+']).unwrap_or(word);
    let is_name = NO_NUMBERS.iter().any(|name| unsigned.eq_ignore_ascii_case(name));
    let is_infinite = || {
        unsigned.starts_with(|first: char| first.is_ascii_digit())
            && word.parse().is_ok_and(|number: f64| number.is_infinite())
    };
    (is_name || is_infinite()).then_some(length)
}

/// Reads an object of a position. If that fails, reads it again with `null` for values that are not
/// numbers, because one number out of range fails the whole object.
///
/// # Errors
/// As [`read_object`].
pub(super) fn object<T: DeserializeOwned>(text: &str, whole: &'static str) -> Result<T, Failure> {
    read_object(text, whole).or_else(|failure| {
        let text = without_nan(text).ok_or(failure)?;
        read_object(&text, whole)
    })
}

/// A value, if a position can use it.
enum Scalar<'a> {
    Number(f64),
    Text(Cow<'a, str>),
    Other,
}

/// Reads an optional number of a position; none if it is anything else.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(match deserializer.deserialize_any(ScalarVisitor)? {
        Scalar::Number(number) => Some(number),
        Scalar::Text(_) | Scalar::Other => None,
    })
}

/// Reads a time, as text (RFC 3339) or as a number (seconds or milliseconds since 1970); none if it
/// is anything else.
pub(super) fn time<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    Ok(match deserializer.deserialize_any(ScalarVisitor)? {
        Scalar::Number(number) => Timestamp::from_unix(number),
        Scalar::Text(text) => time_of(&text),
        Scalar::Other => None,
    })
}

/// Reads an optional object of a position; none if it is anything else.
pub(super) fn value<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok().flatten())
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(number))
    }

    #[expect(clippy::cast_precision_loss, reason = "positions and times are exact enough")]
    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(number as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "positions and times are exact enough")]
    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

/// The time in a text.
pub fn time_of(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    text.parse().ok().or_else(|| Timestamp::from_unix(text.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_skipped_only_at_the_beginning() {
        for (text, expected) in [
            ("\u{feff}{}", "{}"),
            (" \n\u{feff}{}", "{}"),
            ("{}", "{}"),
            (" {}", " {}"),
            ("", ""),
            ("\u{feff}", ""),
            ("{\u{feff}}", "{\u{feff}}"),
        ] {
            assert_eq!(without_mark(text), expected, "{text:?}");
        }
    }

    #[test]
    fn nan_and_infinity_are_null_where_a_value_stands() {
        for (text, expected) in [
            (r#"{"a":NaN}"#, Some(r#"{"a":null}"#)),
            ("[ NaN , nan,-Infinity,+inf, -NAN]", Some("[ null , null,null,null, null]")),
            (r#"{"ä":"NaN,NaN","b": Infinity}"#, Some(r#"{"ä":"NaN,NaN","b": null}"#)),
            (r#"{"a\":NaN":1,"b":NaN}"#, Some(r#"{"a\":NaN":1,"b":null}"#)),
            (r#"{"a":1}"#, None),
            (r#"{"a":NaNo}"#, None),
            (r#"{"a":1NaN}"#, None),
            (r#"{"a":1e999,"b":[-1.5E+400, 1e308]}"#, Some(r#"{"a":null,"b":[null, 1e308]}"#)),
            (r#"{"a":NaN.5,"b":--inf}"#, None),
            ("NaN", None),
            ("NaN:", None),
            ("[\u{1f697}NaN", None),
            ("", None),
        ] {
            assert_eq!(without_nan(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_time_is_text_or_a_number_of_either_unit() {
        let at = |text: &str| time_of(text).map(Timestamp::as_millis);
        assert_eq!(at("2026-11-22T20:18:20.261Z"), Some(1_795_378_700_261));
        assert_eq!(at("2015-10-01T08:00:00-0700"), Some(1_443_711_600_000));
        assert_eq!(at("1795378700"), Some(1_795_378_700_000));
        assert_eq!(at(" 1795378700261.4 "), Some(1_795_378_700_261));
        for text in ["", "noon", "2026-11-22T20:18:20", "NaN", "inf", "1e400", "null", "true"] {
            assert_eq!(at(text), None, "{text}");
        }
    }
}
