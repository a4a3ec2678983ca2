//! Socket.IO packets, as Engine.IO messages contain them (Socket.IO protocol 5).

use serde_json::value::RawValue;

use super::args::Args;
use super::malformed::Malformed;
use super::placeholders;
use crate::json::{MAX_DEPTH, nests_deeper_than};
use crate::json_number::MAX_SAFE_INTEGER;

/// The most attachments of a packet.
pub const MAX_ATTACHMENTS: usize = 10;

/// The type of a packet; the discriminant is its type on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PacketType {
    /// Enters a namespace.
    Connect,
    /// Leaves a namespace.
    Disconnect,
    /// Carries an event.
    Event,
    /// Answers an event.
    Ack,
    /// Refuses a CONNECT; only servers send it.
    ConnectError,
    /// An event with attachments.
    BinaryEvent,
    /// An answer with attachments.
    BinaryAck,
}

/// A packet, borrowed from its text. Its attachments follow as separate messages.
#[derive(Debug, Clone)]
pub struct Packet<'a> {
    /// The type.
    pub kind: PacketType,
    /// The namespace, `/` if none is given. It may not exist.
    pub namespace: &'a str,
    /// The id of a requested answer, or of the event that is answered; at most 2^53 - 1.
    pub ack: Option<u64>,
    /// How many binary messages follow; 0 to 10.
    pub attachments: usize,
    /// The payload, which is JSON, or nothing.
    pub data: &'a str,
    /// The parsed payload of an EVENT or `BINARY_EVENT`.
    pub args: Option<Args<'a>>,
}

// === impl PacketType ===

impl PacketType {
    /// The type on the wire.
    pub fn digit(self) -> u8 {
        b'0' + self as u8
    }

    /// Whether attachments may follow.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAck)
    }

    /// Splits the type off a packet.
    fn split(text: &str) -> Option<(Self, &str)> {
        let (digit, rest) = text.split_at_checked(1)?;
        let kind = match digit {
            "0" => Self::Connect,
            "1" => Self::Disconnect,
            "2" => Self::Event,
            "3" => Self::Ack,
            "4" => Self::ConnectError,
            "5" => Self::BinaryEvent,
            "6" => Self::BinaryAck,
            _ => return None,
        };
        Some((kind, rest))
    }
}

// === impl Packet ===

impl<'a> Packet<'a> {
    /// Reads a packet: the data of an Engine.IO message.
    ///
    /// # Errors
    /// [`Malformed`] if no stock client would have sent it.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let (kind, rest) = PacketType::split(text).ok_or(Malformed::Kind)?;
        let (attachments, rest) = if kind.is_binary() { attachments(rest)? } else { (0, rest) };
        let (namespace, rest) = namespace(rest);
        let (ack, data) = ack_id(rest)?;
        let args = payload(kind, data)?;
        if kind.is_binary() {
            placeholders::check(data, attachments)?;
        }
        Ok(Self { kind, namespace, ack, attachments, data, args })
    }
}

/// Splits `N-` off a binary packet.
fn attachments(text: &str) -> Result<(usize, &str), Malformed> {
    let (count, rest) = number(text);
    let count = count.and_then(|count| usize::try_from(count).ok());
    let count = count.filter(|count| *count <= MAX_ATTACHMENTS).ok_or(Malformed::Attachments)?;
    Ok((count, rest.strip_prefix('-').ok_or(Malformed::Attachments)?))
}

/// Splits the namespace off, with its comma. A packet without a payload may end without a comma.
fn namespace(text: &str) -> (&str, &str) {
    if text.starts_with('/') { text.split_once(',').unwrap_or((text, "")) } else { ("/", text) }
}

fn ack_id(text: &str) -> Result<(Option<u64>, &str), Malformed> {
    match number(text) {
        (Some(id), _) if id > MAX_SAFE_INTEGER => Err(Malformed::AckId),
        found => Ok(found),
    }
}

/// Splits leading digits off; a number over 64 bits counts as the maximum.
fn number(text: &str) -> (Option<u64>, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit);
    let (mut length, mut value) = (0, 0_u64);
    for digit in digits {
        length += 1;
        value = value.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    }
    ((length > 0).then_some(value), text.get(length..).unwrap_or_default())
}

/// Checks that the payload fits packets of that type.
fn payload(kind: PacketType, data: &str) -> Result<Option<Args<'_>>, Malformed> {
    if nests_deeper_than(data, MAX_DEPTH) {
        return Err(Malformed::TooDeep);
    }
    let fits = match kind {
        PacketType::Event | PacketType::BinaryEvent => return Args::parse(data).map(Some),
        PacketType::Connect => data.is_empty() || json(data)?.starts_with('{'),
        PacketType::Disconnect => data.is_empty(),
        PacketType::Ack | PacketType::BinaryAck => json(data)?.starts_with('['),
        PacketType::ConnectError => json(data)?.starts_with(['{', '"']),
    };
    if fits { Ok(None) } else { Err(Malformed::Payload) }
}

/// The text without surrounding blanks, if it is JSON.
fn json(text: &str) -> Result<&str, Malformed> {
    serde_json::from_str(text).map(RawValue::get).map_err(|_| Malformed::Payload)
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
