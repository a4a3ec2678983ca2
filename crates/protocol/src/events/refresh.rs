//! `auth:refresh`: a session continues with a new token; `auth:expiring`: its token ends soon.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{ClientData, HubData, object};
use crate::error::Failure;
use crate::time::Timestamp;

/// The data of `auth:refresh`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refresh {
    /// A token of the same user.
    pub token: String,
}

/// The reply to `auth:refresh`.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Refreshed {
    /// When the new token ends.
    pub expires_at: Timestamp,
}

/// The data of `auth:expiring`.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Expiring {
    /// When the token ends.
    pub expires_at: Timestamp,
    /// How long that is.
    pub in_ms: u64,
}

impl ClientData for Refresh {
    fn read(data: Option<&RawValue>) -> Result<Self, Failure> {
        object(data)
    }
}

impl fmt::Debug for Refresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refresh { token: \"…\" }")
    }
}

impl HubData for Expiring {}
