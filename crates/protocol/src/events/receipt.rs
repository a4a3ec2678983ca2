//! `chat:delivered` and `chat:read`: how far a user has received and read the chat of a room.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fields::required_seq;
use super::{ClientData, HubData, object};
use crate::error::Failure;
use crate::ids::{OrderId, UserId};
use crate::time::Timestamp;

/// The kind of receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptKind {
    /// A device of the user has the messages.
    Delivered,
    /// The user has read the messages.
    Read,
}

/// The data of `chat:delivered` and `chat:read`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The id of the order.
    pub order_id: OrderId,
    /// The last message that it covers; 0 is none.
    #[serde(deserialize_with = "required_seq")]
    pub seq: i64,
}

/// The data of `chat:delivered` and `chat:read`.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReceiptUpdate<'a> {
    /// The id of the order.
    pub order_id: &'a OrderId,
    /// The user whose receipt it is.
    pub user_id: &'a UserId,
    /// The last message that it covers.
    pub seq: i64,
    /// When the hub got the receipt.
    pub at: Timestamp,
}

/// How far a user has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReadMark<'a> {
    /// The user.
    pub user_id: &'a UserId,
    /// The highest message that was read.
    pub seq: i64,
}

impl ClientData for Receipt {
    fn read(data: Option<&RawValue>) -> Result<Self, Failure> {
        object(data)
    }

    fn order(&self) -> Option<&OrderId> {
        Some(&self.order_id)
    }
}

impl HubData for ReceiptUpdate<'_> {}
