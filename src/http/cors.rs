//! CORS: which web pages may use the HTTP API.

use actix_cors::Cors;
use actix_web::http::header::{self, HeaderName};

use crate::config::Origins;

/// CORS from `ALLOWED_ORIGINS`. Nothing reads cookies, so credentials are never asked for.
pub fn cors(origins: &Origins) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "POST", "PUT", "DELETE"])
        .allowed_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
        ])
        .expose_headers([header::RETRY_AFTER])
        .max_age(3600);
    let origins = origins.clone();
    cors.allowed_origin_fn(move |origin, _| {
        origin.to_str().is_ok_and(|origin| origins.allows(origin))
    })
    // Other origins and clients without one are judged by their token, not here.
    .block_on_origin_mismatch(false)
}
