//! Payloads of long-polling: what the body of a POST or of an answered GET holds. Packets are joined
//! by the record separator; a binary one is `b` and its base64.
//!
//! Source: the Engine.IO protocol, revision 4, "Packet encoding", "HTTP long-polling".

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::engine::EnginePacket;

/// What stands between two packets.
pub const SEPARATOR: char = '\u{1e}';
/// What a binary packet begins with.
const BINARY: &str = "b";

/// Standard base64. Padding is written, and not asked for: browsers' and other clients' encoders
/// differ there.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A packet of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'a> {
    /// A text packet, its type first.
    Text(&'a str),
    /// The data of a binary message.
    Binary(Vec<u8>),
}

/// Reads one packet; none where it is no packet or its base64 is not valid.
pub fn read(packet: &str) -> Option<Part<'_>> {
    match packet.strip_prefix(BINARY) {
        Some(data) => BASE64.decode(data).ok().map(Part::Binary),
        None => EnginePacket::parse(packet).map(|_| Part::Text(packet)),
    }
}

/// Whether every packet of a payload can be read. An empty payload has one packet, which cannot.
pub fn is_valid(payload: &str) -> bool {
    payload.split(SEPARATOR).all(|packet| read(packet).is_some())
}

/// Appends a packet of text, behind a separator where others stand before it.
pub fn write_text(packet: &[u8], out: &mut Vec<u8>) {
    separate(out);
    out.extend_from_slice(packet);
}

/// Appends a binary message in the same way.
pub fn write_binary(data: &[u8], out: &mut Vec<u8>) {
    separate(out);
    out.extend_from_slice(BINARY.as_bytes());
    let start = out.len();
    let length = encoded_length(data.len());
    out.resize(start + length, 0);
    // The room is what the encoding needs, to the byte.
    let _ = BASE64.encode_slice(data, &mut out[start..]);
}

/// Bytes of base64 that so many bytes of data become, padding included.
pub fn encoded_length(data: usize) -> usize {
    data.div_ceil(3).saturating_mul(4)
}

fn separate(out: &mut Vec<u8>) {
    if !out.is_empty() {
        out.push(0x1E);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_joined_and_binary_ones_are_base64() {
        let mut payload = Vec::new();
        write_text(b"4hello", &mut payload);
        write_binary(&[1, 2, 3, 4], &mut payload);
        write_binary(&[], &mut payload);
        write_text("4\u{e4}".as_bytes(), &mut payload);
        assert_eq!(payload, "4hello\u{1e}bAQIDBA==\u{1e}b\u{1e}4\u{e4}".as_bytes());
    }

    #[test]
    fn what_was_written_is_read_again() {
        for (packet, part) in [
            ("4hello", Some(Part::Text("4hello"))),
            ("bAQIDBA==", Some(Part::Binary(vec![1, 2, 3, 4]))),
            ("bAQIDBA", Some(Part::Binary(vec![1, 2, 3, 4]))),
            ("b", Some(Part::Binary(Vec::new()))),
            ("bAQID*A==", None),
            ("abc", None),
            ("", None),
        ] {
            assert_eq!(read(packet), part, "{packet}");
        }
        assert!(is_valid("4a\u{1e}3\u{1e}bAQ=="));
        assert!(!is_valid("4a\u{1e}") && !is_valid("") && !is_valid("4a\u{1e}x"));
    }
}
