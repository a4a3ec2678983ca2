//! `/docs`: Swagger UI, compiled into the program.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{self, Bytes, ServiceConfig};
use utoipa_swagger_ui::Config;

use super::DOCUMENT;
use crate::http::authorization::Operator;
use crate::http::problem::{Problem, other_methods};

/// The page. It loads its parts from below its own address.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>orderhub</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="stylesheet" href="docs/index.css">
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/swagger-ui-standalone-preset.js"></script>
<script src="docs/swagger-initializer.js"></script>
</html>
"#;
/// The page's content security policy: nothing from other hosts.
const ONLY_FROM_HERE: &str = "default-src 'self'; img-src 'self' data:; \
    style-src 'self' 'unsafe-inline'; frame-ancestors 'none'";

/// The page's configuration. By default Swagger UI would send the document to a server of its
/// makers for validation.
static CONFIG: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from(DOCUMENT).validator_url("none")));

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(web::resource("/docs").get(page).default_service(other_methods("GET")))
        .service(web::resource("/docs/").get(without_slash).default_service(other_methods("GET")))
        .service(web::resource("/docs/{file}").get(part).default_service(other_methods("GET")));
}

async fn page(_: Operator) -> HttpResponse {
    answer("text/html; charset=utf-8", Bytes::from_static(PAGE.as_bytes()))
}

/// Redirects, because the page loads its parts and the document relative to `/docs`.
async fn without_slash(_: Operator) -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "../docs")).finish()
}

async fn part(_: Operator, file: web::Path<String>) -> Result<HttpResponse, Problem> {
    let found = utoipa_swagger_ui::serve(&file, Arc::clone(&CONFIG)).map_err(|error| {
        log::error!("a part of the page /docs cannot be written: {error}");
        Problem::internal("the page cannot be written")
    })?;
    let part = found.ok_or_else(Problem::not_found)?;
    let bytes = match part.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    Ok(answer(&part.content_type, bytes))
}

fn answer(kind: &str, body: Bytes) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(kind)
        .insert_header((header::CONTENT_SECURITY_POLICY, ONLY_FROM_HERE))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(body)
}
