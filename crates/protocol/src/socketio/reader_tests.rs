//! Requests of clients, read from whole messages.

use super::*;
use crate::client::ClientEvent;
use crate::error::ErrorCode;
use crate::events::location::Target;

fn read(text: &str) -> Result<ClientPacket, Malformed> {
    PacketReader::new(64 * 1024).text(text)
}

fn event(text: &str) -> (Option<Namespace>, Result<Request, Rejected>) {
    match read(text).expect(text) {
        ClientPacket::Event { namespace, request } => (namespace, request),
        said => panic!("{text}: {said:?}"),
    }
}

/// Code, field, the event's name and the ack id of a refusal.
fn refusal(text: &str) -> (ErrorCode, Option<String>, Option<String>, Option<u64>) {
    let Rejected { failure, event, ack } = event(text).1.expect_err(text);
    (failure.code, failure.field.map(std::borrow::Cow::into_owned), event, ack)
}

#[test]
fn a_location_is_read_with_its_ack_id() {
    let text = r#"42/events,7["driver:location",{"orderId":12,"lat":48.2,"lng":16.37},"more"]"#;
    let (namespace, request) = event(text);
    assert_eq!(namespace, Some(Namespace::Events));
    let request = request.expect("an event");
    assert_eq!(request.ack, Some(7));
    let ClientEvent::Location(location) = request.event else { panic!("{request:?}") };
    assert_eq!(location.target, Target::One("12".parse().expect("id")));
    assert!((location.fix.lat - 48.2).abs() < f64::EPSILON);
}

#[test]
fn a_location_with_nan_and_a_byte_order_mark_are_read_and_nothing_else_is() {
    for text in [
        r#"42/events,7["driver:location",{"orderId":"o","lat":1,"lng":2,"heading":NaN}]"#,
        "\u{feff}427[\"driver:location\",{\"orderId\":\"o\",\"lat\":1,\"lng\":2,\"battery\":87}]",
    ] {
        let request = event(text).1.expect(text);
        assert_eq!(request.ack, Some(7));
        let ClientEvent::Location(location) = request.event else { panic!("{request:?}") };
        assert_eq!((location.fix.heading, location.fix.battery), (None, None), "{text}");
    }
    let lost = "425[\"driver:location\",{\"lat\":NaN,\"lng\":1}]";
    assert_eq!(refusal(lost).1.as_deref(), Some("lat"));
    for text in ["42[\"ping\",NaN]", "42[\"ping\",{\"driver:location\":NaN}]", "43[NaN]"] {
        assert_eq!(read(text).err(), Some(Malformed::Payload), "{text}");
    }
}

#[test]
fn a_ping_keeps_its_data() {
    for (text, data) in
        [("42[\"ping\"]", "null"), ("42[\"ping\",1.0,2]", "1.0"), ("450-[\"ping\",\"ä\"]", "\"ä\"")]
    {
        let (namespace, request) = event(text);
        let request = request.expect(text);
        let ClientEvent::Ping(echo) = request.event else { panic!("{request:?}") };
        assert_eq!((namespace, echo.0.get()), (Some(Namespace::Root), data), "{text}");
    }
}

#[test]
fn an_event_that_cannot_be_taken_is_refused_and_the_connection_stays() {
    let named = |name: &str| Some(name.to_owned());
    for (text, refused) in [
        ("42[]", (ErrorCode::BadEnvelope, None, None, None)),
        ("42/events,9[]", (ErrorCode::BadEnvelope, None, None, Some(9))),
        ("421[1]", (ErrorCode::BadEnvelope, None, None, Some(1))),
        ("42[{\"event\":\"ping\"}]", (ErrorCode::BadEnvelope, None, None, None)),
        ("42[\"\\ud800\"]", (ErrorCode::BadEnvelope, None, None, None)),
        ("423[\"order:eat\",{}]", (ErrorCode::UnknownEvent, None, named("order:eat"), Some(3))),
        ("42[\"\"]", (ErrorCode::UnknownEvent, None, named(""), None)),
        (
            "42[\"order:join\"]",
            (ErrorCode::InvalidPayload, named("data"), named("order:join"), None),
        ),
        (
            "42[\"order:join\",\"o1\"]",
            (ErrorCode::InvalidPayload, named("data"), named("order:join"), None),
        ),
        (
            "425[\"chat:message\",{\"orderId\":\"a\"}]",
            (ErrorCode::InvalidPayload, named("content"), named("chat:message"), Some(5)),
        ),
    ] {
        assert_eq!(refusal(text), refused, "{text}");
    }
    let long = format!("42[\"{}\"]", "é".repeat(100));
    assert_eq!(refusal(&long).2.map(|name| name.chars().count()), Some(65));
}

