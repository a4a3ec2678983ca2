//! `connected`: the first event of a plain connection.

use serde::Serialize;

use super::HubData;
use crate::ids::{SessionId, UserId};
use crate::role::Role;
use crate::time::Timestamp;

/// The version of the protocol, as `connected` tells it.
pub const PROTOCOL_VERSION: u32 = 1;

/// The data of `connected`.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Connected<'a> {
    /// The session's id.
    pub session_id: SessionId,
    /// The user that the token names.
    pub user_id: &'a UserId,
    /// The user's role.
    pub role: Role,
    /// When the token ends.
    pub expires_at: Timestamp,
    /// How often the hub pings.
    pub ping_interval_ms: u64,
    /// The largest message it takes.
    pub max_message_bytes: usize,
    /// [`PROTOCOL_VERSION`].
    pub protocol: u32,
}

impl HubData for Connected<'_> {}
