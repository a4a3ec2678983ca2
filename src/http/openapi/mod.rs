//! What the hub says of itself, for programs and for people: `/openapi.json` (the HTTP API as
//! `OpenAPI` 3.1, made from the handlers and their types), `/docs`, a page that shows it, and
//! `/asyncapi.json` (the events). None loads anything from other hosts.

mod asyncapi;
pub(super) mod fixes;
mod page;
pub(super) mod problems;
pub(super) mod schemas;
pub(super) mod trackers;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::web::{self, Bytes, ServiceConfig};
use utoipa::openapi::security::{Http, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, RefOr, Required, schema::Components};
use utoipa::{Modify, OpenApi};

use super::authorization::Operator;
use super::problem::{Problem, other_methods};
use super::{admin, api, health};

/// The path of the document.
const DOCUMENT: &str = "/openapi.json";
/// The path of the document of events.
const EVENTS: &str = "/asyncapi.json";

/// The introduction of the document. The paths come from the handlers.
const ABOUT: &str = "\
What back ends tell the hub of their orders, and what operation asks it. Clients speak events over \
`/ws` and `/socket.io/` instead.

JSON in and out; unknown fields are refused. Every error is `application/problem+json` with a \
stable `code`. A path that is none is 404, another method 405 with `Allow`. Ids in bodies may also \
be whole numbers, which are taken as their text. Where `ADMIN_BIND` is set, `/admin`, `/metrics`, \
this document and its page are on that address, and the rest on the other.";

#[derive(OpenApi)]
#[openapi(
    info(title = "orderhub", description = ABOUT),
    components(schemas(problems::Problem)),
    tags(
        (name = "Orders", description = "What an order is and who takes part. Tokens of services \
            and admins; API keys with `orders:read` and `orders:write`"),
        (name = "Chat", description = "The chat of orders. Tokens of services and admins, and of \
            those who take part; API keys with `chat:write`, and `orders:read` for reading"),
        (name = "Positions", description = "Where drivers are and were. Phones post with their own \
            tokens; API keys with `orders:write`, and `orders:read` for reading"),
        (name = "Users", description = "A user, whatever the order. Tokens of services and admins; \
            API keys with `users:write`"),
        (name = "Events", description = "Events of your own, for rooms and for users. Tokens of \
            services and admins; API keys with `events:write`"),
        (name = "Admin", description = "The node and its rooms. Tokens of admins, for looking also \
            of support; API keys with `admin:read` and `admin:write`"),
        (name = "Operation", description = "Health and metrics"),
    )
)]
struct Hub;

/// Additions to the document that attributes cannot express: general parts, and that the body of a
/// `DELETE` or of a replay is optional.
struct Rest;

impl Modify for Rest {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_with(Components::new);
        let token = "A JWT of your back end, with the user's role";
        let key = "A key of API_KEYS_FILE (`orderhub api-key`), with the scopes that a call names";
        components.add_security_scheme("token", bearer("JWT", token));
        components.add_security_scheme("apiKey", bearer("ohk_…", key));
        let password = "The same JWT as the password, for apps that can send nothing else; the name \
            says nothing";
        let basic = HttpBuilder::new().scheme(HttpAuthScheme::Basic).description(Some(password));
        components.add_security_scheme("password", SecurityScheme::Http(basic.build()));
        problems::describe(components);
        let calls = document.paths.paths.iter_mut().flat_map(|(path, item)| {
            let replay = item.post.as_mut().filter(|_| path.ends_with(":replay"));
            item.delete.as_mut().into_iter().chain(replay)
        });
        for body in calls.filter_map(|call| call.request_body.as_mut()) {
            if let RefOr::T(body) = body {
                body.required = Some(Required::False);
            }
        }
    }
}

fn bearer(format: &str, description: &str) -> SecurityScheme {
    let bearer: Http = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format(format)
        .description(Some(description))
        .build();
    SecurityScheme::Http(bearer)
}

/// The document, serialised once.
static JSON: LazyLock<Result<Bytes, serde_json::Error>> = LazyLock::new(|| {
    let mut document = Hub::openapi();
    document.merge(api::Calls::openapi());
    document.merge(admin::Calls::openapi());
    document.merge(health::Probes::openapi());
    document.merge(health::MetricsCall::openapi());
    Rest.modify(&mut document);
    document.to_pretty_json().map(Bytes::from)
});

/// The document of events, serialised once.
static EVENTS_JSON: LazyLock<Result<Bytes, serde_json::Error>> =
    LazyLock::new(|| serde_json::to_vec_pretty(&asyncapi::document()).map(Bytes::from));

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(web::resource(DOCUMENT).get(calls).default_service(other_methods("GET")))
        .service(web::resource(EVENTS).get(events).default_service(other_methods("GET")))
        .configure(page::routes);
}

async fn calls(_: Operator) -> Result<HttpResponse, Problem> {
    answer(&JSON)
}

async fn events(_: Operator) -> Result<HttpResponse, Problem> {
    answer(&EVENTS_JSON)
}

fn answer(document: &Result<Bytes, serde_json::Error>) -> Result<HttpResponse, Problem> {
    match document {
        Ok(json) => Ok(HttpResponse::Ok().content_type("application/json").body(json.clone())),
        Err(error) => {
            log::error!("the document cannot be written: {error}");
            Err(Problem::internal("the document cannot be written"))
        }
    }
}
