//! Engine.IO 4: the layer under Socket.IO that opens, pings, upgrades and closes. This file has its
//! packets, its handshake, and its errors as HTTP answers.
//!
//! Source: the Engine.IO protocol, revision 4, and the errors of its reference server.

use std::time::Duration;

use serde::Serialize;

/// A packet in a text message, without its type. Binary messages are packets without a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnginePacket<'a> {
    /// `0`: the handshake; only servers send it.
    Open(&'a str),
    /// `1`: the end of the session.
    Close,
    /// `2`: a ping of the server, or a client's probe of an upgrade.
    Ping(&'a str),
    /// `3`: the answer to a ping.
    Pong(&'a str),
    /// `4`: a message, which is a Socket.IO packet.
    Message(&'a str),
    /// `5`: the upgrade is complete.
    Upgrade,
    /// `6`: nothing; it ends a poll.
    Noop,
}

impl<'a> EnginePacket<'a> {
    /// Reads a packet; none if its type is unknown or missing.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (kind, data) = text.split_at_checked(1)?;
        Some(match kind {
            "0" => Self::Open(data),
            "1" => Self::Close,
            "2" => Self::Ping(data),
            "3" => Self::Pong(data),
            "4" => Self::Message(data),
            "5" => Self::Upgrade,
            "6" => Self::Noop,
            _ => return None,
        })
    }
}

/// The packet that ends a session.
pub const CLOSE: &str = "1";
/// The server's ping, the whole of its text message.
pub const PING: &str = "2";
/// A client's pong, the whole of its text message.
pub const PONG: &str = "3";
/// A client's probe of a WebSocket to which it wants to upgrade.
pub const PROBE: &str = "2probe";
/// The answer to a probe.
pub const PROBE_ANSWER: &str = "3probe";
/// A client has moved to the WebSocket.
pub const UPGRADE: &str = "5";
/// Ends a poll without a message.
pub const NOOP: &str = "6";

/// The server's side of a handshake: the data of its `0` packet.
#[derive(Debug, Clone)]
pub struct Handshake<'a> {
    /// The id of the session, which every later request contains.
    pub sid: &'a str,
    /// Whether the client may upgrade to a WebSocket: true if it polls.
    pub may_upgrade: bool,
    /// How often the server pings.
    pub ping_interval: Duration,
    /// How long it waits for the pong.
    pub ping_timeout: Duration,
    /// The largest body of a POST, and the largest message, in bytes.
    pub max_payload: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HandshakeData<'a> {
    sid: &'a str,
    upgrades: &'a [&'a str],
    ping_interval: u128,
    ping_timeout: u128,
    max_payload: usize,
}

impl Handshake<'_> {
    /// Appends the packet: `0{"sid":"…","upgrades":["websocket"],"pingInterval":25000,…}`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let data = HandshakeData {
            sid: self.sid,
            upgrades: if self.may_upgrade { &["websocket"] } else { &[] },
            ping_interval: self.ping_interval.as_millis(),
            ping_timeout: self.ping_timeout.as_millis(),
            max_payload: self.max_payload,
        };
        out.push(b'0');
        // Writing numbers and strings to memory cannot fail.
        let _ = serde_json::to_writer(out, &data);
    }
}

/// Why a request was refused, numbered as the reference server numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineError {
    /// `transport` is neither `polling` nor `websocket`.
    UnknownTransport,
    /// No session has this id, or has it any more.
    UnknownSid,
    /// A session must begin with a GET.
    BadMethod,
    /// The request does not fit its session or the protocol.
    BadRequest,
    /// The page or the client may not connect.
    Forbidden,
    /// `EIO` is not 4.
    UnsupportedVersion,
}

impl EngineError {
    /// The JSON body of the error: `{"code":1,"message":"Session ID unknown"}`.
    pub fn json(self) -> &'static str {
        match self {
            Self::UnknownTransport => r#"{"code":0,"message":"Transport unknown"}"#,
            Self::UnknownSid => r#"{"code":1,"message":"Session ID unknown"}"#,
            Self::BadMethod => r#"{"code":2,"message":"Bad handshake method"}"#,
            Self::BadRequest => r#"{"code":3,"message":"Bad request"}"#,
            Self::Forbidden => r#"{"code":4,"message":"Forbidden"}"#,
            Self::UnsupportedVersion => r#"{"code":5,"message":"Unsupported protocol version"}"#,
        }
    }

    /// The HTTP status of the error.
    pub fn status(self) -> u16 {
        if self == Self::Forbidden { 403 } else { 400 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_its_type_and_its_data() {
        for (text, packet) in [
            ("0{}", Some(EnginePacket::Open("{}"))),
            ("1", Some(EnginePacket::Close)),
            ("2", Some(EnginePacket::Ping(""))),
            ("2probe", Some(EnginePacket::Ping("probe"))),
            ("3", Some(EnginePacket::Pong(""))),
            ("42[\"a\"]", Some(EnginePacket::Message("2[\"a\"]"))),
            ("5", Some(EnginePacket::Upgrade)),
            ("6", Some(EnginePacket::Noop)),
            ("", None),
            ("7", None),
            ("abc", None),
            ("\u{e4}", None),
        ] {
            assert_eq!(EnginePacket::parse(text), packet, "{text}");
        }
    }

    #[test]
    fn a_handshake_has_exactly_the_keys_of_the_protocol() {
        let mut handshake = Handshake {
            sid: "abc",
            may_upgrade: true,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            max_payload: 65_536,
        };
        let written = |handshake: &Handshake<'_>| {
            let mut out = Vec::new();
            handshake.write(&mut out);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(
            written(&handshake),
            r#"0{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":65536}"#
        );
        handshake.may_upgrade = false;
        assert!(written(&handshake).contains(r#""upgrades":[],"#));
    }

    #[test]
    fn refusals_are_numbered_and_only_forbidden_has_a_status_of_its_own() {
        use EngineError::*;
        let all =
            [UnknownTransport, UnknownSid, BadMethod, BadRequest, Forbidden, UnsupportedVersion];
        for (code, refusal) in all.into_iter().enumerate() {
            let json: serde_json::Value = serde_json::from_str(refusal.json()).expect("JSON");
            assert_eq!(json["code"], code);
            assert_eq!(refusal.status(), if code == 4 { 403 } else { 400 });
        }
    }
}
