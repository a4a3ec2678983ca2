//! `session:end`: the hub ends the connection.

use serde::Serialize;

use super::HubData;
use crate::close::CloseCode;

/// The data of `session:end`.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionEnd<'a> {
    /// The close code that follows.
    pub code: u16,
    /// Its reason.
    pub reason: &'a str,
    /// Whether the client should reconnect.
    pub retry: bool,
    /// When the client should reconnect.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub reconnect_after_ms: Option<u64>,
}

impl SessionEnd<'_> {
    /// What a client gets before it is closed with `close`.
    pub fn new(close: CloseCode, reconnect_after_ms: Option<u64>) -> Self {
        Self { code: close.code, reason: close.reason, retry: close.retry, reconnect_after_ms }
    }
}

impl HubData for SessionEnd<'_> {}
