//! What a Socket.IO client says, read from the messages of its connection.

use bytes::Bytes;

use super::Namespace;
use super::auth::Auth;
use super::decoder::Decoder;
use super::engine;
use super::event;
use super::malformed::Malformed;
use super::packet::{Packet, PacketType};
use crate::protocol::client::ClientEventName;
use crate::protocol::lenient::{without_mark, without_nan};
use crate::protocol::request::{Rejected, Request};

/// What a message of a client says.
#[derive(Debug, Clone)]
pub enum ClientPacket {
    /// It wants into a namespace.
    Connect {
        /// Which one, or the name of one that does not exist.
        namespace: Result<Namespace, String>,
        /// Who it is, and what it wants back.
        auth: Auth,
    },
    /// It leaves a namespace.
    Disconnect {
        /// Which one; none where it does not exist.
        namespace: Option<Namespace>,
    },
    /// It asks for something.
    Event {
        /// In which namespace; none where it does not exist.
        namespace: Option<Namespace>,
        /// What it asks for, or why that is nothing.
        request: Result<Request, Rejected>,
    },
    /// It answers a ping.
    Pong,
    /// It ends the connection.
    Close,
    /// Nothing that matters here: the end of a poll, an answer to an event of the hub, which asks
    /// for none, or the beginning of a packet whose attachments are to follow.
    Nothing,
}

/// Reads the messages of one connection, whichever way they come.
#[derive(Debug)]
pub struct PacketReader {
    decoder: Decoder,
}

impl PacketReader {
    /// A reader of packets of at most `limit` bytes, attachments included.
    pub fn new(limit: usize) -> Self {
        Self { decoder: Decoder::new(limit) }
    }

    /// Reads a text message: an Engine.IO packet.
    ///
    /// # Errors
    /// [`Malformed`] where the connection must be closed, and with which code.
    pub fn text(&mut self, text: &str) -> Result<ClientPacket, Malformed> {
        let marked = || engine::EnginePacket::parse(without_mark(text));
        match engine::EnginePacket::parse(text).or_else(marked).ok_or(Malformed::Engine)? {
            engine::EnginePacket::Message(data) => match self.decoder.text(data) {
                Ok(Some(packet)) => client_packet(&packet),
                Ok(None) => Ok(ClientPacket::Nothing),
                Err(Malformed::Payload) => location_with_nan(data).ok_or(Malformed::Payload),
                Err(malformed) => Err(malformed),
            },
            engine::EnginePacket::Pong(_) => Ok(ClientPacket::Pong),
            engine::EnginePacket::Close => Ok(ClientPacket::Close),
            engine::EnginePacket::Noop => Ok(ClientPacket::Nothing),
            _ => Err(Malformed::Engine),
        }
    }

    /// Reads a binary message: an attachment.
    ///
    /// # Errors
    /// [`Malformed`] where the connection must be closed, and with which code.
    pub fn binary(&mut self, attachment: Bytes) -> Result<ClientPacket, Malformed> {
        match self.decoder.binary(attachment)? {
            Some(whole) => client_packet(&whole.packet()?),
            None => Ok(ClientPacket::Nothing),
        }
    }
}

/// Reads a position in which numbers are `NaN`. None where that is not what is wrong with a packet.
fn location_with_nan(data: &str) -> Option<ClientPacket> {
    let name = ClientEventName::Location.as_str();
    let is_event = data.starts_with('2') && data.contains(name);
    let data = is_event.then(|| without_nan(data)).flatten()?;
    let packet = Packet::parse(&data).ok()?;
    let is_location = packet.args.as_ref()?.name.as_deref() == Some(name);
    is_location.then(|| client_packet(&packet).ok()).flatten()
}

fn client_packet(packet: &Packet<'_>) -> Result<ClientPacket, Malformed> {
    let namespace = Namespace::from_name(packet.namespace);
    Ok(match packet.kind {
        PacketType::Event | PacketType::BinaryEvent => {
            ClientPacket::Event { namespace, request: event::read_event(packet) }
        }
        PacketType::Connect => ClientPacket::Connect {
            namespace: namespace.ok_or_else(|| packet.namespace.to_owned()),
            auth: Auth::parse(packet.data),
        },
        PacketType::Disconnect => ClientPacket::Disconnect { namespace },
        PacketType::Ack | PacketType::BinaryAck => ClientPacket::Nothing,
        PacketType::ConnectError => return Err(Malformed::Kind),
    })
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
