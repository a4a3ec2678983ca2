//! What the benches encode: a position and chat of ordinary length.
#![allow(dead_code, reason = "each bench uses a part")]

use protocol::chat::{ChatKind, ChatMessage};
use protocol::ids::{OrderId, UserId};
use protocol::location::Position;
use protocol::role::Role;
use protocol::time::Timestamp;
use serde_json::value::RawValue;

/// The order of all samples.
pub fn order() -> OrderId {
    OrderId::new("order-4711").expect("an id")
}

/// Its driver.
pub fn user() -> UserId {
    UserId::new("driver-7").expect("an id")
}

/// Where the driver is, with all that a phone knows.
pub fn position() -> Position {
    Position {
        lat: 45.273_518,
        lng: 13.714_209,
        timestamp: Timestamp::from_millis(1_777_889_472_345),
        driver_id: user(),
        accuracy: Some(4.7),
        heading: Some(271.5),
        speed: Some(8.31),
        altitude: Some(104.2),
        recorded_at: Some(Timestamp::from_millis(1_777_889_471_912)),
    }
}

/// A message of the driver.
pub fn message(seq: i64) -> ChatMessage {
    ChatMessage {
        id: "0196f1d2-6a44-7c1e-9d1f-1d5e8c1b2a3f".into(),
        order_id: order(),
        seq,
        sender_id: user(),
        sender_name: "Ann Example".into(),
        sender_role: Role::Driver,
        content: "I am at the door, the bell does not work. Please call me.".into(),
        kind: ChatKind::Text,
        created_at: Timestamp::from_millis(1_777_889_472_345),
        client_msg_id: Some("0196f1d2-6a43-7bd0-8a4e-5d0c1f2e3b4a".into()),
    }
}

/// A message as JSON, as a room keeps it.
pub fn json(message: &ChatMessage) -> Box<RawValue> {
    serde_json::value::to_raw_value(message).expect("JSON")
}
