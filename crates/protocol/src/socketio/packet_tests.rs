//! Packets, byte for byte: those of stock clients, and malformed ones.

use super::*;

type Read<'a> = (PacketType, &'a str, Option<u64>, usize, &'a str);

fn read(text: &str) -> Result<Read<'_>, Malformed> {
    let packet = Packet::parse(text)?;
    assert_eq!(
        packet.args.is_some(),
        matches!(packet.kind, PacketType::Event | PacketType::BinaryEvent)
    );
    Ok((packet.kind, packet.namespace, packet.ack, packet.attachments, packet.data))
}

#[test]
fn every_kind_is_read() {
    for (text, packet) in [
        ("0", (PacketType::Connect, "/", None, 0, "")),
        ("0{}", (PacketType::Connect, "/", None, 0, "{}")),
        ("0/events,", (PacketType::Connect, "/events", None, 0, "")),
        ("0/events", (PacketType::Connect, "/events", None, 0, "")),
        ("0/,", (PacketType::Connect, "/", None, 0, "")),
        (
            "0/events,{\"token\":\"a,b\"}",
            (PacketType::Connect, "/events", None, 0, "{\"token\":\"a,b\"}"),
        ),
        ("0/events?token=x,", (PacketType::Connect, "/events?token=x", None, 0, "")),
        ("0/küche,{}", (PacketType::Connect, "/küche", None, 0, "{}")),
        ("1", (PacketType::Disconnect, "/", None, 0, "")),
        ("1/events,", (PacketType::Disconnect, "/events", None, 0, "")),
        ("2[\"a\"]", (PacketType::Event, "/", None, 0, "[\"a\"]")),
        ("2[]", (PacketType::Event, "/", None, 0, "[]")),
        ("2[1]", (PacketType::Event, "/", None, 0, "[1]")),
        ("20[\"a\"]", (PacketType::Event, "/", Some(0), 0, "[\"a\"]")),
        ("2/events,17[\"a\",{}]", (PacketType::Event, "/events", Some(17), 0, "[\"a\",{}]")),
        (
            "29007199254740991[\"a\"]",
            (PacketType::Event, "/", Some(9_007_199_254_740_991), 0, "[\"a\"]"),
        ),
        ("2007[\"ä\"]", (PacketType::Event, "/", Some(7), 0, "[\"ä\"]")),
        ("3/events,1[]", (PacketType::Ack, "/events", Some(1), 0, "[]")),
        ("3[]", (PacketType::Ack, "/", None, 0, "[]")),
        ("4{\"message\":\"no\"}", (PacketType::ConnectError, "/", None, 0, "{\"message\":\"no\"}")),
        ("4\"no\"", (PacketType::ConnectError, "/", None, 0, "\"no\"")),
        ("50-[\"a\"]", (PacketType::BinaryEvent, "/", None, 0, "[\"a\"]")),
        (
            "51-/events,7[\"a\",{\"_placeholder\":true,\"num\":0}]",
            (
                PacketType::BinaryEvent,
                "/events",
                Some(7),
                1,
                "[\"a\",{\"_placeholder\":true,\"num\":0}]",
            ),
        ),
        ("510-[\"a\"]", (PacketType::BinaryEvent, "/", None, 10, "[\"a\"]")),
        (
            "61-3[{\"_placeholder\":true,\"num\":0}]",
            (PacketType::BinaryAck, "/", Some(3), 1, "[{\"_placeholder\":true,\"num\":0}]"),
        ),
    ] {
        assert_eq!(read(text), Ok(packet), "{text}");
    }
}

