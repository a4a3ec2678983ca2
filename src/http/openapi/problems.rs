//! The problems that calls can be refused with, for the `OpenAPI` document. Each kind is described
//! once, and calls name groups of kinds.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use serde_json::json;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{AllOfBuilder, Components, ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// The media type of all problems.
const MEDIA_TYPE: &str = "application/problem+json";

/// A kind of problem.
struct ProblemKind {
    /// Its name in the document.
    name: &'static str,
    status: StatusCode,
    /// Every `code` of this kind.
    codes: &'static [&'static str],
    /// When it occurs.
    description: &'static str,
    /// A header that it has, and what that means.
    header: Option<(&'static str, &'static str)>,
}

const BAD_REQUEST: ProblemKind = ProblemKind {
    name: "BadRequest",
    status: StatusCode::BAD_REQUEST,
    codes: &["invalid_payload"],
    description: "An id, a parameter or the body is wrong; `field` says which part of it",
    header: None,
};
const UNAUTHENTICATED: ProblemKind = ProblemKind {
    name: "Unauthenticated",
    status: StatusCode::UNAUTHORIZED,
    codes: &["unauthenticated", "token_expired"],
    description: "No token or API key, or none that counts",
    header: Some(("WWW-Authenticate", "`Bearer`")),
};
const FORBIDDEN: ProblemKind = ProblemKind {
    name: "Forbidden",
    status: StatusCode::FORBIDDEN,
    codes: &["forbidden", "rejected"],
    description: "Known, but without the right to it; `rejected`: the back end does not let the message be stored",
    header: None,
};
const NOT_FOUND: ProblemKind = ProblemKind {
    name: "NotFound",
    status: StatusCode::NOT_FOUND,
    codes: &["not_found"],
    description: "It does not exist",
    header: None,
};
const CONFLICT: ProblemKind = ProblemKind {
    name: "Conflict",
    status: StatusCode::CONFLICT,
    codes: &["stale", "order_closed"],
    description: "A newer `version` is known, or the order has ended",
    header: None,
};
const CHAT_CONFLICT: ProblemKind = ProblemKind {
    name: "ChatConflict",
    status: StatusCode::CONFLICT,
    codes: &["conflict", "order_closed"],
    description: "The `clientMsgId` came with other content, or the order's chat has closed",
    header: None,
};
const TOO_SLOW: ProblemKind = ProblemKind {
    name: "TooSlow",
    status: StatusCode::REQUEST_TIMEOUT,
    codes: &["request_timeout"],
    description: "The body did not come in time",
    header: None,
};
const KEY_REUSED: ProblemKind = ProblemKind {
    name: "KeyReused",
    status: StatusCode::UNPROCESSABLE_ENTITY,
    codes: &["conflict"],
    description: "The `Idempotency-Key` came with another body",
    header: None,
};
const RATE_LIMITED: ProblemKind = ProblemKind {
    name: "RateLimited",
    status: StatusCode::TOO_MANY_REQUESTS,
    codes: &["rate_limited"],
    description: "Too many of them in a short time",
    header: Some(("Retry-After", "Seconds until it is worth another try")),
};
const TOO_LARGE: ProblemKind = ProblemKind {
    name: "TooLarge",
    status: StatusCode::PAYLOAD_TOO_LARGE,
    codes: &["invalid_payload"],
    description: "The body is over 1 MiB, or has too many fixes",
    header: None,
};
const NOT_ACCEPTABLE: ProblemKind = ProblemKind {
    name: "NotAcceptable",
    status: StatusCode::NOT_ACCEPTABLE,
    codes: &["not_acceptable"],
    description: "`Accept` allows none of the forms of the answer",
    header: None,
};
const UNSUPPORTED: ProblemKind = ProblemKind {
    name: "UnsupportedMediaType",
    status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
    codes: &["unsupported_media_type"],
    description: "The body is of another kind than the call takes, or coded in another way than gzip \
        or deflate",
    header: None,
};
const UNKNOWN_FORM: ProblemKind = ProblemKind {
    name: "UnknownForm",
    status: StatusCode::UNPROCESSABLE_ENTITY,
    codes: &["invalid_payload"],
    description: "The body can be read, and has no fix in a form that is known; `detail` says what \
        was expected",
    header: None,
};
const INTERNAL: ProblemKind = ProblemKind {
    name: "Internal",
    status: StatusCode::INTERNAL_SERVER_ERROR,
    codes: &["internal"],
    description: "The hub failed; its log says why",
    header: None,
};
const UNAVAILABLE: ProblemKind = ProblemKind {
    name: "Unavailable",
    status: StatusCode::SERVICE_UNAVAILABLE,
    codes: &["unavailable"],
    description: "Cannot be done now: the same call works later",
    header: Some(("Retry-After", "Seconds until it is worth another try")),
};

