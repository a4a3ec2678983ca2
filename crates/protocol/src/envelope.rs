//! The plain framing: one JSON text message per event, `{event, data, id?}`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::Failure;
use super::json::{self, MAX_DEPTH, nests_deeper_than};
use super::lenient::{without_mark, without_nan};
use super::location_json;
use super::request::{Rejected, Request};
use crate::client::{ClientEventName, Reply};
use crate::json_number::{self, MAX_SAFE_INTEGER};
use crate::server::ServerEvent;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "ack_id")]
    id: Option<u64>,
}

/// Reads one message.
///
/// # Errors
/// [`Rejected`] with `bad_envelope`, `unknown_event` or `invalid_payload`.
pub fn decode(text: &str) -> Result<Request, Rejected> {
    if let Some(request) = location_json::read_message(text) {
        return Ok(request);
    }
    let text = without_mark(text);
    if nests_deeper_than(text, MAX_DEPTH) {
        return Err(Rejected::bad_envelope(None, "nested over 64 levels deep"));
    }
    // Serde would accept an array for a struct, field by field.
    if !text.trim_start_matches([' ', '\n', '\r', '\t']).starts_with('{') {
        return Err(Rejected::bad_envelope(None, "must be a JSON object {event, data, id?}"));
    }
    match serde_json::from_str::<Envelope<'_>>(text) {
        Ok(envelope) => Request::read(&envelope.event, envelope.data, envelope.id),
        Err(error) => location_with_nan(text).unwrap_or_else(|| Err(unreadable(&error))),
    }
}

/// Reads a position in which numbers are `NaN`. None if the message is wrong for another reason.
fn location_with_nan(text: &str) -> Option<Result<Request, Rejected>> {
    let name = ClientEventName::Location.as_str();
    let text = text.contains(name).then(|| without_nan(text)).flatten()?;
    let envelope: Envelope<'_> = serde_json::from_str(&text).ok()?;
    (envelope.event == name).then(|| Request::read(name, envelope.data, envelope.id))
}

/// Writes an event of the hub.
pub fn encode_event(event: &ServerEvent<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"event\":\"");
    out.extend_from_slice(event.name().as_bytes());
    out.extend_from_slice(b"\",\"data\":");
    event.write(out);
    out.push(b'}');
}

/// Writes the reply to an event that carried `id`.
pub fn encode_ack(id: u64, result: &Result<Reply<'_>, Failure>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"event\":\"ack\",\"id\":");
    json::write(&id, out);
    out.extend_from_slice(b",\"data\":");
    json::write_result(result, out);
    out.push(b'}');
}

fn unreadable(error: &serde_json::Error) -> Rejected {
    let message = error.to_string();
    let doubled = message
        .strip_prefix("duplicate field `")
        .and_then(|rest| rest.split('`').next())
        .map(ToOwned::to_owned);
    match doubled {
        Some(field) => {
            Rejected { failure: Failure::invalid(field, "duplicate field"), event: None, ack: None }
        }
        None => Rejected::bad_envelope(None, message),
    }
}

