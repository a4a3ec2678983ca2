//! `exception`: the refusal of an event that asked for no reply.

use serde::Serialize;

use super::HubData;
use crate::error::{ErrorCode, Failure};

/// The data of `exception`, in the form that clients of `NestJS` gateways listen for.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exception<'a> {
    status: &'static str,
    code: ErrorCode,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<ExceptionCause<'a>>,
}

#[derive(Debug, Clone, Serialize)]
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
