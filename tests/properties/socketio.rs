//! Packets and payloads of Engine.IO and Socket.IO.

use bytes::Bytes;
use proptest::prelude::*;
use protocol::ids::OrderId;
use protocol::json_number::MAX_SAFE_INTEGER;
use protocol::request::Request;
use protocol::socketio::auth::Auth;
use protocol::socketio::decoder::Decoder;
use protocol::socketio::offset::{parse_offset, write_offset};
use protocol::socketio::packet::{MAX_ATTACHMENTS, Packet, PacketType};
use protocol::socketio::payload::{self, Part, SEPARATOR};
use protocol::socketio::reader::{ClientPacket, PacketReader};
use protocol::socketio::write;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::ID;
use super::mutate::{config, mutated};

const PACKETS: &[&str] = &[
    "0",
    "0/events,{\"token\":\"a.b.c\",\"pid\":\"p\",\"offset\":\"o1:7\",\"resume\":false}",
    "1/events,",
    "2[\"driver:location\",{\"orderId\":\"o1\",\"lat\":48.2,\"lng\":16.37,\"heading\":1e2}]",
    "2/events,17[\"chat:message\",{\"orderId\":\"o1\",\"content\":\"h\\u00e4llo\"}]",
    "2[\"order:join\",{\"orderId\":\"o1\"},1,null,[2]]",
    "3/events,9[{\"ok\":true}]",
    "52-/events,3[\"a\",{\"_placeholder\":true,\"num\":1},{\"_placeholder\":true,\"num\":0}]",
    "61-2[{\"_placeholder\":true,\"num\":0}]",
];

const WORDS: &[&str] = &[
    "/events,",
    "[\"",
    "\"]",
    "10-",
    "11-",
    "{\"_placeholder\":true,\"num\":",
    "\"connect\"",
    "9007199254740991",
    "\u{1e}",
    "\"token\":1",
];

const PAYLOADS: &[&str] =
    &["40", "42[\"a\"]\u{1e}3\u{1e}bAQIDBA==", "bAQIDBA", "2probe\u{1e}6", "4\u{e4}\u{1e}b"];

const LIMIT: usize = 200;

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("UTF-8")
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            ("[a-z]{1,3}", inner).prop_map(|(key, value)| json!({ key: value })),
        ]
    })
}

