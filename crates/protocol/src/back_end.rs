//! Events that back ends send to clients, under any name that is not reserved and with data of
//! their own.

use serde_json::value::RawValue;

use super::error::Failure;
use crate::client::ClientEventName;
use crate::events::back_end::BackEndPush;
use crate::server::ServerEvent;

/// The longest name of an event, in characters.
const MAX_NAME_CHARS: usize = 64;
/// The most bytes of data: it goes into every member's outbox.
pub const MAX_DATA_BYTES: usize = 16 * 1024;

/// Names that have a meaning for clients of either framing, beside the events of this protocol.
/// Clients would take such an event for their own, or never pass it to the app.
const RESERVED_NAMES: &[&str] = &[
    "*",
    "ack",
    "connect",
    "connect_error",
    "connect_timeout",
    "connecting",
    "connection",
    "disconnect",
    "disconnecting",
    "error",
    "newListener",
    "reconnect",
    "reconnect_attempt",
    "reconnect_error",
    "reconnect_failed",
    "reconnecting",
    "removeListener",
];

/// An event of a back end. Its name needs no escapes in JSON.
#[derive(Debug, Clone)]
pub struct BackEndEvent {
    name: Box<str>,
    data: Box<RawValue>,
}

// === impl BackEndEvent ===

impl BackEndEvent {
    /// Checks and makes an event.
    ///
    /// # Errors
    /// `invalid_payload` if the name is reserved or invalid, or the data is not an object or array:
    /// stock Socket.IO clients take a text at the end of an event for an offset.
    pub fn new(name: String, data: Box<RawValue>) -> Result<Self, Failure> {
        check_name(&name).map_err(|problem| Failure::invalid("event", problem))?;
        Ok(Self { name: name.into(), data: checked_data(data)? })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its data.
    pub fn data(&self) -> &RawValue {
        &self.data
    }

    /// The event in the form that the hub sends.
    pub fn event(&self) -> ServerEvent<'_> {
        ServerEvent::BackEnd(BackEndPush { name: &self.name, data: &self.data })
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let plain = |character: char| !character.is_control() && !matches!(character, '"' | '\\');
    if !(1..=MAX_NAME_CHARS).contains(&name.chars().count()) || !name.chars().all(plain) {
        return Err(
            "must be 1 to 64 characters without control characters, quotes and backslashes",
        );
    }
    let is_ours = [ClientEventName::NAMES, ServerEvent::NAMES].concat().contains(&name);
    if is_ours || RESERVED_NAMES.contains(&name) {
        return Err("is a name of this protocol or of Socket.IO");
    }
    Ok(())
}

/// Checks data of a back end, which clients get unchanged.
///
/// # Errors
/// `invalid_payload` if it is not an object or array, or too long.
pub fn checked_data(data: Box<RawValue>) -> Result<Box<RawValue>, Failure> {
    if !data.get().starts_with(['{', '[']) {
        return Err(Failure::invalid("data", "must be an object or an array"));
    }
    if data.get().len() > MAX_DATA_BYTES {
        return Err(Failure::invalid("data", "is over 16 KiB"));
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::socketio::Namespace;

    fn made(name: &str, data: &str) -> Result<BackEndEvent, String> {
        let data = RawValue::from_string(data.to_owned()).expect("JSON");
        BackEndEvent::new(name.to_owned(), data)
            .map_err(|failure| failure.field.unwrap_or_default().into_owned())
    }

    fn written(codec: Codec, event: &BackEndEvent) -> String {
        let mut out = Vec::new();
        codec.event(&event.event(), &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_back_end_event_is_encoded_in_both_framings() {
        let event = made("küche:fertig", r#"{"minutes": 7}"#).expect("an event");
        let plain = r#"{"event":"küche:fertig","data":{"minutes": 7}}"#;
        assert_eq!(written(Codec::Plain, &event), plain);
        let namespace = Namespace::Events;
        for offsets in [false, true] {
            let io = written(Codec::SocketIo { namespace, offsets }, &event);
            assert_eq!(io, r#"42/events,["küche:fertig",{"minutes": 7}]"#);
        }
    }

    #[test]
    fn names_that_mean_something_else_are_refused() {
        for name in ["connect", "disconnect", "chat:message", "order:join", "ping", "pong", "ack"] {
            assert_eq!(made(name, "{}").err(), Some("event".to_owned()), "{name}");
        }
        let long = "x".repeat(65);
        for name in ["", "a\"b", "a\\b", "a\nb", "\u{7f}", &long] {
            assert_eq!(made(name, "{}").err(), Some("event".to_owned()), "{name:?}");
        }
        for name in ["x", "order:eta", "Connect", "message", &"ü".repeat(64)] {
            assert!(made(name, "{}").is_ok(), "{name}");
        }
    }

    #[test]
    fn data_is_an_object_or_an_array_and_not_too_long() {
        assert!(made("x", "[]").is_ok());
        let long = format!("[\"{}\"]", "x".repeat(MAX_DATA_BYTES));
        for data in ["7", "null", "\"text\"", "true", &long] {
            assert_eq!(made("x", data).err(), Some("data".to_owned()), "{data:.10}");
        }
    }
}
