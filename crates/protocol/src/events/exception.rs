//! `exception`: the refusal of an event that asked for no reply.

use serde::Serialize;

use super::HubData;
use crate::error::{ErrorCode, Failure};

/// The data of `exception`, in the form that clients of `NestJS` gateways listen for.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Exception<'a> {
    status: &'static str,
    code: ErrorCode,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    cause: Option<ExceptionCause<'a>>,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
struct ExceptionCause<'a> {
    pattern: &'a str,
}

impl<'a> Exception<'a> {
    /// The refusal of an event, as an event of its own.
    pub fn new(failure: &'a Failure, event: Option<&'a str>) -> Self {
        Self {
            status: "error",
            code: failure.code,
            message: &failure.message,
            event,
            field: failure.field.as_deref(),
            retry_after_ms: failure.retry_after_ms,
            cause: event.map(|pattern| ExceptionCause { pattern }),
        }
    }
}

impl HubData for Exception<'_> {}
