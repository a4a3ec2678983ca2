//! WebSocket frames of a client (RFC 6455, section 5): written masked, read unmasked.
//!
//! A library would copy every message once more and keep buffers for every connection, and a load
//! generator must cost much less than the hub.

/// A text message.
pub const TEXT: u8 = 1;
/// A close.
pub const CLOSE: u8 = 8;
/// A ping.
pub const PING: u8 = 9;
/// A pong.
pub const PONG: u8 = 10;

/// In place of a length: the length follows in two bytes.
const TWO_BYTES: u8 = 0x7e;
/// In place of a length: the length follows in eight bytes.
const EIGHT_BYTES: u8 = 0x7f;

/// The largest accepted message.
const MAX_MESSAGE: u64 = 64 * 1024 * 1024;

/// One frame, borrowed from the read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Whether the message ends here.
    pub fin: bool,
    /// The type; 0 continues the previous message.
    pub opcode: u8,
    /// The content.
    pub payload: &'a [u8],
}

/// A frame that no server may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hub sent what is no frame of a server")]
pub struct BadFrame;

/// Writes a whole masked message.
pub fn write(out: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: u32) {
    let mask = mask.to_be_bytes();
    out.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => out.push(0x80 | short),
        (_, Ok(middle)) => {
            out.push(0x80 | TWO_BYTES);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            out.push(0x80 | EIGHT_BYTES);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Reads the first frame, with its length in bytes; none if it is not complete yet.
///
/// # Errors
/// [`BadFrame`] if it is masked, too large or uses reserved bits.
pub fn read(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, BadFrame> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err(BadFrame);
    }
    let (length, head) = match (second, rest) {
        (TWO_BYTES, &[a, b, ..]) => (u64::from(u16::from_be_bytes([a, b])), 4),
        (EIGHT_BYTES, _) if rest.len() >= 8 => {
            (rest[..8].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)), 10)
        }
        (TWO_BYTES | EIGHT_BYTES, _) => return Ok(None),
        (short, _) => (u64::from(short), 2),
    };
    if length > MAX_MESSAGE {
        return Err(BadFrame);
    }
    let end = head + usize::try_from(length).map_err(|_| BadFrame)?;
    let frame = |payload| Frame { fin: first & 0x80 != 0, opcode: first & 0x0f, payload };
    Ok(bytes.get(head..end).map(|payload| (frame(payload), end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_written_masked_in_the_three_lengths() {
        let mut out = Vec::new();
        write(&mut out, TEXT, b"Hello", 0x37fa_213d);
        // The example of RFC 6455, section 5.7.
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        for (length, head) in [(125, 2), (126, 4), (65535, 4), (65536, 10)] {
            out.clear();
            write(&mut out, TEXT, &vec![7; length], 0);
            assert_eq!(out.len(), head + 4 + length);
        }
    }

    #[test]
    fn frames_are_read_when_they_are_whole() {
        let whole = [0x81, 0x02, b'h', b'i', 0x8a];
        let frame = Frame { fin: true, opcode: TEXT, payload: b"hi" };
        assert_eq!(read(&whole), Ok(Some((frame, 4))));
        for cut in 0..4 {
            assert_eq!(read(&whole[..cut]), Ok(None), "{cut}");
        }
        let mut long = vec![0x01, 126, 1, 0];
        long.extend([b'x'; 256]);
        let (frame, end) = read(&long).expect("good").expect("whole");
        assert_eq!((frame.fin, frame.payload.len(), end), (false, 256, 260));
        assert_eq!(read(&long[..3]), Ok(None));
    }

    #[test]
    fn frames_that_no_server_sends_are_refused() {
        assert_eq!(read(&[0x81, 0x80]), Err(BadFrame));
        assert_eq!(read(&[0xc1, 0x00]), Err(BadFrame));
        assert_eq!(read(&[0x81, 127, 255, 0, 0, 0, 0, 0, 0, 0]), Err(BadFrame));
    }
}
