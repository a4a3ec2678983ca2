//! Error codes: stable words for why an event or a request was refused.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

/// The header that identifies an idempotent HTTP call.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// Why something was refused. The text form is part of the protocol and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// A message that is no envelope.
    BadEnvelope,
    /// An event that the hub does not know.
    UnknownEvent,
    /// A field is missing, mistyped or out of range.
    InvalidPayload,
    /// Leaving a room that was not joined.
    NotJoined,
    /// The user has no right to it, or it does not exist.
    Forbidden,
    /// It does not exist (told to staff only).
    NotFound,
    /// The order has ended.
    OrderClosed,
    /// Too many events.
    RateLimited,
    /// Too many rooms on one connection.
    TooManyRooms,
    /// The same key was used with other content.
    Conflict,
    /// Older than what the hub knows.
    Stale,
    /// Cannot be done now; the client may retry.
    Unavailable,
    /// No token, or one that is not valid.
    Unauthenticated,
    /// The token has expired.
    TokenExpired,
    /// The hub failed; its log says why.
    Internal,
    /// The back end does not let the message be stored.
    Rejected,
}

impl ErrorCode {
    /// The names of all codes, in the order of their discriminants.
    pub const NAMES: &[&str] = &[
        "bad_envelope",
        "unknown_event",
        "invalid_payload",
        "not_joined",
        "forbidden",
        "not_found",
        "order_closed",
        "rate_limited",
        "too_many_rooms",
        "conflict",
        "stale",
        "unavailable",
        "unauthenticated",
        "token_expired",
        "internal",
        "rejected",
    ];

    /// The code on the wire.
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// A refusal as the client gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
#[error("{}: {message}", code.as_str())]
pub struct Failure {
    /// What kind of refusal it is.
    pub code: ErrorCode,
    /// One sentence for a developer.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub message: Cow<'static, str>,
    /// The field that is wrong, as a path (`orderIds[2]`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, nullable = false))]
    pub field: Option<Cow<'static, str>>,
    /// When a retry is useful.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    /// A refusal with this message.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), field: None, retry_after_ms: None }
    }

    /// A field that is missing, mistyped or out of range.
    pub fn invalid(
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field: Some(field.into()), ..Self::new(ErrorCode::InvalidPayload, message) }
    }

    /// Cannot be done now; may work after `retry_after`.
    pub fn unavailable(message: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self::new(ErrorCode::Unavailable, message).retry_after(retry_after)
    }

    /// The answer to users without a right, whether the order exists or not.
    pub fn forbidden() -> Self {
        Self::new(ErrorCode::Forbidden, "no right to this order")
    }

    /// A call that differs from the one to which its `Idempotency-Key` belongs.
    pub fn idempotency_key_reused() -> Self {
        let message = "was used with another body";
        Self { field: Some(IDEMPOTENCY_KEY.into()), ..Self::new(ErrorCode::Conflict, message) }
    }

    /// The same refusal, with a retry after `wait`.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_wire_format_agree() {
        for (code, name) in [
            (ErrorCode::BadEnvelope, "bad_envelope"),
            (ErrorCode::OrderClosed, "order_closed"),
            (ErrorCode::Internal, "internal"),
            (ErrorCode::Rejected, "rejected"),
        ] {
            assert_eq!(code.as_str(), name);
            assert_eq!(serde_json::to_string(&code).ok(), Some(format!("\"{name}\"")));
        }
        assert_eq!(ErrorCode::Rejected as usize + 1, ErrorCode::NAMES.len());
    }
}
