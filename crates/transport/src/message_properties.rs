//! Properties of every sequence of frames; `tests/fuzz` checks them for longer.

use proptest::prelude::*;

use super::*;
use crate::cases;

const LIMITS: Limits = Limits { bytes: 300, fragments: 4 };

/// A client's frame with any first byte and any form of its length.
fn frame((first, payload, mask, form): (u8, Vec<u8>, [u8; 4], u8)) -> Vec<u8> {
    let mut frame = vec![first];
    match (form % 3, u8::try_from(payload.len())) {
        (0, Ok(short @ 0..=125)) => frame.push(0x80 | short),
        (0 | 1, _) => {
            frame.push(0x80 + 126);
            frame.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
        }
        _ => {
            frame.push(0x80 + 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// Payloads of valid text, invalid text and close codes.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "\\PC{0,40}".prop_map(String::into_bytes),
        2 => proptest::collection::vec(any::<u8>(), 0..10),
        1 => (1000_u16..1016, "[a-z]{0,3}").prop_map(|(code, reason)| {
            [&code.to_be_bytes()[..], reason.as_bytes()].concat()
        }),
        1 => proptest::collection::vec(any::<u8>(), 100..200),
    ]
}

/// A stream of mostly valid frames.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let usual =
        proptest::sample::select(&[0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8A][..]);
    let first = prop_oneof![20 => usual, 1 => any::<u8>()];
    let frames = (first, payload(), any::<[u8; 4]>(), any::<u8>()).prop_map(frame);
    let changes = proptest::collection::vec((any::<u16>(), any::<u8>()), 0..2);
    (proptest::collection::vec(frames, 1..8), changes).prop_map(|(frames, changes)| {
        let mut bytes = frames.concat();
        for (at, byte) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        bytes
    })
}

/// All items up to the end or the first refusal, when the bytes arrive in pieces of these lengths.
fn feed(input: &[u8], pieces: &[usize]) -> (Vec<Item>, Option<CloseCode>) {
    let (mut assembler, mut items, mut tail) = (Assembler::default(), Vec::new(), Vec::new());
    let (mut rest, mut lengths) = (input, pieces.iter().cycle());
    while !rest.is_empty() {
        let length = lengths.next().copied().unwrap_or(rest.len()).clamp(1, rest.len());
        tail.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
        let mut unread = &tail[..];
        loop {
            match assembler.next(&mut unread, LIMITS) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(code) => return (items, Some(code)),
            }
        }
        tail = unread.to_vec();
        assert!(tail.len() < 14 + 125, "only an unfinished header or control frame is left");
        assert!(assembler.held() <= 2 * LIMITS.bytes, "memory follows what came");
    }
    (items, None)
}

proptest! {
    #![proptest_config(cases::config())]

    #[test]
    fn pieces_change_nothing(
        input in stream(), pieces in proptest::collection::vec(1_usize..40, 1..6),
    ) {
        let (items, refused) = feed(&input, &[input.len()]);
        prop_assert_eq!(feed(&input, &pieces), (items.clone(), refused));
        prop_assert_eq!(feed(&input, &[1]), (items, refused));
    }

    #[test]
    fn items_are_within_the_limits(input in stream()) {
        for item in feed(&input, &[]).0 {
            match item {
                Item::Text(text) => {
                    prop_assert!(text.len() <= LIMITS.bytes);
                    prop_assert!(std::str::from_utf8(text.as_bytes()).is_ok());
                }
                Item::Binary(data) => prop_assert!(data.len() <= LIMITS.bytes),
                Item::Ping(data) => prop_assert!(data.len() <= 125),
                Item::Close(code) => prop_assert!(code.is_none_or(|code| (1000..5000).contains(&code))),
                Item::Pong => {}
            }
        }
    }

    #[test]
    fn a_message_in_fragments_is_the_message(
        text in "\\PC{0,60}", cuts in proptest::collection::vec(0_usize..200, 0..3), mask in any::<[u8; 4]>(),
        ping in any::<bool>(),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        cuts.sort_unstable();
        let (mut stream, mut from) = (Vec::new(), 0);
        for (place, to) in cuts.iter().copied().chain([text.len()]).enumerate() {
            let fin = if place == cuts.len() { 0x80 } else { 0 };
            let opcode = u8::from(place == 0);
            stream.extend(frame((fin | opcode, text.as_bytes()[from..to].to_vec(), mask, 0)));
            if ping && fin == 0 {
                stream.extend(frame((0x89, b"x".to_vec(), mask, 0)));
            }
            from = to;
        }
        let (items, refused) = feed(&stream, &[5, 1, 9]);
        prop_assert_eq!(refused, None);
        let pings = if ping { cuts.len() } else { 0 };
        prop_assert_eq!(items.len(), pings + 1);
        prop_assert_eq!(items.last(), Some(&Item::Text(text.into())));
    }
}
