//! `POST /api/v1/orders/{id}/locations` and `POST /api/v1/drivers/me/locations`: fixes from phones
//! in the background.
//!
//! A phone keeps what was refused and posts it again, before everything newer: an error would
//! block its queue for as long as it lasts. So whatever is wrong with a fix is told beside a 200;
//! only what another try may mend, or what nobody could use, is an error.

use std::str::from_utf8;
use std::sync::Arc;
use std::time::Instant;

use actix_web::http::StatusCode;
use actix_web::web;

use super::posting::{PostedFixes, Posting};
use crate::actors::order_room::Reporter;
use crate::actors::shared::{too_fast, unavailable};
use crate::auth::{Identity, Principal, Scope};
use crate::http::Hub;
use crate::http::body::Body;
use crate::http::openapi::fixes::FixesForm;
use crate::http::openapi::problems::{RateLimited, Refused, TooMuch};
use crate::http::openapi::words::InOrder;
use crate::http::problem::Problem;
use crate::ids::OrderId;
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::fixes::{TooMany, read_fixes};
use crate::session::users::Kind;

/// Takes positions of an order's driver
///
/// Up to 1,000 fixes, `{"locations": […]}` with the fields of `driver:location`, or as
/// react-native-background-geolocation and Expo have them. Whatever is wrong with a fix is told
/// beside a 200, or a phone would post it again for ever.
#[utoipa::path(post, path = "/api/v1/orders/{order}/locations", tag = "Positions",
    operation_id = "post_positions", security(("token" = []), ("apiKey" = ["orders:write"])),
    params(InOrder), request_body(content = FixesForm, content_type = "application/json"),
    responses((status = 200,
            description = "Each fix is in one of the three, and stored where it counts",
            body = PostedFixes), TooMuch, RateLimited, Refused))]
pub(super) async fn post_to_order(
    hub: web::Data<Hub>,
    caller: Principal,
    order: web::Path<String>,
    body: Body,
) -> Result<web::Json<PostedFixes>, Problem> {
    let by = match caller {
        caller if caller.may(Scope::OrdersWrite) => Reporter::BackEnd,
        Principal::Identity(user) => driver(&hub, user)?,
        Principal::Service(_) => {
            let detail = "the key has no scope orders:write";
            return Err(Failure::new(ErrorCode::Forbidden, detail).into());
        }
    };
    let order = OrderId::new(&order);
    let order = order.map_err(|error| Failure::invalid("orderId", error.to_string()));
    post(&hub, by, Some(order), &body).await
}

/// Takes positions of the caller for all open orders
///
/// As for one order; those that back ends gave the driver and that the token names.
#[utoipa::path(post, path = "/api/v1/drivers/me/locations", tag = "Positions",
    operation_id = "post_my_positions", security(("token" = [])),
    request_body(content = FixesForm, content_type = "application/json"),
    responses((status = 200,
            description = "Each fix is in one of the three, and stored where it counts",
            body = PostedFixes), TooMuch, RateLimited, Refused))]
pub(super) async fn post_to_open_orders(
    hub: web::Data<Hub>,
    caller: Principal,
    body: Body,
) -> Result<web::Json<PostedFixes>, Problem> {
    let by = match caller {
        Principal::Identity(user) => driver(&hub, user)?,
        Principal::Service(_) => {
            let detail = "an API key is no driver: post to the order";
            return Err(Failure::new(ErrorCode::Forbidden, detail).into());
        }
    };
    post(&hub, by, None, &body).await
}

/// Somebody with a phone, if there were not too many posts of late.
fn driver(hub: &Hub, user: Identity) -> Result<Reporter, Problem> {
    let now = Instant::now();
    let rates = hub.shared.users.of(&user.user, now);
    rates.take(Kind::Event, now).map_err(|wait| too_fast("too many posts", wait))?;
    Ok(Reporter::Driver(Arc::new(user)))
}

async fn post(
    hub: &Hub,
    by: Reporter,
    order: Option<Result<OrderId, Failure>>,
    body: &Body,
) -> Result<web::Json<PostedFixes>, Problem> {
    if hub.shared.is_draining() {
        return Err(unavailable("the hub restarts").into());
    }
    // What is not UTF-8 is none of the forms.
    let fixes = read_fixes(from_utf8(&body.0).unwrap_or_default()).map_err(too_many)?;
    let posted = Posting { by, order, fixes }.deliver(hub).await?;
    let fates = [posted.accepted, posted.stale, posted.rejected.len()];
    for (index, count) in fates.into_iter().enumerate() {
        hub.shared.metrics.posted.inc_by(index, count as u64);
    }
    Ok(web::Json(posted))
}

fn too_many(error: TooMany) -> Problem {
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    Problem::new(status, ErrorCode::InvalidPayload, error.to_string())
}
