//! The hub's messages in the Socket.IO framing: its events, and answers to events of clients.

use super::Namespace;
use super::offset::write_offset;
use crate::client::Reply;
use crate::error::Failure;
use crate::events::chat::ChatPush;
use crate::json;
use crate::server::ServerEvent;

/// Writes an event of the hub: `42/events,["name",data]`. With `offsets`, chat ends with its
/// offset. No other event ends with a string, because stock clients take it for an offset.
pub fn encode_event(
    event: &ServerEvent<'_>,
    namespace: Namespace,
    offsets: bool,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"42");
    out.extend_from_slice(namespace.prefix().as_bytes());
    out.extend_from_slice(b"[\"");
    out.extend_from_slice(event.name().as_bytes());
    out.extend_from_slice(b"\",");
    event.write(out);
    match event {
        ServerEvent::Chat(ChatPush { order_id, seq, .. }) if offsets => {
            out.push(b',');
            write_offset(order_id, *seq, out);
        }
        ServerEvent::Pong(pong) if offsets && pong.0.get().starts_with('"') => {
            out.extend_from_slice(b",null");
        }
        _ => {}
    }
    out.push(b']');
}

/// Writes the answer to an event that carried an ack id: `43/events,7[result]`.
pub fn encode_ack(
    id: u64,
    result: &Result<Reply<'_>, Failure>,
    namespace: Namespace,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"43");
    out.extend_from_slice(namespace.prefix().as_bytes());
    json::write(&id, out);
    out.push(b'[');
    json::write_result(result, out);
    out.push(b']');
}
