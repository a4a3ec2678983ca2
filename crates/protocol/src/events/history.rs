//! `chat:history`: a client reads earlier messages.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fields::{default_page, limit, seq};
use super::{ClientData, object};
use crate::error::Failure;
use crate::ids::OrderId;

/// The most messages of a snapshot or page.
pub const MAX_PAGE: i64 = 200;

/// The messages of a snapshot or page that names no limit.
pub const DEFAULT_PAGE: i64 = 50;

/// The data of `chat:history`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// The id of the order.
    pub order_id: OrderId,
    /// A page that ends before this message.
    #[serde(default, deserialize_with = "seq")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub before_seq: Option<i64>,
    /// A page that begins after this message; 0 is the beginning.
    #[serde(default, deserialize_with = "seq")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub after_seq: Option<i64>,
    /// How many messages at most, 1 to 200.
    #[serde(default = "default_page", deserialize_with = "limit")]
    pub limit: i64,
}

/// The reply to `chat:history`.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct HistoryPage<'a> {
    /// Messages in order of `seq`.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<crate::chat::ChatMessage>))]
    pub messages: Vec<&'a RawValue>,
    /// Whether there are more in that direction.
    pub has_more: bool,
}

impl ClientData for History {
    fn read(data: Option<&RawValue>) -> Result<Self, Failure> {
        checked_history(object(data)?)
    }

    fn order(&self) -> Option<&OrderId> {
        Some(&self.order_id)
    }
}

/// Checks that such a page may be requested.
///
/// # Errors
/// `invalid_payload` if both cursors are given, or `limit` is out of range.
pub fn checked_history(history: History) -> Result<History, Failure> {
    if history.before_seq.is_some() && history.after_seq.is_some() {
        return Err(Failure::invalid("afterSeq", "either beforeSeq or afterSeq, not both"));
    }
    if !(1..=MAX_PAGE).contains(&history.limit) {
        return Err(Failure::invalid("limit", "must be 1 to 200"));
    }
    Ok(history)
}
