//! What a room says of itself to its like on other nodes: when it is made, when it may have missed
//! something, and as the answer to another one that asks.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::RelayedData;
use super::presence::RemoteUser;

/// What a room knows.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The number of the room among all of its node.
    #[serde(default)]
    pub room: u64,
    /// Whether the others are to say the same of themselves.
    #[serde(default)]
    pub asks: bool,
    /// The node that is answered; none where the room speaks by itself.
    #[serde(default)]
    pub to: Option<String>,
    /// The highest number of a message that it has sent out.
    #[serde(default)]
    pub last_seq: i64,
    /// The revision of the order that it knows.
    #[serde(default)]
    pub rev: i64,
    /// The users in it; none while the room does not know: those who were in a room that panicked
    /// come back in a moment.
    #[serde(default)]
    pub users: Option<Vec<RemoteUser>>,
    /// The last position, as it is relayed.
    #[serde(default)]
    pub position: Option<Box<RawValue>>,
}

impl RelayedData for Hello {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written_and_what_is_odd_has_no_effect() {
        let position = RawValue::from_string(r#"{"ageMs":1}"#.to_owned()).expect("JSON");
        let hello =
            Hello { asks: true, last_seq: 5, rev: 2, position: Some(position), ..Hello::default() };
        let read = Hello::read(&hello.write()).expect("a hello");
        assert_eq!((read.asks, read.last_seq, read.rev), (true, 5, 2));
        assert_eq!(read.position.map(|json| json.to_string()).as_deref(), Some(r#"{"ageMs":1}"#));
        let newer = Hello::read(br#"{"asks":false,"new":{}}"#).expect("a hello");
        assert_eq!((newer.asks, newer.last_seq), (false, 0));
        for data in [&b"{\"asks\":1}"[..], b"7", b"\xff"] {
            assert!(Hello::read(data).is_none());
        }
    }
}
