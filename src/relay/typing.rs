//! Who types, on the way to other nodes. It is told as often as the client says so: without another
//! word it ends there as it does here.

use serde::{Deserialize, Serialize};

use super::RelayedData;
use protocol::ids::UserId;

/// A user types, or does not any more.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayedTyping {
    /// The user.
    pub user_id: UserId,
    /// Whether the user types.
    pub typing: bool,
}

impl RelayedData for RelayedTyping {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written_and_what_is_odd_has_no_effect() {
        let typing = RelayedTyping { user_id: "ann".parse().expect("an id"), typing: true };
        assert_eq!(typing.write(), br#"{"userId":"ann","typing":true}"#);
        let newer = br#"{"userId":"ann","typing":true,"new":1}"#;
        assert_eq!(RelayedTyping::read(newer), Some(typing));
        for data in [&b"{\"userId\":\"\",\"typing\":true}"[..], b"{}", b"\xff"] {
            assert_eq!(RelayedTyping::read(data), None);
        }
    }
}
