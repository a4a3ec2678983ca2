//! Assembles messages: takes a client's bytes in pieces of any size, and returns whole messages,
//! joined from their fragments, and control frames. Refuses what RFC 6455 or a limit forbids as
//! early as possible. No I/O.

use bytes::Bytes;
use bytestring::ByteString;

use super::header::{Header, OpCode, Parsed, parse_close, parse_header, unmask};
use protocol::close::CloseCode;

/// What a client may send in one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of payload, inclusive.
    pub(super) bytes: usize,
    /// Frames of one message, inclusive.
    pub(super) fragments: usize,
}

/// One message or control frame of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Text(ByteString),
    Binary(Bytes),
    Ping(Bytes),
    Pong,
    Close(Option<u16>),
}

/// Assembles messages from bytes. Between messages it owns no memory.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// The unfinished message. Boxed, because most clients have none most of the time.
    message: Option<Box<PartialMessage>>,
}

/// A message that is still arriving.
#[derive(Debug)]
struct PartialMessage {
    /// Whether it must be UTF-8.
    text: bool,
    /// Payloads so far, unmasked. It grows as bytes arrive, not by the length that a header
    /// announces.
    data: Vec<u8>,
    /// How many bytes of a text are known to be UTF-8.
    valid: usize,
    /// Frames so far.
    fragments: usize,
    /// The frame whose payload is arriving; `None` between two frames.
    frame: Option<PartialFrame>,
}

/// A frame whose payload is arriving.
#[derive(Debug, Clone, Copy)]
struct PartialFrame {
    fin: bool,
    mask: [u8; 4],
    /// Bytes of payload that have arrived. The mask continues from there.
    done: usize,
    /// Bytes of payload still to come.
    left: usize,
}

// === impl Assembler ===

impl Assembler {
    /// Takes bytes from the front of `input` up to the end of the next item.
    ///
    /// `None` means that more bytes are needed. At most an unfinished header or control frame is
    /// then left in `input`; the caller must pass it again before the next bytes.
    pub(super) fn next(
        &mut self,
        input: &mut &[u8],
        limits: Limits,
    ) -> Result<Option<Item>, CloseCode> {
        loop {
            if let Some(message) = self.message.as_mut().filter(|message| message.frame.is_some()) {
                if !message.take_payload(input)? {
                    return Ok(None);
                }
                if let Some(item) = self.finish()? {
                    return Ok(Some(item));
                }
            }
            let header = match parse_header(input)? {
                Parsed::Incomplete => return Ok(None),
                Parsed::Announced { opcode, payload, .. } => {
                    self.admit(opcode, payload, limits)?;
                    return Ok(None);
                }
                Parsed::Whole(header) => header,
            };
            let payload = self.admit(header.opcode, header.payload, limits)?;
            let whole = input.get(header.length..header.length + payload);
            if header.opcode.is_control() {
                let Some(whole) = whole else { return Ok(None) };
                *input = &input[header.length + payload..];
                return control(header, whole).map(Some);
            }
            if let (Some(whole), true, None) = (whole, header.fin, &self.message) {
                *input = &input[header.length + payload..];
                return single(header, whole).map(Some);
            }
            *input = &input[header.length..];
            self.begin(header, payload);
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.data.capacity())
    }

    /// Drops the unfinished message.
    pub(super) fn clear(&mut self) {
        self.message = None;
    }

    /// Decides from a header whether its frame may come now. Returns the length of its payload.
    fn admit(&self, opcode: OpCode, payload: u64, limits: Limits) -> Result<usize, CloseCode> {
        let (joined, fragments) = match (&self.message, opcode) {
            (Some(message), OpCode::Continuation) => (message.data.len(), message.fragments),
            (Some(_), OpCode::Text | OpCode::Binary) | (None, OpCode::Continuation) => {
                return Err(CloseCode::PROTOCOL_ERROR);
            }
            // Their length was checked with the header, and no message grows by them.
            (_, OpCode::Close | OpCode::Ping | OpCode::Pong) => {
                return usize::try_from(payload).map_err(|_| CloseCode::PROTOCOL_ERROR);
            }
            (None, OpCode::Text | OpCode::Binary) => (0, 0),
        };
        if fragments >= limits.fragments {
            return Err(CloseCode::POLICY);
        }
        let payload = usize::try_from(payload).map_err(|_| CloseCode::TOO_BIG)?;
        if payload > limits.bytes.saturating_sub(joined) {
            return Err(CloseCode::TOO_BIG);
        }
        Ok(payload)
    }

    /// Starts an admitted data frame; its payload follows.
    fn begin(&mut self, header: Header, payload: usize) {
        let text = header.opcode == OpCode::Text;
        let message = self.message.get_or_insert_with(|| {
            Box::new(PartialMessage { text, data: Vec::new(), valid: 0, fragments: 0, frame: None })
        });
        message.fragments += 1;
        message.frame =
            Some(PartialFrame { fin: header.fin, mask: header.mask, done: 0, left: payload });
    }

    /// Ends a frame whose payload is whole. Returns the message if this was its last frame.
    fn finish(&mut self) -> Result<Option<Item>, CloseCode> {
        let fin = self
            .message
            .as_mut()
            .and_then(|message| message.frame.take())
            .is_some_and(|frame| frame.fin);
        match self.message.take_if(|_| fin) {
            // A text that ends within a character is invalid only now.
            Some(message) if message.text => text(message.data).map(Some),
            Some(message) => Ok(Some(Item::Binary(message.data.into()))),
            None => Ok(None),
        }
    }
}

// === impl PartialMessage ===

impl PartialMessage {
    /// Moves payload from `input` into the message. Returns whether the frame is whole.
    fn take_payload(&mut self, input: &mut &[u8]) -> Result<bool, CloseCode> {
        let Some(frame) = self.frame.as_mut() else { return Ok(true) };
        let count = frame.left.min(input.len());
        let start = self.data.len();
        self.data.extend_from_slice(&input[..count]);
        unmask(&mut self.data[start..], frame.mask, frame.done);
        *input = &input[count..];
        frame.done += count;
        frame.left -= count;
        let whole = frame.left == 0;
        if self.text {
            self.check_utf8()?;
        }
        Ok(whole)
    }

    /// Refuses a text as soon as no continuation can make it UTF-8.
    fn check_utf8(&mut self) -> Result<(), CloseCode> {
        match simdutf8::compat::from_utf8(&self.data[self.valid..]) {
            Ok(_) => self.valid = self.data.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(CloseCode::INVALID_UTF8),
        }
        Ok(())
    }
}

/// The usual case: a message of one frame that arrived in one piece. One allocation.
fn single(header: Header, payload: &[u8]) -> Result<Item, CloseCode> {
    let data = unmasked(header, payload);
    if header.opcode == OpCode::Text { text(data) } else { Ok(Item::Binary(data.into())) }
}

fn control(header: Header, payload: &[u8]) -> Result<Item, CloseCode> {
    Ok(match header.opcode {
        OpCode::Ping => Item::Ping(unmasked(header, payload).into()),
        OpCode::Close => Item::Close(parse_close(&unmasked(header, payload))?),
        _ => Item::Pong,
    })
}

fn unmasked(header: Header, payload: &[u8]) -> Vec<u8> {
    let mut data = payload.to_vec();
    unmask(&mut data, header.mask, 0);
    data
}

fn text(data: Vec<u8>) -> Result<Item, CloseCode> {
    String::from_utf8(data).map(|text| Item::Text(text.into())).map_err(|_| CloseCode::INVALID_UTF8)
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "message_properties.rs"]
mod properties;
