//! Messages of the hub, in both framings: only the parts that a run needs.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use protocol::codec::Framing;

/// One message of the hub.
#[derive(Debug)]
pub enum HubMessage<'a> {
    /// Engine.IO is open; the client must enter the namespace next.
    EngineOpen,
    /// Engine.IO sends a ping.
    EnginePing,
    /// The session has begun.
    Opened,
    /// The namespace refuses the token (Socket.IO), with the reason.
    Refused(&'a str),
    /// The hub has closed the namespace (Socket.IO).
    Dismissed,
    /// The reply to an event of this number.
    Reply(u64, &'a str),
    /// An event with its data.
    Event(Cow<'a, str>, &'a str),
    /// Any other message.
    Other,
}

/// The data of `location:updated`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocationData<'a> {
    /// The driver.
    #[serde(borrow)]
    pub driver_id: Cow<'a, str>,
    /// The stamp.
    #[serde(default)]
    pub altitude: Option<f64>,
}

/// The data of `chat:message`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatData<'a> {
    /// Its number in the room.
    pub seq: i64,
    /// The sender's key.
    #[serde(default, borrow)]
    pub client_msg_id: Option<Cow<'a, str>>,
}

/// A reply to any event, with the fields that a run needs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplyData<'a> {
    /// Whether the event succeeded.
    pub ok: bool,
    /// Why it failed.
    #[serde(default, borrow)]
    pub error: Option<ErrorData<'a>>,
    /// Of a chat message: its number.
    #[serde(default)]
    pub seq: Option<i64>,
    /// Of a join: the number of the newest message.
    #[serde(default)]
    pub last_seq: Option<i64>,
    /// Of a join: whether `messages` has everything since `sinceSeq`.
    #[serde(default)]
    pub recovered: bool,
    /// Of a join: its messages.
    #[serde(default, borrow)]
    pub messages: Vec<ChatData<'a>>,
}

/// An error, or the data of `exception`.
#[derive(Debug, Deserialize)]
pub struct ErrorData<'a> {
    /// The code.
    #[serde(borrow)]
    pub code: Cow<'a, str>,
}

/// The data of a Socket.IO `CONNECT_ERROR`.
#[derive(Debug, Deserialize)]
pub struct ConnectErrorData<'a> {
    /// The message.
    #[serde(borrow)]
    pub message: Cow<'a, str>,
    /// The code, which the hub adds.
    #[serde(default, borrow)]
    pub data: Option<ErrorData<'a>>,
}

/// The data of `session:end`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionEndData {
    /// The close code that follows.
    pub code: u16,
    /// When to reconnect.
    #[serde(default)]
    pub reconnect_after_ms: Option<u64>,
}

#[derive(Deserialize)]
struct PlainEnvelope<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    id: Option<u64>,
}

#[derive(Deserialize)]
struct Named<'a>(#[serde(borrow)] Cow<'a, str>, #[serde(borrow)] &'a RawValue);

/// Parses a message.
pub fn parse(framing: Framing, text: &str) -> HubMessage<'_> {
    match framing {
        Framing::Plain => plain(text),
        Framing::SocketIo => socket_io(text),
    }
}

fn plain(text: &str) -> HubMessage<'_> {
    let Ok(envelope) = serde_json::from_str::<PlainEnvelope<'_>>(text) else {
        return HubMessage::Other;
    };
    let data = envelope.data.map_or("null", RawValue::get);
    match (&*envelope.event, envelope.id) {
        ("ack", Some(id)) => HubMessage::Reply(id, data),
        ("connected", _) => HubMessage::Opened,
        _ => HubMessage::Event(envelope.event, data),
    }
}

fn socket_io(text: &str) -> HubMessage<'_> {
    if text == "2" {
        return HubMessage::EnginePing;
    }
    if text.starts_with('0') {
        return HubMessage::EngineOpen;
    }
    let packet = text.strip_prefix('4').and_then(|packet| packet.split_at_checked(1));
    let Some((kind, rest)) = packet else { return HubMessage::Other };
    let rest = match rest.strip_prefix('/') {
        Some(named) => named.split_once(',').map_or("", |(_, rest)| rest),
        None => rest,
    };
    match kind {
        "0" => HubMessage::Opened,
        "1" => HubMessage::Dismissed,
        "2" => match serde_json::from_str::<Named<'_>>(rest) {
            Ok(Named(name, data)) => HubMessage::Event(name, data.get()),
            Err(_) => HubMessage::Other,
        },
        "3" => reply(rest).unwrap_or(HubMessage::Other),
        "4" => HubMessage::Refused(rest),
        _ => HubMessage::Other,
    }
}

fn reply(rest: &str) -> Option<HubMessage<'_>> {
    let (id, result) = rest.split_once('[')?;
    Some(HubMessage::Reply(id.parse().ok()?, result.strip_suffix(']')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(framing: Framing, text: &str) -> String {
        format!("{:?}", parse(framing, text))
    }

    #[test]
    fn plain_messages_are_known() {
        for (text, heard) in [
            (r#"{"event":"connected","data":{}}"#, "Opened"),
            (r#"{"event":"ack","id":7,"data":{"ok":true}}"#, r#"Reply(7, "{\"ok\":true}")"#),
            (r#"{"event":"pong","data":1}"#, r#"Event("pong", "1")"#),
            (r#"{"data":1,"event":"a\u0062"}"#, r#"Event("ab", "1")"#),
            ("[]", "Other"),
            ("", "Other"),
        ] {
            assert_eq!(shown(Framing::Plain, text), heard);
        }
    }

    #[test]
    fn packets_of_socket_io_are_known() {
        for (text, heard) in [
            ("0{\"sid\":\"x\"}", "EngineOpen"),
            ("2", "EnginePing"),
            ("40/events,{\"sid\":\"x\"}", "Opened"),
            ("41/events,", "Dismissed"),
            ("42/events,[\"pong\",1]", r#"Event("pong", "1")"#),
            ("42[\"pong\",{}]", r#"Event("pong", "{}")"#),
            ("43/events,7[{\"ok\":true}]", r#"Reply(7, "{\"ok\":true}")"#),
            ("44/events,{\"message\":\"x\"}", r#"Refused("{\"message\":\"x\"}")"#),
            ("43/events,[1]", "Other"),
            ("4ä", "Other"),
            ("6", "Other"),
        ] {
            assert_eq!(shown(Framing::SocketIo, text), heard);
        }
    }
}
