//! `order:assigned` and `order:unassigned`: the order has a driver, or no longer that one.

use serde::Serialize;

use super::HubData;
use crate::ids::{OrderId, UserId};
use crate::time::Timestamp;

/// The data of `order:assigned` and `order:unassigned`.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Assignment<'a> {
    /// The id of the order.
    pub order_id: &'a OrderId,
    /// The driver who was assigned or unassigned.
    pub driver_id: &'a UserId,
    /// The driver's name, null if the back end gave none.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub driver_name: Option<&'a str>,
    /// When it changed.
    pub at: Timestamp,
}

impl HubData for Assignment<'_> {}
