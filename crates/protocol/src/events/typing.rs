//! `chat:typing`: a user has started or stopped typing.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{ClientData, HubData, object};
use crate::error::Failure;
use crate::ids::{OrderId, UserId};

/// The data of `chat:typing`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Typing {
    /// The id of the order.
    pub order_id: OrderId,
    /// Whether the user is typing.
    pub typing: bool,
}

/// The data of `chat:typing`.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TypingUpdate<'a> {
    /// The id of the order.
    pub order_id: &'a OrderId,
    /// The user.
    pub user_id: &'a UserId,
    /// Whether that user is typing.
    pub typing: bool,
}

impl ClientData for Typing {
    fn read(data: Option<&RawValue>) -> Result<Self, Failure> {
        object(data)
    }

    fn order(&self) -> Option<&OrderId> {
        Some(&self.order_id)
    }
}

impl HubData for TypingUpdate<'_> {}