/// What a client said, but for texts of errors, which hold places.
fn said(reader: &mut PacketReader, text: &str) -> String {
    match reader.text(text) {
        Ok(ClientPacket::Event { namespace, request: Ok(Request { event, ack }) }) => {
            format!("{namespace:?} {event:?} {ack:?}")
        }
        Ok(ClientPacket::Event { namespace, request: Err(rejected) }) => {
            let failure = rejected.failure;
            format!("{namespace:?} {:?} {:?} {:?}", failure.code, failure.field, rejected.ack)
        }
        other => format!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_event_is_read_as_it_was_written(
        namespace in "/[a-z]{0,8}", ack in proptest::option::of(0..=MAX_SAFE_INTEGER),
        name in "[a-z:]{1,12}!", args in proptest::collection::vec(json_value(), 0..4),
    ) {
        let args: Vec<String> = std::iter::once(json!(name)).chain(args).map(|it| it.to_string()).collect();
        let parts: Vec<&str> = args.iter().map(String::as_str).collect();
        let written = text(|out| write::event(&namespace, 0, ack, &parts, out));
        let packet = Packet::parse(written.strip_prefix('4').expect("a message")).expect("a packet");
        prop_assert_eq!((packet.kind, packet.namespace, packet.ack), (PacketType::Event, &*namespace, ack));
        let read = packet.args.expect("arguments");
        prop_assert_eq!(read.name.as_deref(), Some(&*name));
        prop_assert_eq!(read.data.map(RawValue::get), parts.get(1).copied());
        prop_assert_eq!(read.rest(), parts[1..].join(","));
    }

    #[test]
    fn a_packet_keeps_every_limit_and_its_arguments_can_be_sent_back(packet in mutated(PACKETS, WORDS)) {
        let Ok(read) = Packet::parse(&packet) else { return Ok(()) };
        prop_assert!(read.attachments <= MAX_ATTACHMENTS && packet.ends_with(read.data));
        prop_assert!(read.namespace.starts_with('/') && read.ack.is_none_or(|id| id <= MAX_SAFE_INTEGER));
        prop_assert!(read.data.is_empty() || serde_json::from_str::<&RawValue>(read.data).is_ok());
        if let Some(args) = &read.args {
            let echo = text(|out| write::event("/", 0, None, &["\"back\"", args.rest()], out));
            let back = Packet::parse(&echo[1..]).expect("a packet").args.expect("arguments");
            prop_assert_eq!(back.data.map(RawValue::get), args.data.map(RawValue::get));
        }
    }

    /// A blank makes the fast reader of positions leave an event to the general one.
    #[test]
    fn the_fast_reader_of_positions_agrees_with_the_general_one(packet in mutated(PACKETS, WORDS)) {
        let blank = packet.replacen("\",{", "\",{ ", 1);
        let reader = || PacketReader::new(1_000_000);
        let (fast, general) = (said(&mut reader(), &format!("4{packet}")), said(&mut reader(), &format!("4{blank}")));
        // Inside of a string the blank is text.
        if packet.starts_with("2[\"driver:location\",{") {
            prop_assert_eq!(fast, general);
        }
    }

    #[test]
    fn a_binary_packet_is_whole_with_what_it_announced_and_never_over_the_limit(
        steps in proptest::collection::vec(prop_oneof![
            mutated(PACKETS, WORDS).prop_map(Ok), (0_usize..120).prop_map(Err),
        ], 1..8),
    ) {
        let (mut decoder, mut size, mut waiting) = (Decoder::new(LIMIT), 0, 0);
        for step in steps {
            let refused = match step {
                Ok(packet) => decoder.text(&packet).map(|whole| {
                    size = packet.len();
                    waiting = if whole.is_none() { Packet::parse(&packet).map_or(0, |it| it.attachments) } else { 0 };
                }),
                Err(length) => decoder.binary(Bytes::from(vec![0; length])).map(|whole| {
                    size += length;
                    waiting -= 1;
                    assert_eq!(whole.is_some(), waiting == 0);
                    if let Some(whole) = whole {
                        assert_eq!(whole.packet().map(|it| it.attachments), Ok(whole.attachments.len()));
                    }
                }),
            };
            // The first refusal ends the connection.
            if refused.is_err() {
                break;
            }
            prop_assert!(size <= LIMIT);
        }
    }

    #[test]
    fn a_payload_is_read_as_it_was_written(
        parts in proptest::collection::vec(prop_oneof![
            "[0-6][^\u{1e}]{0,12}".prop_map(Ok), proptest::collection::vec(any::<u8>(), 0..20).prop_map(Err),
        ], 1..6),
    ) {
        let written = text(|out| for part in &parts {
            match part {
                Ok(packet) => payload::write_text(packet.as_bytes(), out),
                Err(data) => payload::write_binary(data, out),
            }
        });
        prop_assert!(payload::is_valid(&written));
        let read: Vec<_> = written.split(SEPARATOR).map(payload::read).collect();
        let expected = parts.iter().map(|part| Some(match part {
            Ok(packet) => Part::Text(packet),
            Err(data) => Part::Binary(data.clone()),
        }));
        prop_assert_eq!(read, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_payload_is_valid_where_each_packet_can_be_read(body in mutated(PAYLOADS, WORDS)) {
        let each = body.split(SEPARATOR).all(|packet| payload::read(packet).is_some());
        prop_assert_eq!(payload::is_valid(&body), each);
        let mut reader = PacketReader::new(LIMIT);
        for packet in body.split(SEPARATOR) {
            // Neither may panic, and the first refusal ends the session.
            let refused = match payload::read(packet) {
                Some(Part::Text(text)) => reader.text(text).is_err(),
                Some(Part::Binary(data)) => reader.binary(data.into()).is_err(),
                None => true,
            };
            if refused {
                break;
            }
        }
    }

    #[test]
    fn an_offset_is_read_as_it_was_written(order in ID, seq in 0..=i64::MAX) {
        let order = OrderId::new(&order).expect("an id");
        let written = text(|out| write_offset(&order, seq, out));
        prop_assert_eq!(parse_offset(written.trim_matches('"')), Some((order, seq)));
    }

    #[test]
    fn an_offset_names_an_order_and_a_number(offset in mutated(&["o1:7", "a:b:0"], &["+1", "٣"])) {
        if let Some((order, seq)) = parse_offset(&offset) {
            prop_assert!(seq >= 0 && offset.starts_with(order.as_str()));
        }
    }

    #[test]
    fn a_login_is_read_beside_fields_of_the_app(other in json_value(), token in ".{0,20}", resume in any::<bool>()) {
        let said = json!({ "app": other, "token": token, "resume": resume, "pid": other }).to_string();
        let auth = Auth::parse(&said);
        prop_assert_eq!((auth.token, auth.resume), (Some(token), resume));
        prop_assert_eq!(auth.pid.as_deref(), other.as_str());
    }
}

#[test]
fn the_inputs_are_good() {
    for packet in PACKETS {
        assert!(Packet::parse(packet).is_ok(), "{packet}: {:?}", Packet::parse(packet));
    }
    assert!(PAYLOADS.iter().all(|body| payload::is_valid(body)));
}
