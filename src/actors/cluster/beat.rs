//! What a node says of itself every second.

use serde::{Deserialize, Serialize};

use crate::relay::beat::BeatContent;
use protocol::time::Timestamp;

/// What a node says of itself every second. Fields that are not known are skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Beat {
    /// The version of its program.
    pub version: String,
    /// When it started, by its own clock.
    pub started_at: Timestamp,
    /// Its open sessions.
    #[serde(default)]
    pub connections: i64,
    /// Its rooms.
    #[serde(default)]
    pub rooms: i64,
    /// Whether it stops now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaves: bool,
    /// What it says of its rooms.
    #[serde(default, skip_serializing_if = "BeatContent::is_empty")]
    pub content: BeatContent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_must_read_this_beat() {
        let text = r#"{"version":"0.1.0","startedAt":"2027-01-15T08:00:00.000Z","connections":3,"rooms":2}"#;
        let at = Timestamp::from_millis(1_800_000_000_000);
        let (version, started_at) = ("0.1.0".to_owned(), at);
        let beat = Beat {
            version,
            started_at,
            connections: 3,
            rooms: 2,
            leaves: false,
            content: BeatContent::default(),
        };
        assert_eq!(serde_json::to_string(&beat).expect("JSON"), text);
        let newer = text.replace('}', r#","leaves":true,"new":[1]}"#);
        let read: Beat = serde_json::from_str(&newer).expect("a beat");
        assert_eq!(read, Beat { leaves: true, ..beat });
    }
}
