//! A stored message on its way to the rooms of other nodes: the data of `chat:message`, which they
//! put into frames as it is.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::room::recent_messages::MessageJson;
use protocol::chat::ChatMessage;
use protocol::ids::OrderId;

/// Reads a message of this order. One that cannot be read, as it may be of a newer version, leaves
/// a gap, which is read from the database.
pub fn read(data: &[u8], order: &OrderId) -> Option<(ChatMessage, MessageJson)> {
    let raw: Box<RawValue> = serde_json::from_slice(data).ok()?;
    let message: ChatMessage = serde_json::from_str(raw.get()).ok()?;
    (message.order_id == *order && message.seq > 0).then(|| (message, Arc::from(raw)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::chat::ChatKind;
    use protocol::role::Role;
    use protocol::time::Timestamp;

    fn order() -> OrderId {
        OrderId::new("o1").expect("an id")
    }

    fn message() -> ChatMessage {
        ChatMessage {
            id: "m".to_owned(),
            order_id: order(),
            seq: 7,
            sender_id: "ann".parse().expect("an id"),
            sender_name: "Ann".to_owned(),
            sender_role: Role::Customer,
            content: "hello".to_owned(),
            kind: ChatKind::Text,
            created_at: Timestamp::from_secs(1),
            client_msg_id: Some("k".to_owned()),
        }
    }

    #[test]
    fn a_message_is_relayed_byte_for_byte() {
        let written = serde_json::to_string(&message()).expect("text");
        let (read, json) = read(written.as_bytes(), &order()).expect("a message");
        assert_eq!((read, json.get()), (message(), written.as_str()));
    }

    #[test]
    fn a_newer_version_may_add_fields_and_what_is_odd_has_no_effect() {
        let written = serde_json::to_string(&message()).expect("text");
        let newer = written.replacen('{', "{\"new\":[1],", 1);
        assert!(read(newer.as_bytes(), &order()).is_some());
        let other = OrderId::new("o2").expect("an id");
        assert!(read(written.as_bytes(), &other).is_none());
        let odd = written.replace("\"seq\":7", "\"seq\":-7");
        let unknown = written.replace("TEXT", "VIDEO");
        for data in [odd.as_bytes(), unknown.as_bytes(), &written.as_bytes()[1..], b"", b"\xff"] {
            assert!(read(data, &order()).is_none());
        }
    }
}