#[test]
fn an_event_with_attachments_is_refused_once_they_are_there() {
    let mut reader = PacketReader::new(1000);
    let text = "451-/events,4[\"chat:message\",{\"_placeholder\":true,\"num\":0}]";
    assert!(matches!(reader.text(text), Ok(ClientPacket::Nothing)));
    // Pongs are not Socket.IO packets, so they may come in between.
    assert!(matches!(reader.text("3"), Ok(ClientPacket::Pong)));
    let said = reader.binary(Bytes::from_static(&[1])).expect("awaited");
    let ClientPacket::Event { namespace, request } = said else { panic!("{said:?}") };
    let rejected = request.expect_err("binary");
    assert_eq!((namespace, rejected.ack), (Some(Namespace::Events), Some(4)));
    assert_eq!(rejected.event.as_deref(), Some("chat:message"));
    assert_eq!(rejected.failure, crate::error::Failure::invalid("data", "binary is not taken",));
    assert!(matches!(reader.text("42[\"ping\"]"), Ok(ClientPacket::Event { .. })));
}

#[test]
fn binary_acks_end_without_a_word() {
    let mut reader = PacketReader::new(1000);
    let text = "461-4[{\"_placeholder\":true,\"num\":0}]";
    assert!(matches!(reader.text(text), Ok(ClientPacket::Nothing)));
    assert!(matches!(reader.binary(Bytes::new()), Ok(ClientPacket::Nothing)));
    assert_eq!(reader.binary(Bytes::new()).err(), Some(Malformed::Unannounced));
}

#[test]
fn namespaces_are_entered_and_left() {
    for (text, name, token) in [
        ("40", Ok(Namespace::Root), None),
        ("40{\"token\":\"t\"}", Ok(Namespace::Root), Some("t")),
        ("40/events,{\"token\":\"Bearer t\"}", Ok(Namespace::Events), Some("Bearer t")),
        ("40/admin,", Err("/admin".to_owned()), None),
        ("40/events?token=x,{}", Err("/events?token=x".to_owned()), None),
    ] {
        let Ok(ClientPacket::Connect { namespace, auth }) = read(text) else { panic!("{text}") };
        assert_eq!((namespace, auth.token.as_deref()), (name, token), "{text}");
    }
    for (text, name) in
        [("41", Some(Namespace::Root)), ("41/events,", Some(Namespace::Events)), ("41/x", None)]
    {
        let Ok(ClientPacket::Disconnect { namespace }) = read(text) else { panic!("{text}") };
        assert_eq!(namespace, name, "{text}");
    }
    assert_eq!(event("42/x,[\"ping\"]").0, None);
}

#[test]
fn engine_io_packets_are_read_and_server_packets_are_malformed() {
    assert!(matches!(read("3"), Ok(ClientPacket::Pong)));
    assert!(matches!(read("3probe"), Ok(ClientPacket::Pong)));
    assert!(matches!(read("1"), Ok(ClientPacket::Close)));
    assert!(matches!(read("6"), Ok(ClientPacket::Nothing)));
    assert!(matches!(read("430[]"), Ok(ClientPacket::Nothing)));
    for (text, why) in [
        ("", Malformed::Engine),
        ("0{}", Malformed::Engine),
        ("2", Malformed::Engine),
        ("2probe", Malformed::Engine),
        ("5", Malformed::Engine),
        ("7", Malformed::Engine),
        ("abc", Malformed::Engine),
        ("ä", Malformed::Engine),
        ("4", Malformed::Kind),
        ("4abc", Malformed::Kind),
        ("4ä", Malformed::Kind),
        ("44{\"message\":\"x\"}", Malformed::Kind),
        ("42", Malformed::Payload),
        ("42{}", Malformed::Payload),
        ("42abc[\"a\"]", Malformed::Payload),
        ("42[\"disconnect\"]", Malformed::Reserved),
        ("4299999999999999999999[\"a\"]", Malformed::AckId),
        ("45-[\"a\"]", Malformed::Attachments),
        ("45x-[\"a\"]", Malformed::Attachments),
        ("4511-[\"a\"]", Malformed::Attachments),
    ] {
        assert_eq!(read(text).err(), Some(why), "{text}");
    }
}