fn ack_id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let id = json_number::optional(deserializer)?;
    if id.is_some_and(|id| id > MAX_SAFE_INTEGER) {
        return Err(serde::de::Error::custom("id must be an integer, 0 to 2^53 - 1"));
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientEvent;
    use crate::error::ErrorCode;
    use crate::events::Done;
    use crate::events::chat::Stored;
    use crate::events::location::Target;

    fn rejected(text: &str) -> (ErrorCode, Option<String>) {
        let rejected = decode(text).expect_err(text);
        (rejected.failure.code, rejected.failure.field.map(Cow::into_owned))
    }

    fn refused(event: &str, data: &str) -> (ErrorCode, Option<String>) {
        rejected(&format!("{{\"event\":\"{event}\",\"data\":{data}}}"))
    }

    #[test]
    fn a_location_is_read_with_its_ack_id() {
        let text = r#"{"event":"driver:location","id":7,"data":
            {"orderId":12,"lat":48.2,"lng":16.37,"heading":-1,"new":{"a":[]}}}"#;
        let request = decode(text).expect("a location");
        assert_eq!(request.ack, Some(7));
        let ClientEvent::Location(location) = request.event else { panic!("{request:?}") };
        assert_eq!(location.target, Target::One("12".parse().expect("id")));
        assert_eq!((location.fix.lat, location.fix.heading), (48.2, None));
    }

    #[test]
    fn an_invalid_envelope_is_refused() {
        let deep = format!("{{\"event\":\"ping\",\"data\":{}1{}}}", "[".repeat(64), "]".repeat(64));
        let deeper = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
        for text in [
            "",
            "hello",
            "[]",
            "[\"ping\",1,2]",
            "{\"data\":{}}",
            "{\"event\":7}",
            "{\"event\":\"ping\",\"data\":NaN}",
            "{\"event\":\"ping\",\"id\":-1}",
            "{\"event\":\"ping\",\"id\":1.5}",
            "{\"event\":\"ping\",\"id\":\"1\"}",
            "{\"event\":\"ping\",\"id\":9007199254740992}",
            "{\"event\":\"ping\"} x",
            &deep,
            &deeper,
        ] {
            assert_eq!(rejected(text).0, ErrorCode::BadEnvelope, "{text}");
        }
        assert!(decode("{\"event\":\"ping\",\"id\":9007199254740991}").is_ok());
        let allowed =
            format!("{{\"event\":\"ping\",\"data\":{}{}}}", "[".repeat(63), "]".repeat(63));
        assert!(decode(&allowed).is_ok());
        let quoted = format!("{{\"event\":\"ping\",\"data\":\"{}\\\"{{\"}}", "[".repeat(100));
        assert!(decode(&quoted).is_ok());
    }

    #[test]
    fn an_unknown_event_is_named_and_cut() {
        let rejected = decode("{\"event\":\"order:eat\",\"id\":3}").expect_err("unknown");
        assert_eq!(rejected.failure.code, ErrorCode::UnknownEvent);
        assert_eq!((rejected.event.as_deref(), rejected.ack), (Some("order:eat"), Some(3)));
        let long = format!("{{\"event\":\"{}\"}}", "é".repeat(100));
        let name = decode(&long).expect_err("unknown").event.expect("named");
        assert_eq!(name.chars().count(), 65);
    }

    #[test]
    fn the_field_that_is_wrong_is_named() {
        let long_id = format!("{{\"orderId\":\"{}\"}}", "x".repeat(129));
        for (event, data, field) in [
            ("order:join", "[\"o1\"]", "data"),
            ("order:join", "\"o1\"", "data"),
            ("order:join", "{}", "orderId"),
            ("order:join", "{\"orderId\":\"\"}", "orderId"),
            ("order:join", "{\"orderId\":\"a\\u0000\"}", "orderId"),
            ("order:join", &long_id, "orderId"),
            ("order:join", "{\"orderId\":\"a\",\"limit\":201}", "limit"),
            ("order:join", "{\"orderId\":\"a\",\"sinceSeq\":-1}", "sinceSeq"),
            ("order:join", "{\"orderId\":\"a\",\"orderId\":\"b\"}", "orderId"),
            ("driver:location", "{\"orderId\":\"a\",\"lng\":1}", "lat"),
            ("driver:location", "{\"orderId\":\"a\",\"lat\":\"1\",\"lng\":1}", "lat"),
            ("driver:location", "{\"orderId\":\"a\",\"lat\":1e999,\"lng\":1}", "lat"),
            ("driver:location", "{\"orderId\":\"a\",\"lat\":90.1,\"lng\":1}", "lat"),
            ("driver:location", "{\"orderId\":\"a\",\"lat\":1,\"lng\":-181}", "lng"),
            ("driver:location", "{\"orderId\":\"a\",\"lat\":1,\"lat\":2,\"lng\":1}", "lat"),
            ("driver:location", "{\"orderIds\":[],\"lat\":1,\"lng\":1}", "orderIds"),
            ("driver:location", "{\"orderIds\":[\"a\",\" \"],\"lat\":1,\"lng\":1}", "orderIds[1]"),
            ("driver:location", "{\"orderId\":\"a\",\"lat\":NaN,\"lng\":1}", "lat"),
            ("driver:location", "{\"orderId\":\"a\",\"lat\":1,\"lng\":Infinity}", "lng"),
            ("driver:location", "{\"lat\":0,\"lng\":0}", "lat"),
            ("driver:location", "{\"lat\":0.0,\"lng\":-0.0,\"accuracy\":0}", "lat"),
            ("chat:message", "{\"orderId\":\"a\"}", "content"),
            ("chat:message", "{\"orderId\":\"a\",\"content\":\" \\n\"}", "content"),
            ("chat:message", "{\"orderId\":\"a\",\"content\":\"x\\u0000\"}", "content"),
            ("chat:message", "{\"orderId\":\"a\",\"content\":\"x\",\"type\":\"SYSTEM\"}", "type"),
            ("chat:message", "{\"orderId\":\"a\",\"content\":\"x\",\"type\":\"AUDIO\"}", "type"),
            (
                "chat:message",
                "{\"orderId\":\"a\",\"content\":\"x\",\"clientMsgId\":\"\"}",
                "clientMsgId",
            ),
            ("chat:history", "{\"orderId\":\"a\",\"beforeSeq\":1,\"afterSeq\":1}", "afterSeq"),
            ("chat:history", "{\"orderId\":\"a\",\"limit\":0}", "limit"),
            ("auth:refresh", "{}", "token"),
        ] {
            let expected = (ErrorCode::InvalidPayload, Some(field.to_owned()));
            assert_eq!(refused(event, data), expected, "{event} {data}");
        }
        assert_eq!(
            rejected("{\"event\":\"ping\",\"event\":\"ping\"}"),
            (ErrorCode::InvalidPayload, Some("event".to_owned()))
        );
    }

    #[test]
    fn invalid_fields_beside_the_coordinates_of_a_location_are_left_out() {
        let read = |text: &str| {
            let ClientEvent::Location(location) = decode(text).expect(text).event else {
                panic!("{text}")
            };
            location
        };
        let bare = read(r#"{"event":"driver:location","data":{"lat":1,"lng":2}}"#);
        for field in [
            r#""battery":87"#,
            r#""heading":361"#,
            r#""heading":NaN"#,
            r#""speed":-Infinity,"altitude":nan"#,
            r#""accuracy":"good","battery":null"#,
            r#""recordedAt":"noon""#,
            r#""recordedAt":"2026-11-22 20:18""#,
        ] {
            let text =
                format!(r#"{{"event":"driver:location","data":{{"lat":1,"lng":2,{field}}}}}"#);
            assert_eq!(read(&text), bare, "{text}");
            assert_eq!(read(&format!("\u{feff}{text}")), bare, "with a byte-order mark");
        }
        let ack = r#"{"event":"driver:location","data":{"lat":1,"lng":2,"speed":NaN},"id":7}"#;
        assert_eq!(decode(ack).map(|request| request.ack), Ok(Some(7)));
        let other = r#"{"event":"ping","data":{"driver:location":NaN}}"#;
        assert_eq!(rejected(other).0, ErrorCode::BadEnvelope, "no other event");
    }

    #[test]
    fn an_id_of_null_is_absent_and_a_whole_double_is_a_whole_number() {
        let ack = |id: &str| {
            decode(&format!("{{\"event\":\"ping\",\"id\":{id}}}")).map(|request| request.ack)
        };
        assert_eq!(ack("null"), Ok(None));
        assert_eq!(ack("7.0"), Ok(Some(7)));
        assert!(ack("7.5").is_err() && ack("-1").is_err() && ack("\"7\"").is_err());
        let read = |text: &str| decode(text).expect(text).event;
        let text = r#"{"event":"order:join","data":{"orderId":12.0,"sinceSeq":3.0,"limit":10.0}}"#;
        let ClientEvent::Join(join) = read(text) else { panic!("{text}") };
        assert_eq!((join.order_id.as_str(), join.since_seq, join.limit), ("12", Some(3), 10));
        let text = r#"{"event":"order:join","data":{"orderId":"1","sinceSeq":null,"limit":null}}"#;
        let ClientEvent::Join(join) = read(text) else { panic!("{text}") };
        assert_eq!((join.since_seq, join.limit), (None, 50));
        for (key, expected) in
            [("1767225600000", Some("1767225600000")), ("7.0", Some("7")), ("null", None)]
        {
            let data = format!(r#"{{"orderId":"1","content":"x","clientMsgId":{key}}}"#);
            let text = format!(r#"{{"event":"chat:message","data":{data}}}"#);
            let ClientEvent::Chat(chat) = read(&text) else { panic!("{text}") };
            assert_eq!(chat.client_msg_id.as_deref(), expected);
        }
    }

    #[test]
    fn content_is_counted_in_characters() {
        let chat = |content: String, kind: &str| {
            let data = serde_json::json!({"orderId": "a", "content": content, "type": kind});
            decode(&serde_json::json!({"event": "chat:message", "data": data}).to_string()).is_ok()
        };
        assert!(chat("ä".repeat(4000), "TEXT"));
        assert!(!chat("ä".repeat(4001), "TEXT"));
        assert!(!chat("\u{1F69A}".repeat(4000) + "ä", "TEXT"));
        for good in ["https://cdn.example/x.png", "HTTPS://a/b", "uploads/42.jpg", "42"] {
            assert!(chat(good.to_owned(), "IMAGE"), "{good}");
        }
        for bad in
            ["", "http://a/b", "javascript:alert(1)", "data:x", "https://", "a b", "//evil/x"]
        {
            assert!(!chat(bad.to_owned(), "IMAGE"), "{bad}");
        }
        assert!(!chat("k".repeat(2049), "IMAGE"));
    }

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn replies_stand_beside_ok() {
        let stored = Ok(Reply::Chat(Stored {
            id: "m1",
            seq: 4,
            created_at: crate::time::Timestamp::from_millis(0),
            duplicate: false,
        }));
        assert_eq!(
            text(|out| encode_ack(9, &stored, out)),
            "{\"event\":\"ack\",\"id\":9,\"data\":{\"ok\":true,\"id\":\"m1\",\"seq\":4,\
             \"createdAt\":\"1970-01-01T00:00:00.000Z\"}}"
        );
        let pong = text(|out| encode_ack(0, &Ok(Reply::Ping(Done {})), out));
        assert_eq!(pong, "{\"event\":\"ack\",\"id\":0,\"data\":{\"ok\":true}}");
        let failed = Err(Failure::invalid("lat", "must be a number"));
        assert_eq!(
            text(|out| encode_ack(1, &failed, out)),
            "{\"event\":\"ack\",\"id\":1,\"data\":{\"ok\":false,\"error\":{\"code\":\
             \"invalid_payload\",\"message\":\"must be a number\",\"field\":\"lat\"}}}"
        );
    }

    #[test]
    fn an_exception_has_the_form_of_a_nestjs_gateway() {
        use crate::events::exception::Exception;
        let failure = Failure::forbidden();
        let event = ServerEvent::Exception(Exception::new(&failure, Some("order:join")));
        assert_eq!(
            text(|out| encode_event(&event, out)),
            "{\"event\":\"exception\",\"data\":{\"status\":\"error\",\"code\":\"forbidden\",\
             \"message\":\"no right to this order\",\"event\":\"order:join\",\
             \"cause\":{\"pattern\":\"order:join\"}}}"
        );
    }
}
