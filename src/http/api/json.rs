//! JSON bodies: of the right kind, whole, and with known fields only.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::future::{FutureExt, LocalBoxFuture};
use serde::de::DeserializeOwned;

use crate::http::body::Body;
use crate::http::problem::Problem;
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::json::{MAX_DEPTH, nests_deeper_than, read_object};

/// A JSON object that was read from a body.
pub(super) struct Json<T>(pub(super) T);

/// Lines of JSON, as text.
pub(super) struct Lines(pub(super) String);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let read = text(request, payload, &["application/json"]);
        async { Ok(Self(read_form(&read.await?, "body")?)) }.boxed_local()
    }
}

impl FromRequest for Lines {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let kinds = &["application/x-ndjson", "application/ndjson", "application/jsonl"];
        text(request, payload, kinds).map(|read| read.map(Self)).boxed_local()
    }
}

/// Reads an object that a back end sent.
pub(super) fn read_form<T: DeserializeOwned>(
    text: &str,
    whole: &'static str,
) -> Result<T, Failure> {
    if nests_deeper_than(text, MAX_DEPTH) {
        return Err(Failure::invalid(whole, "nests deeper than 64 levels"));
    }
    read_object(text, whole)
}

/// The text of a body of one of these kinds.
fn text(
    request: &HttpRequest,
    payload: &mut Payload,
    kinds: &[&'static str],
) -> impl Future<Output = Result<String, Problem>> + use<> {
    let kind = request.content_type();
    let known = kinds.iter().any(|known| known.eq_ignore_ascii_case(kind));
    let expected = kinds.first().copied().unwrap_or_default();
    let body = Body::from_request(request, payload);
    async move {
        if !known {
            return Err(Problem::unsupported_media_type(expected));
        }
        let bytes = body.await?.0;
        std::str::from_utf8(&bytes)
            .map(ToOwned::to_owned)
            .map_err(|_| Failure::new(ErrorCode::InvalidPayload, "the body is not UTF-8").into())
    }
}
