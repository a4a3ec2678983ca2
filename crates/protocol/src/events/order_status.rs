//! `order:status`: the order has another status.

use serde::Serialize;
use serde_json::value::RawValue;

use super::HubData;
use crate::ids::OrderId;
use crate::time::Timestamp;

/// The data of `order:status`.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct StatusChange<'a> {
    /// The id of the order.
    pub order_id: &'a OrderId,
    /// The new status.
    pub status: &'a str,
    /// The status before, null if there was none.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub previous_status: Option<&'a str>,
    /// When it changed.
    pub at: Timestamp,
    /// Further data of the back end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>, nullable = false))]
    pub data: Option<&'a RawValue>,
}

impl HubData for StatusChange<'_> {}
