//! `order:leave`: a session leaves a room; `order:left`: it is no longer there, whatever the reason.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fields::null_is_default;
use super::{ClientData, HubData, object};
use crate::error::Failure;
use crate::ids::OrderId;

/// The data of `order:leave`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Leave {
    /// The id of the order.
    pub order_id: OrderId,
    /// Undo every join of this session, instead of one.
    #[serde(default, deserialize_with = "null_is_default")]
    pub all: bool,
}

/// The reply to `order:leave`.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Remaining {
    /// Joins of this session that remain.
    pub remaining: u32,
}

/// The data of `order:left`.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Left<'a> {
    /// The id of the order.
    pub order_id: &'a OrderId,
    /// The reason.
    pub reason: LeftReason,
}

/// Why a session is no longer in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum LeftReason {
    /// The client asked for it.
    Requested,
    /// The right to be there has ended.
    Removed,
    /// The order is gone.
    Closed,
}

impl ClientData for Leave {
    fn read(data: Option<&RawValue>) -> Result<Self, Failure> {
        object(data)
    }

    fn order(&self) -> Option<&OrderId> {
        Some(&self.order_id)
    }
}

impl HubData for Left<'_> {}
