//! Packets of Socket.IO, as clients see them.

use serde_json::Value;

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
}

/// One packet of the hub.
#[derive(Debug, Clone)]
pub struct Packet {
    pub kind: Kind,
    pub namespace: String,
    /// Of an ACK.
    pub id: Option<u64>,
    /// Its JSON, null where it has none.
    pub payload: Value,
    /// As it came.
    pub text: String,
}

impl Packet {
    /// Reads the text of an Engine.IO message.
    pub fn parse(text: &str) -> Self {
        let rest = text.strip_prefix('4').unwrap_or_else(|| panic!("no message: {text}"));
        let (kind, rest) = rest.split_at(1);
        let kind = match kind {
            "0" => Kind::Connect,
            "1" => Kind::Disconnect,
            "2" => Kind::Event,
            "3" => Kind::Ack,
            "4" => Kind::ConnectError,
            _ => panic!("not what the hub sends: {text}"),
        };
        let (namespace, rest) = match rest.split_once(',') {
            Some((namespace, rest)) if namespace.starts_with('/') => (namespace, rest),
            _ => ("/", rest),
        };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (id, payload) = rest.split_at(digits);
        let payload = match payload {
            "" => Value::Null,
            json => serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {text}")),
        };
        let (namespace, text) = (namespace.to_owned(), text.to_owned());
        Self { kind, namespace, id: id.parse().ok(), payload, text }
    }

    /// Whether it is an event with this name.
    pub fn is_event(&self, name: &str) -> bool {
        self.kind == Kind::Event && self.payload[0] == name
    }

    /// The data of an event.
    pub fn data(&self) -> &Value {
        &self.payload[1]
    }

    /// The last argument of an event behind its name, where it is a string: stock clients take it
    /// for an offset.
    pub fn last_string(&self) -> Option<&str> {
        self.payload.as_array()?.get(1..)?.last()?.as_str()
    }
}

/// What stands before the payload of a packet of this namespace.
pub fn prefix(namespace: &str) -> String {
    if namespace == "/" { String::new() } else { format!("{namespace},") }
}
