//! What a client hears, in both framings: only as much of it as the run needs.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::protocol::codec::Framing;

/// One message of the hub.
#[derive(Debug)]
pub enum Heard<'a> {
    /// Engine.IO is open; the namespace is still to be entered.
    EngineOpen,
    /// Engine.IO asks whether one is there.
    EnginePing,
    /// The session has begun.
    Opened,
    /// The namespace does not let the token in (Socket.IO): with why.
    Refused(&'a str),
    /// The namespace is over (Socket.IO).
    Dismissed,
    /// The reply to an event of this number.
    Reply(u64, &'a str),
    /// An event with its data.
    Event(Cow<'a, str>, &'a str),
    /// Nothing that is known here.
    Other,
}

/// The data of `location:updated`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Location<'a> {
    /// Who was there.
    #[serde(borrow)]
    pub driver_id: Cow<'a, str>,
    /// The stamp.
    #[serde(default)]
    pub altitude: Option<f64>,
}

/// The data of `chat:message`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chat<'a> {
    /// Its place in the room.
    pub seq: i64,
    /// The sender's key.
    #[serde(default, borrow)]
    pub client_msg_id: Option<Cow<'a, str>>,
}

/// A result: of whatever was asked, with the fields that count here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome<'a> {
    /// Whether it was done.
    pub ok: bool,
    /// Why not.
    #[serde(default, borrow)]
    pub error: Option<Refusal<'a>>,
    /// Of a chat message: its place.
    #[serde(default)]
    pub seq: Option<i64>,
    /// Of a join: the newest message.
    #[serde(default)]
    pub last_seq: Option<i64>,
    /// Of a join: whether `messages` is all since `sinceSeq`.
    #[serde(default)]
    pub recovered: bool,
    /// Of a join: messages.
    #[serde(default, borrow)]
    pub messages: Vec<Chat<'a>>,
}

/// An error, or the data of `exception`.
#[derive(Debug, Deserialize)]
pub struct Refusal<'a> {
    /// Which.
    #[serde(borrow)]
    pub code: Cow<'a, str>,
}

/// What a `CONNECT_ERROR` of Socket.IO says.
#[derive(Debug, Deserialize)]
pub struct Rejection<'a> {
    /// In words.
    #[serde(borrow)]
    pub message: Cow<'a, str>,
    /// The code, which a hub adds.
    #[serde(default, borrow)]
    pub data: Option<Refusal<'a>>,
}

/// The data of `session:end`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// The close code that follows.
    pub code: u16,
    /// When to come back.
    #[serde(default)]
    pub reconnect_after_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    id: Option<u64>,
}

#[derive(Deserialize)]
struct Named<'a>(#[serde(borrow)] Cow<'a, str>, #[serde(borrow)] &'a RawValue);

/// Takes a message apart.
pub fn hear(framing: Framing, text: &str) -> Heard<'_> {
    match framing {
        Framing::Plain => plain(text),
        Framing::SocketIo => socket_io(text),
    }
}

fn plain(text: &str) -> Heard<'_> {
    let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(text) else { return Heard::Other };
    let data = envelope.data.map_or("null", RawValue::get);
    match (&*envelope.event, envelope.id) {
        ("ack", Some(id)) => Heard::Reply(id, data),
        ("connected", _) => Heard::Opened,
        _ => Heard::Event(envelope.event, data),
    }
}

fn socket_io(text: &str) -> Heard<'_> {
    if text == "2" {
        return Heard::EnginePing;
    }
    if text.starts_with('0') {
        return Heard::EngineOpen;
    }
    let packet = text.strip_prefix('4').and_then(|packet| packet.split_at_checked(1));
    let Some((kind, rest)) = packet else { return Heard::Other };
    let rest = match rest.strip_prefix('/') {
        Some(named) => named.split_once(',').map_or("", |(_, rest)| rest),
        None => rest,
    };
    match kind {
        "0" => Heard::Opened,
        "1" => Heard::Dismissed,
        "2" => match serde_json::from_str::<Named<'_>>(rest) {
            Ok(Named(name, data)) => Heard::Event(name, data.get()),
            Err(_) => Heard::Other,
        },
        "3" => reply(rest).unwrap_or(Heard::Other),
        "4" => Heard::Refused(rest),
        _ => Heard::Other,
    }
}

fn reply(rest: &str) -> Option<Heard<'_>> {
    let (id, result) = rest.split_once('[')?;
    Some(Heard::Reply(id.parse().ok()?, result.strip_suffix(']')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(framing: Framing, text: &str) -> String {
        format!("{:?}", hear(framing, text))
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
