//! JSON bodies: of the right media type, complete, and with known fields only.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::future::{FutureExt, LocalBoxFuture};
use serde::de::DeserializeOwned;

use crate::http::body::Body;
use crate::http::problem::Problem;
use protocol::error::Failure;
use protocol::json::{MAX_DEPTH, nests_deeper_than, read_object};
use protocol::lenient::without_mark;

/// The media type of a body that is one JSON value.
pub(super) const ARRAY: &str = "application/json";

/// A JSON object, parsed from a body.
pub(super) struct Json<T>(pub(super) T);

/// Lines of JSON, or one array of the same objects, as text.
pub(super) struct NdJson(pub(super) String);

/// Like [`Json`], for a body that may be absent: then all fields have their defaults.
pub(in crate::http) struct OptionalJson<T>(pub(in crate::http) T);

/// A body that is parsed from text.
pub(super) trait FromText: Sized {
    /// The accepted media types. A refusal names the first one.
    const KINDS: &[&'static str];
    /// Whether the body may be absent.
    const OPTIONAL: bool = false;

    /// Parses the text.
    ///
    /// # Errors
    /// `invalid_payload`.
    fn from_text(text: String) -> Result<Self, Failure>;
}

impl<T: DeserializeOwned> FromText for Json<T> {
    const KINDS: &[&'static str] = &["application/json"];

    fn from_text(text: String) -> Result<Self, Failure> {
        read_form(&text, "body").map(Self)
    }
}

impl<T: DeserializeOwned + Default> FromText for OptionalJson<T> {
    const KINDS: &[&'static str] = &["application/json"];
    const OPTIONAL: bool = true;

    fn from_text(text: String) -> Result<Self, Failure> {
        if text.is_empty() { Ok(Self(T::default())) } else { read_form(&text, "body").map(Self) }
    }
}

impl FromText for NdJson {
    const KINDS: &[&'static str] =
        &["application/x-ndjson", "application/ndjson", "application/jsonl", ARRAY];

    fn from_text(text: String) -> Result<Self, Failure> {
        Ok(Self(text))
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let read = text::<Self>(request, payload);
        async { Ok(Self::from_text(read.await?)?) }.boxed_local()
    }
}

impl<T: DeserializeOwned + Default + 'static> FromRequest for OptionalJson<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let read = text::<Self>(request, payload);
        async { Ok(Self::from_text(read.await?)?) }.boxed_local()
    }
}

/// Parses an object that a back end sent.
pub(super) fn read_form<T: DeserializeOwned>(
    text: &str,
    whole: &'static str,
) -> Result<T, Failure> {
    let text = without_mark(text);
    if nests_deeper_than(text, MAX_DEPTH) {
        return Err(Failure::invalid(whole, "nests deeper than 64 levels"));
    }
    read_object(text, whole)
}

/// The text of a body with an accepted media type.
pub(super) fn text<B: FromText>(
    request: &HttpRequest,
    payload: &mut Payload,
) -> impl Future<Output = Result<String, Problem>> + use<B> {
    let kind = request.content_type();
    let known = B::KINDS.iter().any(|known| known.eq_ignore_ascii_case(kind));
    let is_unsaid = B::OPTIONAL && kind.is_empty();
    let body = Body::from_request(request, payload);
    async move {
        if !known && !is_unsaid {
            let expected = B::KINDS.first().copied().unwrap_or_default();
            return Err(Problem::unsupported_media_type(expected));
        }
        let body = body.await?;
        if !known && !body.0.is_empty() {
            let expected = B::KINDS.first().copied().unwrap_or_default();
            return Err(Problem::unsupported_media_type(expected));
        }
        Ok(body.text()?.to_owned())
    }
}
