//! `presence:joined` and `presence:left`: a user is in a room, or no longer.

use serde::Serialize;

use super::HubData;
use crate::ids::{OrderId, UserId};
use crate::role::Role;

/// The data of `presence:joined` and `presence:left`.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Presence<'a> {
    /// The id of the order.
    pub order_id: &'a OrderId,
    /// The user.
    #[serde(flatten)]
    pub member: MemberInfo<'a>,
}

/// A user in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MemberInfo<'a> {
    /// The user.
    pub user_id: &'a UserId,
    /// The name in the token.
    pub name: &'a str,
    /// The role in the token.
    pub role: Role,
}

impl HubData for Presence<'_> {}
