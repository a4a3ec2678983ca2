//! `/api/v1/drivers/me/locations/…`: fixes from apps that only track a phone. Each app has its own
//! form and expects its own answer.
//!
//! Such an app can be given an address and perhaps a password, and nothing else. So only here, over
//! HTTP, the token may be the password of `Authorization: Basic`, or may be in the query if
//! `ALLOW_QUERY_TOKEN` allows that (`http::authentication`).

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse, web};

use super::locations::{driver_of_phone, post, unreadable};
use crate::auth::Principal;
use crate::http::Hub;
use crate::http::body::Body;
use crate::http::openapi::problems::{RateLimited, Refused, UnreadableFixes};
use crate::http::openapi::trackers::{OsmAndFix, OverlandBatch, OwnTracksMessage, Taken};
use crate::http::problem::Problem;
use protocol::fixes::{Fixes, UnreadableBody};
use protocol::trackers::{read_osmand, read_overland, read_owntracks};

/// Takes a message of `OwnTracks`
///
/// As the app posts it in HTTP mode. A `location` is a position of the caller for all open orders;
/// other messages are accepted and ignored. A fix that no order accepts is not an error either,
/// because the app would send it again.
#[utoipa::path(post, path = "/api/v1/drivers/me/locations/owntracks", tag = "Positions",
    operation_id = "post_owntracks", security(("token" = []), ("password" = [])),
    request_body(content = OwnTracksMessage, content_type = "application/json"),
    responses((status = 200, description = "It is stored; the list is always empty",
            body = Vec<String>), UnreadableFixes, RateLimited, Refused))]
pub(super) async fn owntracks(
    hub: web::Data<Hub>,
    caller: Principal,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let text = body.text()?;
    take(&hub, caller, &request, || read_owntracks(text)).await?;
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body("[]"))
}

/// Takes a batch of Overland
///
/// Up to 1,000 features of `GeoJSON` as the app posts them: positions of the caller for all open
/// orders. A fix that no order accepts is not an error, because the app would send the whole batch
/// again.
#[utoipa::path(post, path = "/api/v1/drivers/me/locations/overland", tag = "Positions",
    operation_id = "post_overland", security(("token" = []), ("password" = [])),
    request_body(content = OverlandBatch, content_type = "application/json"),
    responses((status = 200, description = "It is stored", body = Taken),
        UnreadableFixes, RateLimited, Refused))]
pub(super) async fn overland(
    hub: web::Data<Hub>,
    caller: Principal,
    request: HttpRequest,
    body: Body,
) -> Result<web::Json<Taken>, Problem> {
    let text = body.text()?;
    take(&hub, caller, &request, || read_overland(text)).await?;
    Ok(web::Json(Taken::OK))
}

/// Takes a fix by the `OsmAnd` protocol
///
/// As Traccar defined it and Traccar Client sends it, in the query: a position of the caller for
/// all open orders. A fix that no order accepts is not an error, because the app would send it
/// again.
#[utoipa::path(get, path = "/api/v1/drivers/me/locations/osmand", tag = "Positions",
    operation_id = "get_osmand", security(("token" = []), ("password" = [])), params(OsmAndFix),
    responses((status = 200, description = "It is stored"), UnreadableFixes, RateLimited, Refused))]
pub(super) async fn osmand(
    hub: web::Data<Hub>,
    caller: Principal,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    take(&hub, caller, &request, || read_osmand(request.query_string(), "")).await?;
    Ok(HttpResponse::Ok().finish())
}

/// Takes a fix by the `OsmAnd` protocol, from a form
///
/// As by `GET`; parameters of the query count too. A JSON body is read as that of `POST
/// /api/v1/drivers/me/locations`: newer Traccar Clients send that.
#[utoipa::path(post, path = "/api/v1/drivers/me/locations/osmand", tag = "Positions",
    operation_id = "post_osmand", security(("token" = []), ("password" = [])), params(OsmAndFix),
    request_body(content = OsmAndFix, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "It is stored"), UnreadableFixes, RateLimited, Refused))]
pub(super) async fn osmand_form(
    hub: web::Data<Hub>,
    caller: Principal,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let text = body.text()?;
    take(&hub, caller, &request, || read_osmand(request.query_string(), text)).await?;
    Ok(HttpResponse::Ok().finish())
}

/// Reads and delivers fixes, once the caller's rate allows it. Only the metrics show their outcomes,
/// because no app reads them.
async fn take(
    hub: &Hub,
    caller: Principal,
    request: &HttpRequest,
    read: impl FnOnce() -> Result<Fixes, UnreadableBody>,
) -> Result<(), Problem> {
    let by = driver_of_phone(hub, caller)?;
    let fixes = read().map_err(|reason| unreadable(request, reason))?;
    post(hub, by, None, fixes).await.map(drop)
}
