//! JSON for both framings: the limit of nesting, and how values and results are written.

use serde::{Deserialize, Serialize};

use super::error::{ErrorCode, Failure};
use crate::client::Reply;

/// The deepest nesting of a message.
pub const MAX_DEPTH: usize = 64;
/// The characters that JSON treats as blank (RFC 8259, section 2).
pub const WHITESPACE: [char; 4] = [' ', '\n', '\r', '\t'];

/// Whether brackets nest deeper than `most`. `RawValue` skips unread values without counting their
/// depth, so this counts. Nearly every message has too few brackets in all, which is faster to
/// check than how they nest.
pub fn nests_deeper_than(text: &str, most: usize) -> bool {
    let opening = text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count();
    opening > most && exceeds_depth(text, most)
}

fn exceeds_depth(text: &str, most: usize) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Reads an object; `whole` is the field to report if it is not an object. The first reader does
/// not know where it failed, so after a failure a second one reads again to find out.
///
/// # Errors
/// `invalid_payload` with the field that is missing, mistyped or unknown.
pub fn read_object<'de, T: Deserialize<'de>>(
    text: &'de str,
    whole: &'static str,
) -> Result<T, Failure> {
    // Serde would accept an array for a struct, field by field.
    if !text.trim_start_matches(WHITESPACE).starts_with('{') {
        return Err(Failure::invalid(whole, "must be an object"));
    }
    serde_json::from_str(text).or_else(|_| {
        let reader = &mut serde_json::Deserializer::from_str(text);
        let read = serde_path_to_error::deserialize(&mut *reader).map_err(|error| {
            let path = error.path().to_string();
            let message = error.into_inner().to_string();
            invalid_field(path, &message, whole)
        })?;
        // The text after the object is invalid.
        let end = reader.end().map_err(|error| Failure::invalid(whole, error.to_string()));
        end.map(|()| read)
    })
}

fn invalid_field(path: String, message: &str, whole: &'static str) -> Failure {
    let message = message.split(" at line ").next().unwrap_or_default().to_owned();
    let named = ["missing field `", "duplicate field `"]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix)?.strip_suffix('`'));
    let field = match named {
        Some(name) if path == "." => name.to_owned(),
        _ if path == "." => whole.to_owned(),
        _ => path,
    };
    Failure { field: Some(field.into()), ..Failure::new(ErrorCode::InvalidPayload, message) }
}

/// Writes a value.
pub fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    let start = out.len();
    if let Err(error) = serde_json::to_writer(&mut *out, value) {
        // Only a bug in one of our `Serialize` implementations leads here; the client still gets
        // valid JSON.
        log::error!("cannot encode an event: {error}");
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

/// Writes `{"ok": true, …}` or `{"ok": false, "error": {…}}`.
pub fn write_result(result: &Result<Reply<'_>, Failure>, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Done<'a> {
        ok: bool,
        #[serde(flatten)]
        reply: &'a Reply<'a>,
    }
    #[derive(Serialize)]
    struct Failed<'a> {
        ok: bool,
        error: &'a Failure,
    }
    match result {
        Ok(reply) => write(&Done { ok: true, reply }, out),
        Err(error) => write(&Failed { ok: false, error }, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_where_they_nest_and_not_in_strings() {
        for (text, deeper) in [
            ("", false),
            ("[[]]", false),
            ("[[[]]]", true),
            ("[[],[],[]]", false),
            ("[{\"a\":{}}]", true),
            ("[\"[[[[\"]", false),
            ("[\"\\\"[[[\"]", false),
            ("[\"\\\\\",[[]]]", true),
            ("]]]][[", false),
        ] {
            assert_eq!(nests_deeper_than(text, 2), deeper, "{text}");
        }
    }
}
