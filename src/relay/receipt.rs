//! How far a user has received or read the chat, on the way to other nodes.

use serde::{Deserialize, Serialize};

use super::RelayedData;
use protocol::events::receipt::ReceiptKind;
use protocol::ids::UserId;

/// A receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayedReceipt {
    /// The user.
    pub user_id: UserId,
    /// The last message that it covers.
    pub seq: i64,
    /// Whether the user has read them, and not only received.
    read: bool,
}

impl RelayedReceipt {
    /// A receipt of this node.
    pub fn new(kind: ReceiptKind, user: &UserId, seq: i64) -> Self {
        Self { user_id: user.clone(), seq, read: kind == ReceiptKind::Read }
    }

    /// Its kind.
    pub fn kind(&self) -> ReceiptKind {
        if self.read { ReceiptKind::Read } else { ReceiptKind::Delivered }
    }
}

impl RelayedData for RelayedReceipt {
    fn read(data: &[u8]) -> Option<Self> {
        serde_json::from_slice(data).ok().filter(|receipt: &Self| receipt.seq > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written_and_what_is_odd_has_no_effect() {
        let ann = "ann".parse().expect("an id");
        for kind in [ReceiptKind::Read, ReceiptKind::Delivered] {
            let receipt = RelayedReceipt::new(kind, &ann, 7);
            assert_eq!(receipt.kind(), kind);
            assert_eq!(RelayedReceipt::read(&receipt.write()), Some(receipt));
        }
        let read = |text: &str| RelayedReceipt::read(text.as_bytes());
        assert!(read(r#"{"userId":"ann","seq":7,"read":true,"new":1}"#).is_some());
        for odd in [r#"{"userId":"ann","seq":0,"read":true}"#, r#"{"userId":"ann"}"#, ""] {
            assert_eq!(read(odd), None);
        }
    }
}
