//! Parts of clients' frames (RFC 6455, section 5): headers, masks and the payload of close frames.
//! Each is checked as early as a byte allows. No I/O.

use protocol::close::CloseCode;

/// The longest payload of a control frame (section 5.5).
pub(super) const MAX_CONTROL: usize = 125;

/// The opcode of a frame (section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpCode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

// === impl OpCode ===

impl OpCode {
    pub(super) fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    pub(super) fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The header of a client's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) opcode: OpCode,
    pub(super) mask: [u8; 4],
    /// Bytes of payload, as announced by the client.
    pub(super) payload: u64,
    /// Bytes of the header itself.
    pub(super) length: usize,
}

/// The part of a header that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parsed {
    /// Too few bytes to say more.
    Incomplete,
    /// Everything but the mask: enough to refuse the frame.
    Announced { fin: bool, opcode: OpCode, payload: u64 },
    /// The whole header.
    Whole(Header),
}

/// Parses the header at the start of `input`, as far as it has arrived.
///
/// Errors of a single frame are refused here, as soon as their byte has arrived.
pub(super) fn parse_header(input: &[u8]) -> Result<Parsed, CloseCode> {
    let Some(&first) = input.first() else { return Ok(Parsed::Incomplete) };
    let fin = first & 0x80 != 0;
    let opcode = OpCode::from_bits(first & 0x0F).ok_or(CloseCode::PROTOCOL_ERROR)?;
    // The hub negotiates no extension, so the reserved bits have no meaning. A control frame must
    // not be fragmented.
    if first & 0x70 != 0 || (opcode.is_control() && !fin) {
        return Err(CloseCode::PROTOCOL_ERROR);
    }
    let Some(&second) = input.get(1) else { return Ok(Parsed::Incomplete) };
    let short = second & 0x7F;
    let masked = second & 0x80 != 0;
    if !masked || (opcode.is_control() && usize::from(short) > MAX_CONTROL) {
        return Err(CloseCode::PROTOCOL_ERROR);
    }
    let (payload, mask_at) = match short {
        126 => (input[2..].first_chunk().map(|bytes| u64::from(u16::from_be_bytes(*bytes))), 4),
        127 => (input[2..].first_chunk().map(|bytes| u64::from_be_bytes(*bytes)), 10),
        short => (Some(u64::from(short)), 2),
    };
    let Some(payload) = payload else { return Ok(Parsed::Incomplete) };
    if payload > i64::MAX as u64 {
        return Err(CloseCode::PROTOCOL_ERROR);
    }
    Ok(match input[mask_at..].first_chunk() {
        Some(&mask) => Parsed::Whole(Header { fin, opcode, mask, payload, length: mask_at + 4 }),
        None => Parsed::Announced { fin, opcode, payload },
    })
}

/// Unmasks `data`, the part of a payload that begins `offset` bytes after its header.
pub(super) fn unmask(data: &mut [u8], mask: [u8; 4], offset: usize) {
    let mut turned = mask;
    turned.rotate_left(offset % 4);
    let [a, b, c, d] = turned;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = data.chunks_exact_mut(8);
    for word in &mut words {
        if let Some(chunk) = word.first_chunk_mut::<8>() {
            *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip([a, b, c, d].iter().cycle()) {
        *byte ^= key;
    }
}

/// The code in the payload of a client's close frame.
pub(super) fn parse_close(payload: &[u8]) -> Result<Option<u16>, CloseCode> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(CloseCode::PROTOCOL_ERROR) };
    };
    let code = u16::from_be_bytes(*code);
    // Section 7.4: 1004 is reserved, 1005, 1006 and 1015 never travel; 1012 to 1014 are IANA's.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(CloseCode::PROTOCOL_ERROR);
    }
    simdutf8::basic::from_utf8(reason).map_err(|_| CloseCode::INVALID_UTF8)?;
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_refused_as_early_as_their_byte_has_come() {
        for (input, expected) in [
            (&[][..], Ok(Parsed::Incomplete)),
            (&[0x81], Ok(Parsed::Incomplete)),
            (&[0xC1], Err(CloseCode::PROTOCOL_ERROR)),
            (&[0x83], Err(CloseCode::PROTOCOL_ERROR)),
            (&[0x8B], Err(CloseCode::PROTOCOL_ERROR)),
            (&[0x09], Err(CloseCode::PROTOCOL_ERROR)),
            (&[0x81, 0x05], Err(CloseCode::PROTOCOL_ERROR)),
            (&[0x89, 0xFE], Err(CloseCode::PROTOCOL_ERROR)),
            (&[0x82, 0xFE, 1], Ok(Parsed::Incomplete)),
            (
                &[0x02, 0xFE, 1, 0],
                Ok(Parsed::Announced { fin: false, opcode: OpCode::Binary, payload: 256 }),
            ),
            (&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0], Err(CloseCode::PROTOCOL_ERROR)),
        ] {
            assert_eq!(parse_header(input), expected, "{input:02X?}");
        }
        let whole =
            Header { fin: true, opcode: OpCode::Ping, mask: [1, 2, 3, 4], payload: 7, length: 6 };
        assert_eq!(parse_header(&[0x89, 0x87, 1, 2, 3, 4, 9]), Ok(Parsed::Whole(whole)));
    }

    #[test]
    fn unmasking_in_parts_equals_unmasking_at_once() {
        let mask = [0xA1, 0xB2, 0xC3, 0xD4];
        let plain: Vec<u8> = (0..100).collect();
        let masked: Vec<u8> =
            plain.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        for cut in 0..plain.len() {
            let mut data = masked.clone();
            let (head, tail) = data.split_at_mut(cut);
            unmask(head, mask, 0);
            unmask(tail, mask, cut);
            assert_eq!(data, plain);
        }
    }

    #[test]
    fn close_payloads() {
        let protocol = Err(CloseCode::PROTOCOL_ERROR);
        for (payload, expected) in [
            (&b""[..], Ok(None)),
            (b"\x03", protocol),
            (b"\x03\xE8", Ok(Some(1000))),
            (b"\x03\xF6\xC3\xA4", Ok(Some(1014))),
            (b"\x03\xE8\xC3", Err(CloseCode::INVALID_UTF8)),
            (b"\x0F\xA8bye", Ok(Some(4008))),
        ] {
            assert_eq!(parse_close(payload), expected, "{payload:02X?}");
        }
        for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
            assert_eq!(parse_close(&code.to_be_bytes()), protocol, "{code}");
        }
    }
}
