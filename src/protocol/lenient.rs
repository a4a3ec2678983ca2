//! What phones get wrong in a position without making it useless: a byte-order mark, `NaN` for a
//! number, and fields beside the place that are no numbers and no times.
//!
//! None of it stands in the way of a message that is right: this is asked only where the strict reader
//! has failed, or per field that is not the place itself.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::json::BLANK;
use crate::time::Timestamp;

/// U+FEFF, which some editors and languages write before a text. A reader may ignore it (RFC 8259,
/// section 8.1).
const BYTE_ORDER_MARK: char = '\u{feff}';
/// What languages write for a number that is none, without its sign and in lower case: JavaScript,
/// Java and Python `NaN` and `Infinity`, C `nan` and `inf`.
const NO_NUMBERS: [&str; 3] = ["nan", "inf", "infinity"];

/// A text without the byte-order mark before it.
pub fn without_mark(text: &str) -> &str {
    text.trim_start_matches(BLANK).strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// A text of JSON in which `NaN`, `Infinity` and their kind are `null`, where they stand for a value.
/// None where there is no such word.
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
        // `text` is cut at `place` next, which must be where a character begins.
        while !text.is_char_boundary(place) {
            place += 1;
        }
    }
    (copied > 0).then(|| {
        out.push_str(&text[copied..]);
        out
    })
}

/// How long the word is that begins a text and is no number.
fn no_number(text: &str) -> Option<usize> {
    let sign = usize::from(text.starts_with(['-', '+']));
    let letters = text.bytes().skip(sign).take_while(u8::is_ascii_alphanumeric).count();
    let word = text.get(sign..sign + letters)?;
    NO_NUMBERS.iter().any(|name| word.eq_ignore_ascii_case(name)).then_some(sign + letters)
}

/// Reads a number that a position can do without: none where it is anything else.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    value(deserializer)
}

/// Reads what a position can do without: none where it is anything else.
pub(super) fn value<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    // What is skipped here is not looked at: a number may be out of range.
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok().flatten())
}

/// Reads a time, as text (RFC 3339) or as a number (seconds or milliseconds since 1970): none where
/// it is anything else.
pub(super) fn time<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    let text = serde_json::from_str::<String>(raw.get());
    Ok(time_of(text.as_deref().unwrap_or(raw.get())))
}

/// The time that a text says.
pub fn time_of(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    text.parse().ok().or_else(|| Timestamp::from_unix(text.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_only_at_the_beginning() {
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
    fn what_is_no_number_is_null_where_a_value_stands() {
        for (text, expected) in [
            (r#"{"a":NaN}"#, Some(r#"{"a":null}"#)),
            ("[ NaN , nan,-Infinity,+inf, -NAN]", Some("[ null , null,null,null, null]")),
            (r#"{"ä":"NaN,NaN","b": Infinity}"#, Some(r#"{"ä":"NaN,NaN","b": null}"#)),
            (r#"{"a\":NaN":1,"b":NaN}"#, Some(r#"{"a\":NaN":1,"b":null}"#)),
            (r#"{"a":1}"#, None),
            (r#"{"a":NaNo}"#, None),
            (r#"{"a":1NaN}"#, None),
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
