//! Writes Socket.IO packets, with the `4` of the Engine.IO message before them.
//!
//! Arguments are written JSON, with commas between them and without brackets, so that a client's
//! own arguments can be sent back byte for byte. Attachments follow as separate messages.

use serde::Serialize;

use super::packet::PacketType;
use crate::json;

/// CONNECT: the client is in the namespace. The payload is `{"sid": …}`, with `pid` if the session
/// can be resumed.
pub fn connect(namespace: &str, payload: &impl Serialize, out: &mut Vec<u8>) {
    head(PacketType::Connect, namespace, 0, None, out);
    json::write(payload, out);
}

/// `CONNECT_ERROR`: the client is refused. The payload is `{"message": …, "data"?: …}`.
pub fn connect_error(namespace: &str, payload: &impl Serialize, out: &mut Vec<u8>) {
    head(PacketType::ConnectError, namespace, 0, None, out);
    json::write(payload, out);
}

/// DISCONNECT: the client is out of the namespace, and a stock client does not return.
pub fn disconnect(namespace: &str, out: &mut Vec<u8>) {
    head(PacketType::Disconnect, namespace, 0, None, out);
}

/// EVENT, or `BINARY_EVENT` if there are attachments. The first argument is the event's name, as
/// JSON.
pub fn event(
    namespace: &str,
    attachments: usize,
    ack: Option<u64>,
    args: &[&str],
    out: &mut Vec<u8>,
) {
    let kind = if attachments > 0 { PacketType::BinaryEvent } else { PacketType::Event };
    head(kind, namespace, attachments, ack, out);
    array(args, out);
}

/// ACK, or `BINARY_ACK` if there are attachments.
pub fn ack(namespace: &str, attachments: usize, id: u64, args: &[&str], out: &mut Vec<u8>) {
    let kind = if attachments > 0 { PacketType::BinaryAck } else { PacketType::Ack };
    head(kind, namespace, attachments, Some(id), out);
    array(args, out);
}

/// The part of a packet before its payload.
pub(super) fn head(
    kind: PacketType,
    namespace: &str,
    attachments: usize,
    ack: Option<u64>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(&[b'4', kind.digit()]);
    if kind.is_binary() {
        json::write(&attachments, out);
        out.push(b'-');
    }
    if namespace != "/" {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
    if let Some(id) = ack {
        json::write(&id, out);
    }
}

/// Writes the non-empty arguments as an array: an event without data has no rest.
fn array(args: &[&str], out: &mut Vec<u8>) {
    out.push(b'[');
    let mut first = true;
    for arg in args.iter().filter(|arg| !arg.is_empty()) {
        if !first {
            out.push(b',');
        }
        first = false;
        out.extend_from_slice(arg.as_bytes());
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socketio::packet::Packet;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn packets_are_what_stock_clients_read() {
        let payload = serde_json::json!({"sid": "s1"});
        let refusal = serde_json::json!({"message": "Invalid namespace"});
        let placeholder = "{\"_placeholder\":true,\"num\":0}";
        for (written, expected) in [
            (text(|out| connect("/", &payload, out)), "40{\"sid\":\"s1\"}"),
            (text(|out| connect("/events", &payload, out)), "40/events,{\"sid\":\"s1\"}"),
            (
                text(|out| connect_error("/x", &refusal, out)),
                "44/x,{\"message\":\"Invalid namespace\"}",
            ),
            (text(|out| disconnect("/", out)), "41"),
            (text(|out| disconnect("/events", out)), "41/events,"),
            (text(|out| event("/", 0, None, &["\"a\""], out)), "42[\"a\"]"),
            (text(|out| event("/", 0, None, &["\"a\"", ""], out)), "42[\"a\"]"),
            (text(|out| event("/x", 0, Some(0), &["\"a\"", "1,2"], out)), "42/x,0[\"a\",1,2]"),
            (
                text(|out| event("/x", 1, Some(7), &["\"a\"", placeholder], out)),
                "451-/x,7[\"a\",{\"_placeholder\":true,\"num\":0}]",
            ),
            (text(|out| ack("/", 0, 12, &[], out)), "4312[]"),
            (text(|out| ack("/x", 0, 1, &["1", "{}"], out)), "43/x,1[1,{}]"),
            (
                text(|out| ack("/", 1, 1, &[placeholder], out)),
                "461-1[{\"_placeholder\":true,\"num\":0}]",
            ),
        ] {
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn an_echo_sends_the_arguments_back_as_they_came() {
        for rest in ["1,\"2\",{\"3\":[true]}", "1.0,1e999,\"\\u00fc\"", "{ }", ""] {
            let comma = if rest.is_empty() { "" } else { "," };
            let said = format!("2[\"message\"{comma}{rest}]");
            let args = Packet::parse(&said).expect("a packet").args.expect("an event");
            let echo = text(|out| event("/", 0, None, &["\"message-back\"", args.rest()], out));
            assert_eq!(echo, format!("42[\"message-back\"{comma}{rest}]"));
        }
    }
}
