//! Bytes in, messages or refusals out. Every row is fed at once and byte by byte.

use super::*;

const LIMITS: Limits = Limits { bytes: 1000, fragments: 8 };

/// A client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x5A, 0x01, 0xFE, 0x77];
    let mut frame = vec![first];
    match u16::try_from(payload.len()).expect("a small payload") {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).expect("short")),
        long => {
            frame.push(0x80 + 126);
            frame.extend_from_slice(&long.to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn frames(frames: &[(u8, &[u8])]) -> Vec<u8> {
    frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect()
}

type Outcome = (Vec<Item>, Option<CloseCode>);

/// Feeds `input` in pieces of `step` bytes, keeping unfinished tails as a connection does.
fn feed(input: &[u8], step: usize) -> Outcome {
    let mut assembler = Assembler::default();
    let (mut items, mut tail) = (Vec::new(), Vec::new());
    for piece in input.chunks(step) {
        tail.extend_from_slice(piece);
        let mut rest = &tail[..];
        loop {
            match assembler.next(&mut rest, LIMITS) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(code) => return (items, Some(code)),
            }
        }
        tail = rest.to_vec();
        assert!(tail.len() < 14 + 125, "only an unfinished header or control frame is left");
    }
    (items, None)
}

#[track_caller]
fn check(input: &[u8], items: &[Item], error: Option<CloseCode>) {
    for step in [input.len().max(1), 1, 3, 7] {
        assert_eq!(feed(input, step), (items.to_vec(), error), "in pieces of {step}");
    }
}

fn text(text: &str) -> Item {
    Item::Text(text.into())
}

#[test]
fn whole_messages() {
    let long = "ä".repeat(300);
    check(&[], &[], None);
    check(&frame(0x81, b"hello"), &[text("hello")], None);
    check(&frame(0x81, b""), &[text("")], None);
    check(&frame(0x81, long.as_bytes()), &[text(&long)], None);
    check(&frame(0x82, b"\xFF\x00"), &[Item::Binary(Bytes::from_static(b"\xFF\x00"))], None);
    let many = frames(&[(0x81, b"one"), (0x81, b"two"), (0x8A, b""), (0x81, b"three")]);
    check(&many, &[text("one"), text("two"), Item::Pong, text("three")], None);
}

#[test]
fn fragments_are_joined_and_control_frames_may_come_between() {
    let ping = Item::Ping(Bytes::from_static(b"are you there"));
    let input =
        frames(&[(0x01, b"a"), (0x89, b"are you there"), (0x00, b""), (0x00, b"b"), (0x80, b"c")]);
    check(&input, &[ping, text("abc")], None);
    let input = frames(&[(0x02, b""), (0x80, b"")]);
    check(&input, &[Item::Binary(Bytes::new())], None);
    let input = frames(&[(0x01, b"euro \xE2"), (0x00, b"\x82"), (0x80, b"\xAC")]);
    check(&input, &[text("euro \u{20AC}")], None);
}

#[test]
fn frames_out_of_place_are_protocol_errors() {
    let error = Some(CloseCode::PROTOCOL_ERROR);
    check(&frame(0x80, b"continues nothing"), &[], error);
    check(&frame(0x00, b"continues nothing"), &[], error);
    check(&frames(&[(0x01, b"a"), (0x81, b"b")]), &[], error);
    check(&frames(&[(0x01, b"a"), (0x02, b"b")]), &[], error);
    check(&frames(&[(0x81, b"good"), (0x80, b"bad")]), &[text("good")], error);
}

#[test]
fn malformed_frames_are_protocol_errors() {
    let error = Some(CloseCode::PROTOCOL_ERROR);
    check(b"\x81\x02hi", &[], error);
    for first in [0xC1, 0xA1, 0x91, 0x83, 0x84, 0x87, 0x8B, 0x8F, 0x09, 0x0A, 0x08] {
        check(&frame(first, b"x"), &[], error);
    }
    for opcode in [0x88, 0x89, 0x8A] {
        check(&frame(opcode, &[b'a'; 126]), &[], error);
    }
    check(b"\x89\xFF\x40\0\0\0\0\0\0\0", &[], error);
    check(b"\x82\xFF\x80\0\0\0\0\0\0\0", &[], error);
}

#[test]
fn a_message_over_the_limit_is_refused_on_its_header() {
    let error = Some(CloseCode::TOO_BIG);
    check(b"\x82\xFF\x40\0\0\0\0\0\0\0", &[], error);
    check(b"\x81\xFE\x03\xE9", &[], error);
    let most = "m".repeat(1000);
    check(&frame(0x81, most.as_bytes()), &[text(&most)], None);
    let mut input = frames(&[(0x01, &[b'a'; 600]), (0x00, &[b'b'; 400])]);
    input.extend_from_slice(b"\x80\x81");
    check(&input, &[], error);
}

#[test]
fn a_message_in_too_many_fragments_is_refused_even_if_they_are_empty() {
    let mut most = vec![(0x01, &b""[..])];
    most.extend([(0x00, &b""[..]); 6]);
    let mut more = most.clone();
    most.push((0x80, b"end"));
    check(&frames(&most), &[text("end")], None);
    more.extend([(0x00, &b""[..]); 2]);
    check(&frames(&more), &[], Some(CloseCode::POLICY));
}

#[test]
fn text_is_refused_at_the_byte_that_spoils_it() {
    let error = Some(CloseCode::INVALID_UTF8);
    check(&frame(0x81, b"\xC3"), &[], error);
    check(&frame(0x81, b"ok \xFF"), &[], error);
    check(&frames(&[(0x01, b"\xC3"), (0x80, b"")]), &[], error);
    check(&frames(&[(0x01, b"\xED\xA0"), (0x80, b"\x80")]), &[], error);

    // Neither the frame nor the message has ended.
    let mut unfinished = frame(0x01, b"\xF4\x90 and then a lot");
    unfinished.truncate(unfinished.len() - 15);
    check(&unfinished, &[], error);
    check(&frames(&[(0x01, b"\xF4"), (0x00, b"\x90")]), &[], error);
    // Binary may be anything.
    let binary = Item::Binary(Bytes::from_static(b"\xFF\xFE"));
    check(&frames(&[(0x02, b"\xFF"), (0x80, b"\xFE")]), &[binary], None);
}

#[test]
fn control_frames() {
    let ping = |payload: &'static [u8]| Item::Ping(Bytes::from_static(payload));
    check(&frame(0x89, b""), &[ping(b"")], None);
    check(&frame(0x89, &[0xFE; 125]), &[ping(&[0xFE; 125])], None);
    check(&frame(0x8A, b"unasked"), &[Item::Pong], None);
    check(&frame(0x88, b""), &[Item::Close(None)], None);
    check(&frame(0x88, b"\x03\xE8bye"), &[Item::Close(Some(1000))], None);
    check(&frame(0x88, b"\x03"), &[], Some(CloseCode::PROTOCOL_ERROR));
    check(&frame(0x88, b"\x03\xED"), &[], Some(CloseCode::PROTOCOL_ERROR));
    check(&frame(0x88, b"\x03\xE8\xFF"), &[], Some(CloseCode::INVALID_UTF8));
    let amid = frames(&[(0x01, b"never ends"), (0x88, b"\x03\xE9")]);
    check(&amid, &[Item::Close(Some(1001))], None);
}

#[test]
fn between_messages_nothing_is_held() {
    let mut assembler = Assembler::default();
    let input = frames(&[(0x01, &[b'a'; 500]), (0x80, &[b'b'; 500])]);
    let mut rest = &input[..];
    assert!(assembler.next(&mut rest, LIMITS).is_ok_and(|item| item.is_some()));
    assert_eq!((rest.len(), assembler.held()), (0, 0));
}
