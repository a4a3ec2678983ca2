//! `/socket.io/`: the namespaces `/` and `/custom`, where what is said comes back.

use std::collections::HashSet;

use actix_http::RequestHead;
use actix_web::http::header::HeaderMap;
use bytes::Bytes;
use protocol::close::CloseCode;
use protocol::socketio::decoder::Decoder;
use protocol::socketio::malformed::Malformed;
use protocol::socketio::packet::{Packet, PacketType};
use protocol::socketio::write;
use serde_json::json;
use transport::engineio::{EngineHandler, HandshakeRefusal, NewSession};
use transport::{Frame, Outbox};

use crate::Args;
use crate::engine::{self, Talk, say};

/// The namespaces that there are.
const NAMESPACES: [&str; 2] = ["/", "/custom"];

/// The host of `/socket.io/`.
pub struct Echoes {
    engine: engine::Echoes,
    max_message_bytes: usize,
}

/// What one client says.
struct Echo {
    decoder: Decoder,
    /// Where it is in.
    entered: HashSet<&'static str>,
}

// === impl Echoes ===

impl Echoes {
    pub fn new(args: &Args) -> Self {
        Self { engine: engine::Echoes::new(args), max_message_bytes: args.max_message_bytes }
    }
}

impl EngineHandler for Echoes {
    type HandshakeData = ();

    fn allows_origin(&self, _: &HeaderMap) -> bool {
        true
    }

    fn on_handshake(&self, _: &RequestHead) -> Result<(), HandshakeRefusal> {
        Ok(())
    }

    fn on_connect(&self, (): (), new_session: NewSession) {
        let decoder = Decoder::new(self.max_message_bytes);
        self.engine.begin(new_session, Echo { decoder, entered: HashSet::new() });
    }
}

// === impl Echo ===

impl Talk for Echo {
    fn text(&mut self, message: &str, outbox: &Outbox) -> Result<(), CloseCode> {
        match self.decoder.text(message).map_err(Malformed::close)? {
            Some(packet) => self.packet(&packet, &[], outbox),
            None => Ok(()),
        }
    }

    fn binary(&mut self, data: Bytes, outbox: &Outbox) -> Result<(), CloseCode> {
        match self.decoder.binary(data).map_err(Malformed::close)? {
            Some(whole) => {
                let packet = whole.packet().map_err(Malformed::close)?;
                self.packet(&packet, &whole.attachments, outbox)
            }
            None => Ok(()),
        }
    }
}

impl Echo {
    fn packet(
        &mut self,
        packet: &Packet<'_>,
        attachments: &[Bytes],
        outbox: &Outbox,
    ) -> Result<(), CloseCode> {
        let namespace = NAMESPACES.into_iter().find(|name| *name == packet.namespace);
        match (packet.kind, namespace) {
            (PacketType::Connect, Some(namespace)) => self.connect(namespace, packet.data, outbox),
            (PacketType::Connect, None) => say(outbox, |out| {
                let refusal = json!({"message": "Invalid namespace"});
                write::connect_error(packet.namespace, &refusal, out);
            }),
            (PacketType::Disconnect, Some(namespace)) => {
                self.entered.remove(namespace);
            }
            (PacketType::Event | PacketType::BinaryEvent, Some(namespace))
                if self.entered.contains(namespace) =>
            {
                answer(namespace, packet, attachments, outbox);
            }
            (PacketType::Ack | PacketType::BinaryAck, _) => {}
            _ => return Err(CloseCode::PROTOCOL_ERROR),
        }
        Ok(())
    }

    fn connect(&mut self, namespace: &'static str, auth: &str, outbox: &Outbox) {
        self.entered.insert(namespace);
        let sid = json!({"sid": uuid::Uuid::new_v4().to_string()});
        say(outbox, |out| write::connect(namespace, &sid, out));
        let auth = if auth.is_empty() { "{}" } else { auth };
        say(outbox, |out| write::event(namespace, 0, None, &["\"auth\"", auth], out));
    }
}

/// Sends an event's arguments back.
fn answer(namespace: &str, packet: &Packet<'_>, attachments: &[Bytes], outbox: &Outbox) {
    let Some(args) = &packet.args else { return };
    let count = attachments.len();
    match (args.name.as_deref(), packet.ack) {
        (Some("message"), _) => say(outbox, |out| {
            write::event(namespace, count, None, &["\"message-back\"", args.rest()], out);
        }),
        (Some("message-with-ack"), Some(id)) => {
            say(outbox, |out| write::ack(namespace, count, id, &[args.rest()], out));
        }
        _ => return,
    }
    for attachment in attachments {
        // A refusal means that the connection is ending, which the stream will say.
        let _ = outbox.push(Frame::binary(|out| out.extend_from_slice(attachment)));
    }
}
