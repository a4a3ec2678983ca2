//! Assembles binary packets: the text waits for the attachments that follow it.

use bytes::Bytes;

use super::malformed::Malformed;
use super::packet::Packet;

/// The packets of one connection. It holds memory only while a packet is incomplete.
#[derive(Debug)]
pub struct Decoder {
    /// The most bytes of a packet with its attachments.
    limit: usize,
    /// The packet whose attachments have not all arrived.
    pending: Option<Box<AwaitedAttachments>>,
}

#[derive(Debug)]
struct AwaitedAttachments {
    text: Box<str>,
    /// How many attachments were announced.
    expected: usize,
    attachments: Vec<Bytes>,
    /// How many more bytes the packet may have.
    room: usize,
}

/// A binary packet with all its attachments.
#[derive(Debug)]
pub struct BinaryPacket {
    text: Box<str>,
    /// The attachments, in the order of the numbers of their placeholders.
    pub attachments: Vec<Bytes>,
}

impl BinaryPacket {
    /// The packet that announced the attachments.
    ///
    /// # Errors
    /// Only errors that the decoder has reported already, because it has read the same text before.
    pub fn packet(&self) -> Result<Packet<'_>, Malformed> {
        Packet::parse(&self.text)
    }
}

impl Decoder {
    /// A decoder of packets of at most `limit` bytes, attachments included.
    pub fn new(limit: usize) -> Self {
        Self { limit, pending: None }
    }

    /// Takes the data of an Engine.IO message, which is a packet. None if attachments follow.
    ///
    /// # Errors
    /// [`Malformed::TooBig`] if it is over the limit, [`Malformed::Unfinished`] if an attachment
    /// was expected, else the errors of [`Packet::parse`].
    pub fn text<'a>(&mut self, text: &'a str) -> Result<Option<Packet<'a>>, Malformed> {
        if self.pending.is_some() {
            return Err(Malformed::Unfinished);
        }
        let room = self.limit.checked_sub(text.len()).ok_or(Malformed::TooBig)?;
        let packet = Packet::parse(text)?;
        if packet.attachments == 0 {
            return Ok(Some(packet));
        }
        self.pending = Some(Box::new(AwaitedAttachments {
            text: text.into(),
            expected: packet.attachments,
            attachments: Vec::with_capacity(packet.attachments),
            room,
        }));
        Ok(None)
    }

    /// Takes a binary message, which is an attachment. The last one completes the packet.
    ///
    /// # Errors
    /// [`Malformed::Unannounced`] if no packet waits for an attachment, [`Malformed::TooBig`] if
    /// the packet with its attachments is over the limit.
    pub fn binary(&mut self, attachment: Bytes) -> Result<Option<BinaryPacket>, Malformed> {
        let mut pending = self.pending.take().ok_or(Malformed::Unannounced)?;
        pending.room = pending.room.checked_sub(attachment.len()).ok_or(Malformed::TooBig)?;
        pending.attachments.push(attachment);
        if pending.attachments.len() < pending.expected {
            self.pending = Some(pending);
            return Ok(None);
        }
        let AwaitedAttachments { text, attachments, .. } = *pending;
        Ok(Some(BinaryPacket { text, attachments }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::CloseCode;
    use crate::socketio::packet::PacketType;

    const TWO: &str = r#"52-["a",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#;

    fn bytes(bytes: &'static [u8]) -> Bytes {
        Bytes::from_static(bytes)
    }

    #[test]
    fn a_packet_without_attachments_is_whole_at_once() {
        let mut decoder = Decoder::new(100);
        for (text, kind) in [
            ("2[\"a\"]", PacketType::Event),
            ("50-[\"a\"]", PacketType::BinaryEvent),
            ("60-1[]", PacketType::BinaryAck),
            ("0", PacketType::Connect),
        ] {
            let packet = decoder.text(text).expect(text).expect("whole");
            assert_eq!(packet.kind, kind, "{text}");
        }
    }

    #[test]
    fn attachments_are_awaited_and_kept_in_order() {
        let mut decoder = Decoder::new(100);
        for _ in 0..2 {
            assert!(decoder.text(TWO).expect("a packet").is_none());
            assert!(decoder.binary(bytes(&[1, 2])).expect("awaited").is_none());
            let whole = decoder.binary(bytes(&[])).expect("awaited").expect("whole");
            assert_eq!(whole.attachments, [bytes(&[1, 2]), bytes(&[])]);
            let packet = whole.packet().expect("read before");
            let args = packet.args.expect("an event");
            assert_eq!((packet.attachments, args.name.as_deref()), (2, Some("a")));
            assert!(decoder.pending.is_none());
        }
        assert!(decoder.text("2[\"b\"]").expect("a packet").is_some());
    }

    #[test]
    fn a_packet_out_of_order_is_malformed() {
        let mut decoder = Decoder::new(100);
        assert_eq!(decoder.binary(bytes(&[1])).err(), Some(Malformed::Unannounced));
        assert!(decoder.text(TWO).expect("a packet").is_none());
        assert_eq!(decoder.text("2[\"a\"]").err(), Some(Malformed::Unfinished));
        assert!(decoder.binary(bytes(&[1])).expect("awaited").is_none());
        assert_eq!(decoder.text(TWO).err(), Some(Malformed::Unfinished));
        assert!(decoder.binary(bytes(&[1])).expect("awaited").is_some());
        assert_eq!(decoder.binary(bytes(&[1])).err(), Some(Malformed::Unannounced));
    }

    #[test]
    fn the_limit_is_for_text_and_attachments_together() {
        let limit = TWO.len() + 3;
        let mut decoder = Decoder::new(limit);
        assert!(decoder.text(TWO).expect("a packet").is_none());
        assert!(decoder.binary(bytes(&[1])).expect("awaited").is_none());
        assert!(decoder.binary(bytes(&[2, 3])).expect("just fits").is_some());
        assert!(decoder.text(TWO).expect("a packet").is_none());
        assert!(decoder.binary(bytes(&[1, 2, 3])).expect("awaited").is_none());
        assert_eq!(decoder.binary(bytes(&[4])).err(), Some(Malformed::TooBig));
        let long = format!("2[\"{}\"]", "a".repeat(limit));
        assert_eq!(decoder.text(&long).err(), Some(Malformed::TooBig));
        assert_eq!(Malformed::TooBig.close(), CloseCode::TOO_BIG);
        assert_eq!(Malformed::Kind.close(), CloseCode::PROTOCOL_ERROR);
    }
}
