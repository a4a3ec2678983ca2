//! Reads the messages of a Socket.IO client from its connection.

use bytes::Bytes;

use super::Namespace;
use super::auth::Auth;
use super::decoder::Decoder;
use super::engine;
use super::event;
use super::malformed::Malformed;
use super::packet::{Packet, PacketType};
use crate::client::ClientEventName;
use crate::lenient::{without_mark, without_nan};
use crate::request::{Rejected, Request};

/// The meaning of a message of a client.
#[derive(Debug, Clone)]
pub enum ClientPacket {
    /// The client enters a namespace.
    Connect {
        /// The namespace, or the name of one that does not exist.
        namespace: Result<Namespace, String>,
        /// The client's token, and the session that it wants to resume.
        auth: Auth,
    },
    /// The client leaves a namespace.
    Disconnect {
        /// The namespace; none if it does not exist.
        namespace: Option<Namespace>,
    },
    /// The client sends an event.
    Event {
        /// The namespace; none if it does not exist.
        namespace: Option<Namespace>,
        /// The event, or why there is none.
        request: Result<Request, Rejected>,
    },
    /// The client answers a ping.
    Pong,
    /// The client ends the connection.
    Close,
    /// Nothing to act on: the end of a poll, an answer to an event of the hub, which asks for none,
    /// or the beginning of a packet whose attachments follow.
    Nothing,
}

/// Reads the messages of one connection, over either transport.
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
    /// [`Malformed`] if the connection must be closed; it gives the close code.
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
    /// [`Malformed`] if the connection must be closed; it gives the close code.
    pub fn binary(&mut self, attachment: Bytes) -> Result<ClientPacket, Malformed> {
        match self.decoder.binary(attachment)? {
            Some(whole) => client_packet(&whole.packet()?),
            None => Ok(ClientPacket::Nothing),
        }
    }
}

/// Reads a position in which numbers are `NaN`. None if the packet is wrong for another reason.
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
