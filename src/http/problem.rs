//! Errors over HTTP: `application/problem+json` (RFC 9457) with the protocol's error code.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use actix_web::body::BoxBody;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use serde::Serialize;

use protocol::error::{ErrorCode, Failure, IDEMPOTENCY_KEY};

/// An error in the form that a client of the HTTP API gets.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    /// One header of the error (`Retry-After`, `Allow`, …).
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

// === impl Problem ===

impl Problem {
    /// An error with a status, a code of the protocol and a sentence.
    pub fn new(status: StatusCode, code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code: code.as_str(), detail: detail.into(), field: None, header: None }
    }

    /// The path does not exist.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorCode::NotFound, "nothing is here")
    }

    /// The path serves only a WebSocket. A proxy that drops the upgrade headers causes this too.
    pub fn upgrade_required() -> Self {
        let detail = "send Connection: Upgrade and Upgrade: websocket (and let proxies pass them)";
        Self::new(StatusCode::UPGRADE_REQUIRED, ErrorCode::BadEnvelope, detail)
            .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
    }

    /// The path exists, but does not allow the method.
    pub fn method_not_allowed(allowed: &str) -> Self {
        let detail = format!("allowed: {allowed}");
        let allow = HeaderValue::from_str(allowed).ok();
        Self {
            code: "method_not_allowed",
            header: allow.map(|allow| Box::new((header::ALLOW, allow))),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::NotFound, detail)
        }
    }

    /// The body did not come in time.
    pub fn request_timeout() -> Self {
        let detail = "the body did not come in time";
        let problem = Self::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::Unavailable, detail);
        Self { code: "request_timeout", ..problem }
    }

    /// The body has a media type that the call does not take.
    pub fn unsupported_media_type(expected: &'static str) -> Self {
        Self::unsupported(format!("Content-Type must be {expected}"))
    }

    /// The body has a coding that the hub cannot read.
    pub fn unsupported_coding() -> Self {
        Self::unsupported("Content-Encoding must be gzip or deflate, or be left out".to_owned())
            .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"))
    }

    fn unsupported(detail: String) -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let code = "unsupported_media_type";
        Self { code, ..Self::new(status, ErrorCode::InvalidPayload, detail) }
    }

    /// The body can be parsed, but is not what the call takes.
    pub fn unprocessable(detail: impl Into<Cow<'static, str>>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let problem = Self::new(status, ErrorCode::InvalidPayload, detail);
        Self { field: Some("body".into()), ..problem }
    }

    /// `Accept` allows none of the answer's forms.
    pub fn not_acceptable(offered: &[&str]) -> Self {
        let detail = format!("Accept must allow {}", offered.join(" or "));
        let code = "not_acceptable";
        Self { code, ..Self::new(StatusCode::NOT_ACCEPTABLE, ErrorCode::InvalidPayload, detail) }
    }

    /// It cannot be done now.
    pub fn unavailable(detail: &'static str, retry_after_secs: u16) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from(retry_after_secs))
    }

    /// The hub failed. The log has the reason.
    pub fn internal(detail: &'static str) -> Self {
        Failure::new(ErrorCode::Internal, detail).into()
    }

    /// The same error with this header instead of any other.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    fn body(&self) -> Vec<u8> {
        let body = Body {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            field: self.field.as_deref(),
        };
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut builder = HttpResponse::build(self.status);
        builder.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        if let Some(header) = &self.header {
            builder.insert_header((**header).clone());
        }
        builder.body(self.body())
    }
}

impl actix_web::Responder for Problem {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse<BoxBody> {
        self.error_response()
    }
}

/// The only place that maps error codes to statuses.
impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let status = match failure.code {
            ErrorCode::BadEnvelope | ErrorCode::UnknownEvent | ErrorCode::InvalidPayload => {
                StatusCode::BAD_REQUEST
            }
            ErrorCode::Unauthenticated | ErrorCode::TokenExpired => StatusCode::UNAUTHORIZED,
            ErrorCode::Forbidden | ErrorCode::Rejected => StatusCode::FORBIDDEN,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            // As RFC 9110 and drafts of the header require: the request was understood, but is
            // invalid.
            ErrorCode::Conflict if failure.field.as_deref() == Some(IDEMPOTENCY_KEY) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            ErrorCode::NotJoined
            | ErrorCode::OrderClosed
            | ErrorCode::Conflict
            | ErrorCode::Stale => StatusCode::CONFLICT,
            ErrorCode::RateLimited | ErrorCode::TooManyRooms => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let header = if status == StatusCode::UNAUTHORIZED {
            Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
        } else {
            let wait = failure.retry_after_ms.map(|ms| HeaderValue::from(ms.div_ceil(1000)));
            wait.map(|seconds| (header::RETRY_AFTER, seconds))
        };
        Self {
            field: failure.field,
            header: header.map(Box::new),
            ..Self::new(status, failure.code, failure.message)
        }
    }
}

/// Turns errors of the query into problems.
pub(super) fn query_config() -> web::QueryConfig {
    web::QueryConfig::default().error_handler(|error, _| {
        let message = error.to_string();
        let field = ["unknown field `", "duplicate field `", "missing field `"]
            .iter()
            .find_map(|said| message.split_once(said)?.1.split('`').next().map(ToOwned::to_owned));
        let failure = Failure::new(ErrorCode::InvalidPayload, message);
        Problem::from(Failure { field: field.map(Cow::Owned), ..failure }).into()
    })
}

/// Answers an invalid id in the path with 404.
pub(super) fn path_config() -> web::PathConfig {
    web::PathConfig::default().error_handler(|error, _| {
        Problem::from(Failure::new(ErrorCode::InvalidPayload, error.to_string())).into()
    })
}

/// Answers the methods that a resource does not allow.
pub(super) fn other_methods(allowed: impl Into<Rc<str>>) -> actix_web::Route {
    let allowed = allowed.into();
    web::to(move |request: HttpRequest| {
        // actix itself handles neither OPTIONS nor other methods of a missing route.
        let answer = if request.method() == Method::OPTIONS {
            HttpResponse::NoContent().insert_header((header::ALLOW, &*allowed)).finish()
        } else {
            Problem::method_not_allowed(&allowed).error_response()
        };
        async { answer }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rate_limited_answer_has_retry_after() {
        let wait = Duration::from_millis(1500);
        let failure = Failure::new(ErrorCode::RateLimited, "too much").retry_after(wait);
        let answer = Problem::from(failure).error_response();
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        let header = |name| answer.headers().get(name).map(HeaderValue::as_bytes);
        assert_eq!(header(header::RETRY_AFTER), Some(&b"2"[..]));
        assert_eq!(header(header::CONTENT_TYPE), Some(&b"application/problem+json"[..]));
    }
}
