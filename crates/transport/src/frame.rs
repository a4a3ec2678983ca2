//! WebSocket frames that the hub sends (RFC 6455, section 5). A frame is encoded once and shared by
//! all its outboxes.

use std::cell::Cell;

use bytes::Bytes;

use super::header::{MAX_CONTROL, OpCode};

/// The longest header of a frame that the hub sends. The hub never masks.
const MAX_HEADER: usize = 10;
/// A larger encoding buffer is not kept for the next frame.
const KEPT_CAPACITY: usize = 64 * 1024;

/// One encoded frame, shared by any number of outboxes. A clone copies no bytes.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Header and payload, as they go to a WebSocket.
    bytes: Bytes,
    /// Where the payload begins; a sink without WebSocket framing sends only what follows.
    header: u8,
}

// === impl Frame ===

thread_local! {
    /// Frames are encoded here first, so that the shared copy is allocated once, in its exact size.
    static ENCODER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Frame {
    /// A text message whose payload `encode` appends to the buffer; it must be UTF-8.
    pub fn text(encode: impl FnOnce(&mut Vec<u8>)) -> Self {
        Self::encode(OpCode::Text, encode)
    }

    /// A binary message whose payload `encode` appends to the buffer.
    pub fn binary(encode: impl FnOnce(&mut Vec<u8>)) -> Self {
        Self::encode(OpCode::Binary, encode)
    }

    /// A ping without payload.
    pub(super) fn ping() -> Self {
        Self::encode(OpCode::Ping, |_| ())
    }

    /// The answer to a ping, with its payload.
    pub(super) fn pong(payload: &[u8]) -> Self {
        Self::encode(OpCode::Pong, |out| out.extend_from_slice(clip(payload)))
    }

    /// A close frame; without a code its payload is empty.
    pub(super) fn close(code: Option<u16>, reason: &str) -> Self {
        Self::encode(OpCode::Close, |out| {
            if let Some(code) = code {
                out.extend_from_slice(&code.to_be_bytes());
                out.extend_from_slice(clip_reason(reason).as_bytes());
            }
        })
    }

    /// Bytes that are no WebSocket frame: the response head before the first frame.
    pub(super) fn raw(bytes: Bytes) -> Self {
        Self { bytes, header: 0 }
    }

    fn encode(opcode: OpCode, encode: impl FnOnce(&mut Vec<u8>)) -> Self {
        // Taken out rather than borrowed: `encode` may itself encode a frame.
        let mut buffer = ENCODER.take();
        buffer.clear();
        buffer.resize(MAX_HEADER, 0);
        encode(&mut buffer);
        let payload = buffer.len() - MAX_HEADER;
        let (header, length) = header(opcode, payload);
        let start = MAX_HEADER - length;
        buffer[start..MAX_HEADER].copy_from_slice(&header[..length]);
        let bytes = Bytes::copy_from_slice(&buffer[start..]);
        if buffer.capacity() <= KEPT_CAPACITY {
            ENCODER.set(buffer);
        }
        Self { bytes, header: u8::try_from(length).unwrap_or_default() }
    }

    /// The frame's opcode; `None` for raw bytes.
    pub(super) fn opcode(&self) -> Option<OpCode> {
        let first = self.bytes.first().filter(|_| self.header > 0)?;
        OpCode::from_bits(first & 0x0F)
    }

    /// Header and payload, as they go to a WebSocket.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The payload alone.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[usize::from(self.header)..]
    }

    /// The payload alone. It shares the frame's memory.
    pub fn payload_bytes(&self) -> Bytes {
        self.bytes.slice(usize::from(self.header)..)
    }

    /// Bytes of header and payload.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes, which no frame is. Here because `len` is.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// The header of an unfragmented, unmasked frame, and its length.
fn header(opcode: OpCode, payload: usize) -> ([u8; MAX_HEADER], usize) {
    let mut header = [0; MAX_HEADER];
    header[0] = 0x80 | opcode.bits();
    let used = if let Ok(short @ 0..=125) = u8::try_from(payload) {
        header[1] = short;
        2
    } else if let Ok(medium) = u16::try_from(payload) {
        header[1] = 126;
        header[2..4].copy_from_slice(&medium.to_be_bytes());
        4
    } else {
        header[1] = 127;
        header[2..10].copy_from_slice(&(payload as u64).to_be_bytes());
        10
    };
    (header, used)
}

fn clip(payload: &[u8]) -> &[u8] {
    &payload[..payload.len().min(MAX_CONTROL)]
}

/// The part of `reason` that fits into a close frame, cut between characters.
fn clip_reason(reason: &str) -> &str {
    let room = reason.len().min(MAX_CONTROL - 2);
    let end = (0..=room).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    &reason[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_carry_the_shortest_header() {
        for (payload, header) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 0xFF, 0xFF]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = Frame::text(|out| out.resize(out.len() + payload, b'x'));
            assert_eq!(&frame.bytes()[..header.len()], header);
            assert_eq!(frame.payload().len(), payload);
            assert_eq!(frame.payload_bytes(), vec![b'x'; payload]);
            assert_eq!(frame.len(), header.len() + payload);
        }
    }

    #[test]
    fn a_frame_may_be_encoded_while_another_is() {
        let outer = Frame::binary(|out| {
            out.extend_from_slice(Frame::text(|inner| inner.push(b'i')).payload());
            out.push(b'o');
        });
        assert_eq!(&outer.bytes()[..], b"\x82\x02io");
    }

    #[test]
    fn control_frames_never_exceed_their_limit() {
        assert_eq!(&Frame::ping().bytes()[..], b"\x89\x00");
        assert_eq!(&Frame::pong(b"hi").bytes()[..], b"\x8A\x02hi");
        assert_eq!(&Frame::close(None, "").bytes()[..], b"\x88\x00");
        assert_eq!(&Frame::close(Some(1000), "ok").bytes()[..], b"\x88\x04\x03\xE8ok");
        assert_eq!(Frame::close(Some(1000), &"ä".repeat(100)).payload().len(), 2 + 122);
    }
}
