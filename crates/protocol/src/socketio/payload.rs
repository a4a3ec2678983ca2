//! Payloads of long-polling: the body of a POST or of the answer to a GET. Packets are joined by
//! the record separator; a binary packet is `b` and its base64.
//!
//! Source: the Engine.IO protocol, revision 4, "Packet encoding", "HTTP long-polling".

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::engine::EnginePacket;

/// Separates two packets.
pub const SEPARATOR: char = '\u{1e}';
/// The first character of a binary packet.
const BINARY: &str = "b";

/// Standard base64. Padding is written but not required, because browsers and other clients differ
/// there.
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

/// Reads one packet; none if it is invalid or its base64 is.
pub fn read(packet: &str) -> Option<Part<'_>> {
    match packet.strip_prefix(BINARY) {
        Some(data) => BASE64.decode(data).ok().map(Part::Binary),
        None => EnginePacket::parse(packet).map(|_| Part::Text(packet)),
    }
}

/// Whether every packet of a payload can be read. An empty payload counts as one invalid packet.
pub fn is_valid(payload: &str) -> bool {
    payload.split(SEPARATOR).all(|packet| read(packet).is_some())
}

/// Appends a text packet, after a separator if it is not the first.
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
    // The space is exactly what the encoding needs.
    let _ = BASE64.encode_slice(data, &mut out[start..]);
}

/// How many bytes of base64 encode this many bytes of data, padding included.
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
    fn a_written_payload_is_read_back() {
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
