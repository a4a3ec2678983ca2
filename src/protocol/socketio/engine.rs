//! Engine.IO 4 packets: the layer under Socket.IO that opens, pings, upgrades and closes.

/// A packet in a text message, without its type. Binary messages are packets without a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
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

impl<'a> Packet<'a> {
    /// Reads a packet; none where its type is unknown or missing.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_its_type_and_its_data() {
        for (text, packet) in [
            ("0{}", Some(Packet::Open("{}"))),
            ("1", Some(Packet::Close)),
            ("2", Some(Packet::Ping(""))),
            ("2probe", Some(Packet::Ping("probe"))),
            ("3", Some(Packet::Pong(""))),
            ("42[\"a\"]", Some(Packet::Message("2[\"a\"]"))),
            ("5", Some(Packet::Upgrade)),
            ("6", Some(Packet::Noop)),
            ("", None),
            ("7", None),
            ("abc", None),
            ("\u{e4}", None),
        ] {
            assert_eq!(Packet::parse(text), packet, "{text}");
        }
    }
}
