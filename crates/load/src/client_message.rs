//! Messages of clients, in both framings.

use std::fmt::Write as _;

use crate::track::TrackPosition;
use protocol::client::ClientEventName;
use protocol::codec::Framing;
use protocol::ids::OrderId;
use protocol::time::Timestamp;

/// Writes one event: its name, its data and, if a reply is wanted, its number.
pub fn event(
    framing: Framing,
    name: ClientEventName,
    ack: Option<u64>,
    data: &str,
    out: &mut String,
) {
    let name = name.as_str();
    out.clear();
    // Writing to a string cannot fail.
    let _ = match (framing, ack) {
        (Framing::Plain, None) => write!(out, "{{\"event\":\"{name}\",\"data\":{data}}}"),
        (Framing::Plain, Some(id)) => {
            write!(out, "{{\"event\":\"{name}\",\"data\":{data},\"id\":{id}}}")
        }
        (Framing::SocketIo, None) => write!(out, "42/events,[\"{name}\",{data}]"),
        (Framing::SocketIo, Some(id)) => write!(out, "42/events,{id}[\"{name}\",{data}]"),
    };
}

/// Enters a namespace of Socket.IO. Without `resume`, chat carries no offsets.
pub fn enter(token: &str) -> String {
    let token = serde_json::Value::from(token);
    format!("40/events,{{\"token\":{token},\"resume\":false}}")
}

/// The data of `order:join`.
pub fn join(order: &OrderId, since_seq: Option<i64>) -> String {
    match since_seq {
        Some(seq) => format!("{{\"orderId\":\"{order}\",\"sinceSeq\":{seq},\"limit\":200}}"),
        None => format!("{{\"orderId\":\"{order}\",\"limit\":0}}"),
    }
}

/// The data of `order:leave`.
pub fn leave(order: &OrderId) -> String {
    format!("{{\"orderId\":\"{order}\"}}")
}

/// The data of `driver:location`. The altitude is a stamp that identifies the position, because any
/// hub relays it unchanged.
pub fn location(
    order: &OrderId,
    place: TrackPosition,
    stamp: u64,
    at: Timestamp,
    out: &mut String,
) {
    let TrackPosition { lat, lng, heading, speed } = place;
    out.clear();
    let _ = write!(
        out,
        "{{\"orderId\":\"{order}\",\"lat\":{lat:.7},\"lng\":{lng:.7},\"accuracy\":6,\
         \"heading\":{heading:.1},\"speed\":{speed:.1},\"altitude\":{stamp},\"recordedAt\":\"{at}\"}}"
    );
}

/// The data of `chat:message`, with this many characters.
pub fn chat(order: &OrderId, key: &str, characters: usize, out: &mut String) {
    const WORDS: &str = "I am at the door, please come down. ";
    out.clear();
    let _ = write!(out, "{{\"orderId\":\"{order}\",\"clientMsgId\":\"{key}\",\"content\":\"");
    out.extend(WORDS.chars().cycle().take(characters));
    out.push_str("\"}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::client::ClientEvent;
    use protocol::envelope;
    use protocol::events::location::Target;

    fn order() -> OrderId {
        OrderId::new("load-1").expect("an id")
    }

    /// The event that the hub reads from it.
    fn understood(name: ClientEventName, data: &str) -> ClientEvent {
        let mut out = String::new();
        event(Framing::Plain, name, Some(7), data, &mut out);
        let request = envelope::decode(&out).expect("understood");
        assert_eq!(request.ack, Some(7));
        request.event
    }

    #[test]
    fn the_hub_understands_every_event() {
        let mut data = String::new();
        let place = TrackPosition { lat: 45.5, lng: -13.25, heading: 90.0, speed: 8.0 };
        location(&order(), place, 123_456, Timestamp::from_secs(1), &mut data);
        let ClientEvent::Location(heard) = understood(ClientEventName::Location, &data) else {
            panic!("{data}")
        };
        assert_eq!(heard.target, Target::One(order()));
        assert_eq!(heard.fix.altitude, Some(123_456.0));
        chat(&order(), "1-2", 80, &mut data);
        let ClientEvent::Chat(heard) = understood(ClientEventName::Chat, &data) else {
            panic!("{data}")
        };
        assert_eq!((heard.content.len(), heard.client_msg_id.as_deref()), (80, Some("1-2")));
        let ClientEvent::Join(heard) = understood(ClientEventName::Join, &join(&order(), Some(4)))
        else {
            panic!("a join")
        };
        assert_eq!((heard.since_seq, heard.limit), (Some(4), 200));
        understood(ClientEventName::Join, &join(&order(), None));
        understood(ClientEventName::Leave, &leave(&order()));
    }

    #[test]
    fn events_of_socket_io_are_packets_of_the_namespace() {
        let mut out = String::new();
        event(Framing::SocketIo, ClientEventName::Ping, Some(3), "1", &mut out);
        assert_eq!(out, "42/events,3[\"ping\",1]");
        event(Framing::SocketIo, ClientEventName::Ping, None, "1", &mut out);
        assert_eq!(out, "42/events,[\"ping\",1]");
        assert_eq!(enter("t"), "40/events,{\"token\":\"t\",\"resume\":false}");
    }
}
