//! The formats of a log line.

use std::io::{self, Write};

use log::kv::{self, Key, Value, VisitSource};
use log::{Level, Record};
use serde_json::{Map, json};

use protocol::time::Timestamp;

/// Fields that every line has; a key-value pair with the same name is renamed.
const OWN_FIELDS: &[&str] = &["ts", "level", "target", "msg"];

/// The target of lines about the log itself.
const LOG_TARGET: &str = "orderhub::log";

/// A line about dropped lines, as text.
pub(super) fn text_notice(dropped: u64) -> Vec<u8> {
    let text = notice_text(dropped);
    format!("[{} WARN  {}] {text}\n", Timestamp::now(), LOG_TARGET).into_bytes()
}

/// The same line as JSON.
pub(super) fn json_notice(dropped: u64) -> Vec<u8> {
    let text = notice_text(dropped);
    let mut line = Vec::new();
    // Writing to a vector cannot fail.
    let _ = write_json(
        &mut line,
        &Record::builder()
            .level(Level::Warn)
            .target(LOG_TARGET)
            .args(format_args!("{text}"))
            .build(),
        Timestamp::now(),
    );
    line
}

fn notice_text(dropped: u64) -> String {
    format!("{dropped} lines of this log were dropped: stderr did not take them in time")
}

/// One JSON object with the fields of the record.
pub(super) fn write_json(
    out: &mut impl Write,
    record: &Record<'_>,
    now: Timestamp,
) -> io::Result<()> {
    let mut fields = RecordFields(Map::new());
    fields.0.insert("ts".to_owned(), json!(now));
    fields.0.insert("level".to_owned(), json!(record.level().as_str().to_ascii_lowercase()));
    fields.0.insert("target".to_owned(), json!(record.target()));
    fields.0.insert("msg".to_owned(), json!(record.args().to_string()));
    // A field that cannot be written is left out, so that the line is not lost.
    let _ = record.key_values().visit(&mut fields);
    serde_json::to_writer(&mut *out, &fields.0)?;
    out.write_all(b"\n")
}

struct RecordFields(Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for RecordFields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let key = key.as_str();
        let key = if OWN_FIELDS.contains(&key) { format!("{key}_") } else { key.to_owned() };
        let value = if let Some(number) = value.to_u64() {
            json!(number)
        } else if let Some(number) = value.to_i64() {
            json!(number)
        } else if let Some(number) = value.to_f64() {
            json!(number)
        } else if let Some(truth) = value.to_bool() {
            json!(truth)
        } else {
            json!(value.to_string())
        };
        self.0.insert(key, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_has_the_message_and_the_pairs() {
        let pairs: &[(&str, Value<'_>)] = &[
            ("conns", Value::from(7_u64)),
            ("drift", Value::from(-1.5)),
            ("order", Value::from("o-1")),
            ("ready", Value::from(true)),
            ("msg", Value::from("theirs")),
        ];
        let mut out = Vec::new();
        let record = Record::builder()
            .level(log::Level::Warn)
            .target("orderhub::room")
            .args(format_args!("two\nlines and a \"quote\""))
            .key_values(&pairs)
            .build();
        write_json(&mut out, &record, Timestamp::from_millis(0)).expect("writes");
        let line = String::from_utf8(out).expect("UTF-8");
        assert_eq!(line.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let expected = json!({
            "ts": "1970-01-01T00:00:00.000Z",
            "level": "warn",
            "target": "orderhub::room",
            "msg": "two\nlines and a \"quote\"",
            "conns": 7, "drift": -1.5, "order": "o-1", "ready": true, "msg_": "theirs",
        });
        assert_eq!(read, expected);
    }
}