#[test]
fn packets_that_no_stock_client_sends_are_malformed() {
    for (text, why) in [
        ("", Malformed::Kind),
        ("7", Malformed::Kind),
        ("abc", Malformed::Kind),
        ("-1", Malformed::Kind),
        ("ä[\"a\"]", Malformed::Kind),
        (" 2[\"a\"]", Malformed::Kind),
        ("0[]", Malformed::Payload),
        ("0\"token\"", Malformed::Payload),
        ("0null", Malformed::Payload),
        ("0{", Malformed::Payload),
        ("0{}{}", Malformed::Payload),
        ("1{}", Malformed::Payload),
        ("1/events,\"x\"", Malformed::Payload),
        ("2", Malformed::Payload),
        ("2/events,", Malformed::Payload),
        ("2/events", Malformed::Payload),
        ("2{}", Malformed::Payload),
        ("2abc[\"a\"]", Malformed::Payload),
        ("2-1[\"a\"]", Malformed::Payload),
        ("2+1[\"a\"]", Malformed::Payload),
        ("21.5[\"a\"]", Malformed::Payload),
        ("21e3[\"a\"]", Malformed::Payload),
        ("2٣[\"a\"]", Malformed::Payload),
        ("2[\"a\",NaN]", Malformed::Payload),
        ("2[\"a\"]]", Malformed::Payload),
        ("2[\"a\"]ü", Malformed::Payload),
        ("2[\"ü", Malformed::Payload),
        ("2[\"connect\"]", Malformed::Reserved),
        ("2[\"disconnecting\",1]", Malformed::Reserved),
        ("29007199254740992[\"a\"]", Malformed::AckId),
        ("299999999999999999999[\"a\"]", Malformed::AckId),
        ("2/events,18446744073709551616[\"a\"]", Malformed::AckId),
        ("3", Malformed::Payload),
        ("31", Malformed::Payload),
        ("31{}", Malformed::Payload),
        ("4", Malformed::Payload),
        ("4[]", Malformed::Payload),
        ("5[\"a\"]", Malformed::Attachments),
        ("5-[\"a\"]", Malformed::Attachments),
        ("5x-[\"a\"]", Malformed::Attachments),
        ("51[\"a\"]", Malformed::Attachments),
        ("51", Malformed::Attachments),
        ("5-1-[\"a\"]", Malformed::Attachments),
        ("51.0-[\"a\"]", Malformed::Attachments),
        ("511-[\"a\"]", Malformed::Attachments),
        ("599999999999999999999-[\"a\"]", Malformed::Attachments),
        ("51-", Malformed::Payload),
        ("51-{}", Malformed::Payload),
        ("51-[\"connect\"]", Malformed::Reserved),
        ("50-[\"a\",{\"_placeholder\":true,\"num\":0}]", Malformed::Placeholder),
        ("61-[{\"_placeholder\":true,\"num\":1}]", Malformed::Placeholder),
        ("61-{}", Malformed::Payload),
    ] {
        assert_eq!(read(text), Err(why), "{text}");
    }
}

#[test]
fn a_namespace_may_be_long_and_unknown() {
    let name = format!("/{}", "n".repeat(4096));
    for (text, kind) in [
        (format!("0{name},{{}}"), PacketType::Connect),
        (format!("0{name}"), PacketType::Connect),
        (format!("2{name},[\"a\"]"), PacketType::Event),
    ] {
        let packet = Packet::parse(&text).expect("a packet");
        assert_eq!((packet.kind, packet.namespace), (kind, name.as_str()));
    }
}

#[test]
fn sixty_four_levels_are_the_deepest() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let objects = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    for (allowed, deeper) in [
        (format!("2[\"a\",{}]", nested(63)), format!("2[\"a\",{}]", nested(64))),
        (format!("51-[\"a\",{}]", nested(63)), format!("51-[\"a\",{}]", nested(64))),
        (format!("0{}", objects(64)), format!("0{}", objects(65))),
        (format!("31{}", nested(64)), format!("31{}", nested(30_000))),
    ] {
        assert!(read(&allowed).is_ok(), "{allowed}");
        assert_eq!(read(&deeper), Err(Malformed::TooDeep), "{deeper}");
    }
}
