//! How a session's events are framed. A broadcast is encoded once per codec, never per member.

use super::envelope;
use super::error::Failure;
use super::socketio::{Namespace, encode};
use crate::client::Reply;
use crate::events::exception::Exception;
use crate::server::ServerEvent;

/// The protocol of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// `{event, data, id?}` over WebSocket.
    Plain,
    /// Socket.IO 5 over WebSocket or long-polling.
    SocketIo,
}

/// The framing of one session, with everything that the bytes of an event depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// `{event, data, id?}` over WebSocket.
    #[default]
    Plain,
    /// Packets of Socket.IO 5.
    SocketIo {
        /// The namespace that the session is in.
        namespace: Namespace,
        /// Whether chat carries offsets, by which a stock client resumes.
        offsets: bool,
    },
}

// === impl Framing ===

impl Framing {
    /// The names of all framings, in the order of their discriminants.
    pub const NAMES: &[&str] = &["plain", "socketio"];

    /// The name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

// === impl Codec ===

impl Codec {
    /// How many codecs there are.
    pub const COUNT: usize = 5;

    /// A number below [`Self::COUNT`], different for each codec.
    pub fn index(self) -> usize {
        match self {
            Self::Plain => 0,
            Self::SocketIo { namespace, offsets } => {
                1 + 2 * namespace as usize + usize::from(offsets)
            }
        }
    }

    /// The protocol.
    pub fn framing(self) -> Framing {
        match self {
            Self::Plain => Framing::Plain,
            Self::SocketIo { .. } => Framing::SocketIo,
        }
    }

    /// The namespace of Socket.IO, if there is one.
    pub fn namespace(self) -> Option<Namespace> {
        match self {
            Self::Plain => None,
            Self::SocketIo { namespace, .. } => Some(namespace),
        }
    }

    /// Writes an event.
    pub fn event(self, event: &ServerEvent<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Plain => envelope::encode_event(event, out),
            Self::SocketIo { namespace, offsets } => {
                encode::encode_event(event, namespace, offsets, out);
            }
        }
    }

    /// Writes the outcome of a client's event: to its ack id or, for a failure without one, as
    /// `exception`. If a success has no ack id, this writes nothing and returns false.
    pub fn outcome(
        self,
        name: Option<&str>,
        ack: Option<u64>,
        result: &Result<Reply<'_>, Failure>,
        out: &mut Vec<u8>,
    ) -> bool {
        match (ack, result) {
            (Some(id), result) => match self {
                Self::Plain => envelope::encode_ack(id, result, out),
                Self::SocketIo { namespace, .. } => encode::encode_ack(id, result, namespace, out),
            },
            (None, Err(failure)) => {
                self.event(&ServerEvent::Exception(Exception::new(failure, name)), out);
            }
            (None, Ok(_)) => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::events::chat::ChatPush;
    use crate::events::leave::Remaining;
    use crate::events::ping::Pong;
    use crate::ids::OrderId;

    const ROOT: Codec = Codec::SocketIo { namespace: Namespace::Root, offsets: false };
    const ROOT_OFFSETS: Codec = Codec::SocketIo { namespace: Namespace::Root, offsets: true };
    const EVENTS: Codec = Codec::SocketIo { namespace: Namespace::Events, offsets: false };
    const EVENTS_OFFSETS: Codec = Codec::SocketIo { namespace: Namespace::Events, offsets: true };
    const ALL: [Codec; Codec::COUNT] = [Codec::Plain, ROOT, ROOT_OFFSETS, EVENTS, EVENTS_OFFSETS];

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn every_codec_has_its_own_index() {
        assert_eq!(ALL.map(Codec::index), [0, 1, 2, 3, 4]);
        let framings = ALL.map(|codec| codec.framing().as_str());
        assert_eq!(framings, ["plain", "socketio", "socketio", "socketio", "socketio"]);
        assert_eq!(Codec::default(), Codec::Plain);
    }

    #[test]
    fn chat_carries_its_offset_where_the_client_resumes_by_it() {
        let order_id = OrderId::new("o:1").expect("an id");
        let json = RawValue::from_string("{\"seq\":17}".to_owned()).expect("JSON");
        let event = ServerEvent::Chat(ChatPush { order_id: &order_id, seq: 17, json: &json });
        let written = ALL.map(|codec| text(|out| codec.event(&event, out)));
        assert_eq!(
            written,
            [
                "{\"event\":\"chat:message\",\"data\":{\"seq\":17}}",
                "42[\"chat:message\",{\"seq\":17}]",
                "42[\"chat:message\",{\"seq\":17},\"o:1:17\"]",
                "42/events,[\"chat:message\",{\"seq\":17}]",
                "42/events,[\"chat:message\",{\"seq\":17},\"o:1:17\"]",
            ]
        );
    }

    #[test]
    fn only_an_offset_ends_an_event_as_a_string() {
        for (data, codec, written) in [
            ("\"a\"", Codec::Plain, "{\"event\":\"pong\",\"data\":\"a\"}"),
            ("\"a\"", ROOT, "42[\"pong\",\"a\"]"),
            ("\"a\"", ROOT_OFFSETS, "42[\"pong\",\"a\",null]"),
            ("\"\"", EVENTS_OFFSETS, "42/events,[\"pong\",\"\",null]"),
            ("1.0", ROOT_OFFSETS, "42[\"pong\",1.0]"),
            ("[\"a\"]", ROOT_OFFSETS, "42[\"pong\",[\"a\"]]"),
            ("null", ROOT_OFFSETS, "42[\"pong\",null]"),
        ] {
            let data = RawValue::from_string(data.to_owned()).expect("JSON");
            assert_eq!(text(|out| codec.event(&ServerEvent::Pong(Pong(&data)), out)), written);
        }
    }

    #[test]
    fn a_result_is_an_ack_and_a_failure_without_an_ack_id_is_an_exception() {
        let (done, failed) =
            (Ok(Reply::Leave(Remaining { remaining: 0 })), Err(Failure::forbidden()));
        let outcome = |codec: Codec, ack, result| {
            text(|out| {
                let told = codec.outcome(Some("order:leave"), ack, result, out);
                assert_eq!(told, !out.is_empty());
            })
        };
        let refusal = "{\"ok\":false,\"error\":{\"code\":\"forbidden\",\"message\":\"no right to this order\"}}";
        let exception = "{\"status\":\"error\",\"code\":\"forbidden\",\"message\":\
            \"no right to this order\",\"event\":\"order:leave\",\
            \"cause\":{\"pattern\":\"order:leave\"}}";
        for (codec, ack, result, written) in [
            (ROOT, Some(0), &done, "430[{\"ok\":true,\"remaining\":0}]".to_owned()),
            (EVENTS, Some(7), &done, "43/events,7[{\"ok\":true,\"remaining\":0}]".to_owned()),
            (EVENTS_OFFSETS, Some(7), &failed, format!("43/events,7[{refusal}]")),
            (ROOT, None, &failed, format!("42[\"exception\",{exception}]")),
            (EVENTS_OFFSETS, None, &failed, format!("42/events,[\"exception\",{exception}]")),
            (EVENTS, None, &done, String::new()),
            (Codec::Plain, None, &done, String::new()),
        ] {
            assert_eq!(outcome(codec, ack, result), written);
        }
    }
}
