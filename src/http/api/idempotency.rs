//! `Idempotency-Key`: a call that stores something is recognised by it when repeated, and is done
//! once.

use actix_web::dev::Payload;
use actix_web::http::header::HeaderMap;
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::{FutureExt, LocalBoxFuture};
use percent_encoding::percent_decode_str;

use super::json::{FromText, text};
use crate::actors::store::{IdempotentCall, Store, StoredAnswer};
use crate::auth::Principal;
use crate::http::problem::Problem;
use protocol::error::{Failure, IDEMPOTENCY_KEY};

/// The longest key, in bytes.
const MAX_KEY: usize = 255;

/// A body, with its idempotent call if the request has a key.
pub(super) struct IdempotentBody<B> {
    pub(super) body: B,
    pub(super) call: Option<IdempotentCall>,
}

impl<B: FromText + 'static> FromRequest for IdempotentBody<B> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let call = unread_call(request, payload);
        let read = text::<B>(request, payload);
        async move {
            let (call, text) = (call?, read.await?);
            let call = call.map(|call| {
                let body_hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()));
                IdempotentCall { body_hash, ..call }
            });
            Ok(Self { body: B::from_text(text)?, call })
        }
        .boxed_local()
    }
}

/// The call without its body's hash; `None` where the request has no key.
fn unread_call(
    request: &HttpRequest,
    payload: &mut Payload,
) -> Result<Option<IdempotentCall>, Problem> {
    let Some(key) = key(request.headers())? else { return Ok(None) };
    let caller = match Principal::from_request(request, payload).into_inner()? {
        Principal::Identity(identity) => format!("user:{}", identity.user),
        Principal::Service(service) => format!("key:{}", service.name),
    };
    // Decoded: no id needs to be escaped, but some clients escape ids.
    let path = percent_decode_str(request.path()).decode_utf8_lossy().into_owned();
    let route = format!("{} {path}", request.method());
    Ok(Some(IdempotentCall { caller, route, key, body_hash: String::new() }))
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let mut lines = headers.get_all(IDEMPOTENCY_KEY);
    let Some(first) = lines.next() else { return Ok(None) };
    let is_key =
        |key: &&[u8]| (1..=MAX_KEY).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    let key = Some(first.as_bytes()).filter(|_| lines.next().is_none()).filter(is_key);
    let key = key.and_then(|key| std::str::from_utf8(key).ok());
    key.map(|key| Some(key.to_owned())).ok_or_else(|| {
        Failure::invalid(IDEMPOTENCY_KEY, "must be one of 1 to 255 visible characters of ASCII")
    })
}

/// The key of the message that an idempotent call writes, so that the message's own row shows that
/// it was written. [`check_same_body`] refuses another body before this.
pub(super) fn message_key(call: &IdempotentCall) -> String {
    let IdempotentCall { caller, route, key, body_hash } = call;
    // No part contains a line break.
    let whole = [caller.as_str(), route, key, body_hash].join("\n");
    format!("key:{}", URL_SAFE_NO_PAD.encode(digest(&SHA256, whole.as_bytes())))
}

/// Stores which body a key belongs to, for a call whose effects have idempotency keys of their own.
pub(super) async fn check_same_body(
    store: &Store,
    call: Option<&IdempotentCall>,
) -> Result<(), Problem> {
    let Some(call) = call else { return Ok(()) };
    let is_same = store.claim_key(call.clone()).await.map_err(super::store_problem)?;
    if is_same { Ok(()) } else { Err(Failure::idempotency_key_reused().into()) }
}

/// Sends an answer, possibly that of an earlier call.
pub(super) fn respond(answer: StoredAnswer) -> Result<HttpResponse, Problem> {
    let status = actix_web::http::StatusCode::from_u16(answer.status);
    let status = status.map_err(|_| super::unreadable_answer())?;
    Ok(HttpResponse::build(status).content_type("application/json").body(answer.body))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn headers(lines: &[&[u8]]) -> Result<Option<String>, ()> {
        let name = actix_web::http::header::HeaderName::from_static("idempotency-key");
        let lines = lines.iter().map(|line| HeaderValue::from_bytes(line).expect("a value"));
        let mut headers = HeaderMap::new();
        lines.for_each(|line| headers.append(name.clone(), line));
        key(&headers).map_err(drop)
    }

    #[test]
    fn a_key_is_one_word_of_visible_characters() {
        let long = "x".repeat(255);
        assert_eq!(headers(&[]), Ok(None));
        for good in ["7", "\"8e03978e\"", "a/b?c", &long] {
            assert_eq!(headers(&[good.as_bytes()]), Ok(Some(good.to_owned())));
        }
        let longer = "x".repeat(256);
        let bad: [&[&[u8]]; 5] =
            [&[b""], &[b"a b"], &["k\u{fc}".as_bytes()], &[longer.as_bytes()], &[b"a", b"a"]];
        for bad in bad {
            assert_eq!(headers(bad), Err(()), "{bad:?}");
        }
    }
}