/// All kinds, for the document.
const KINDS: &[ProblemKind] = &[
    BAD_REQUEST,
    UNAUTHENTICATED,
    FORBIDDEN,
    NOT_FOUND,
    CONFLICT,
    TOO_SLOW,
    CHAT_CONFLICT,
    KEY_REUSED,
    RATE_LIMITED,
    TOO_LARGE,
    NOT_ACCEPTABLE,
    UNSUPPORTED,
    UNKNOWN_FORM,
    INTERNAL,
    UNAVAILABLE,
];

macro_rules! groups {
    ($($(#[$doc:meta])* $name:ident: $($kind:ident),+;)+) => {$(
        $(#[$doc])*
        pub(in crate::http) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$($kind),+].iter().map(ProblemKind::reference).collect()
            }
        }
    )+};
}

groups! {
    /// Problems of any call that needs a token or key.
    Refused: UNAUTHENTICATED, FORBIDDEN, INTERNAL, UNAVAILABLE;
    /// An id in the path or a parameter is wrong.
    BadRequest: BAD_REQUEST;
    /// A body is missing, of another media type, too large or invalid, or an id is invalid.
    BadBody: BAD_REQUEST, TOO_SLOW, TOO_LARGE, UNSUPPORTED;
    /// An optional body is too large or invalid, or an id is invalid.
    BadOptionalBody: BAD_REQUEST, TOO_SLOW, TOO_LARGE, UNSUPPORTED;
    /// No fix of a body can be read. Single invalid fixes are reported in a 200.
    UnreadableFixes: BAD_REQUEST, TOO_SLOW, TOO_LARGE, UNSUPPORTED, UNKNOWN_FORM;
    /// `Accept` allows none of the answer's forms.
    NotAcceptable: NOT_ACCEPTABLE;
    /// What the path names does not exist.
    NotFound: NOT_FOUND;
    /// The order is newer than the call's version, or has ended.
    Conflict: CONFLICT;
    /// The message differs from the first one with its key, or comes too late.
    ChatConflict: CHAT_CONFLICT;
    /// A different call had the same `Idempotency-Key`.
    KeyReused: KEY_REUSED;
    /// The user has reached a rate.
    RateLimited: RATE_LIMITED;
    /// It cannot be done now.
    Unavailable: UNAVAILABLE;
}

/// An error (RFC 9457).
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form of `problem::Problem`, for the document alone")]
pub(super) struct Problem {
    /// Always `about:blank`: the kind of problem is in `code`.
    #[schema(example = "about:blank")]
    r#type: String,
    /// The status in words.
    title: String,
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// A stable word for the error.
    code: String,
    /// A sentence for a developer.
    detail: String,
    /// The invalid part, as a path into the body, or the name of a parameter.
    #[schema(nullable = false, example = "participants[1].role")]
    field: Option<String>,
}

/// Adds all kinds to the document.
pub(super) fn describe(components: &mut Components) {
    let described = KINDS.iter().map(|kind| (kind.name.to_owned(), kind.response().into()));
    components.responses.extend(described);
}

// === impl Kind ===

impl ProblemKind {
    /// The reference to this kind in an operation.
    fn reference(&self) -> (String, RefOr<Response>) {
        (self.status.as_str().to_owned(), Ref::from_response_name(self.name).into())
    }

    fn response(&self) -> Response {
        let status = self.status.as_u16();
        let example = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": status,
            "code": self.codes.first(),
            "detail": self.description,
        });
        let code = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(self.codes.iter().copied()));
        let status = ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([status]));
        let narrowed = ObjectBuilder::new().property("code", code).property("status", status);
        let schema = AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(narrowed);
        let content = ContentBuilder::new().schema(Some(schema)).example(Some(example));
        let response = ResponseBuilder::new()
            .description(self.description)
            .content(MEDIA_TYPE, content.build());
        match self.header {
            Some((name, says)) => {
                response.header(name, HeaderBuilder::new().description(Some(says)).build()).build()
            }
            None => response.build(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::error::ErrorCode;

    #[test]
    fn only_codes_that_the_hub_sends_are_described() {
        let http_only = ["unsupported_media_type", "request_timeout", "not_acceptable"];
        for code in KINDS.iter().flat_map(|kind| kind.codes) {
            assert!(ErrorCode::NAMES.contains(code) || http_only.contains(code), "{code}");
        }
    }
}
