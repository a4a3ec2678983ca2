//! `POST /api/v1/orders/{id}/locations` and `POST /api/v1/drivers/me/locations`: fixes that phones
//! post in the background.
//!
//! A phone keeps fixes that were refused and posts them again, before everything newer, so an error
//! blocks its queue as long as the error lasts. That is why an invalid fix is reported in the body
//! of a 200.
//!
//! Errors are for problems that a retry may solve, and for a body without any readable fix: after a
//! 200 the phone would delete what it posted.

use std::sync::Arc;
use std::time::Instant;

use actix_web::http::StatusCode;
use actix_web::{HttpMessage, HttpRequest, web};

use super::fix_upload::{FixUpload, PostedFixes};
use crate::actors::order_room::FixSource;
use crate::actors::shared::{rate_limited, unavailable};
use crate::auth::{Identity, Principal, Scope};
use crate::http::Hub;
use crate::http::authorization::Reach;
use crate::http::body::Body;
use crate::http::openapi::fixes::FixesForm;
use crate::http::openapi::problems::{RateLimited, Refused, UnreadableFixes};
use crate::http::openapi::schemas::InOrder;
use crate::http::problem::Problem;
use crate::rate_limit::users::RateKind;
use protocol::error::{ErrorCode, Failure};
use protocol::fixes::{Fixes, UnreadableBody, read_fixes};
use protocol::ids::OrderId;

/// Takes positions of an order's driver
///
/// Up to 1,000 fixes, `{"locations": […]}` with the fields of `driver:location`, or in the forms of
/// react-native-background-geolocation and Expo. An invalid fix is reported in the body of a 200,
/// because a phone would post it again for ever after an error. A body without any readable fix is
/// refused, because a phone would delete it after a 200.
#[utoipa::path(post, path = "/api/v1/orders/{order}/locations", tag = "Positions",
    operation_id = "post_positions", security(("token" = []), ("apiKey" = ["orders:write"])),
    params(InOrder), request_body(content = FixesForm, content_type = "application/json"),
    responses((status = 200,
            description = "Each fix is in one of the three, and stored where it counts",
            body = PostedFixes), UnreadableFixes, RateLimited, Refused))]
pub(super) async fn post_to_order(
    hub: web::Data<Hub>,
    caller: Principal,
    order: web::Path<String>,
    request: HttpRequest,
    body: Body,
) -> Result<web::Json<PostedFixes>, Problem> {
    let by = match caller.reach(Scope::OrdersWrite)? {
        Reach::EveryOrder => FixSource::BackEnd,
        Reach::OrdersOf(user) => driver(&hub, user.clone())?,
    };
    let order = OrderId::new(&order);
    let order = order.map_err(|error| Failure::invalid("orderId", error.to_string()));
    Ok(web::Json(post(&hub, by, Some(order), fixes_of(&request, &body)?).await?))
}

/// Takes positions of the caller for all open orders
///
/// As for one order. The open orders are those that back ends assigned to the driver and those that
/// the token names.
#[utoipa::path(post, path = "/api/v1/drivers/me/locations", tag = "Positions",
    operation_id = "post_my_positions", security(("token" = [])),
    request_body(content = FixesForm, content_type = "application/json"),
    responses((status = 200,
            description = "Each fix is in one of the three, and stored where it counts",
            body = PostedFixes), UnreadableFixes, RateLimited, Refused))]
pub(super) async fn post_to_open_orders(
    hub: web::Data<Hub>,
    caller: Principal,
    request: HttpRequest,
    body: Body,
) -> Result<web::Json<PostedFixes>, Problem> {
    let by = driver_of_phone(&hub, caller)?;
    Ok(web::Json(post(&hub, by, None, fixes_of(&request, &body)?).await?))
}

/// The driver whose phone posts for all open orders.
pub(super) fn driver_of_phone(hub: &Hub, caller: Principal) -> Result<FixSource, Problem> {
    match caller {
        Principal::Identity(user) => driver(hub, user),
        Principal::Service(_) => {
            let detail = "an API key is not a driver: post to the order";
            Err(Failure::new(ErrorCode::Forbidden, detail).into())
        }
    }
}

/// A user as the source of fixes, within the rate of posts.
fn driver(hub: &Hub, user: Identity) -> Result<FixSource, Problem> {
    let now = Instant::now();
    let rates = hub.shared.user_rates.of(&user.user, now);
    rates.take(RateKind::Event, now).map_err(|wait| rate_limited("too many posts", wait))?;
    Ok(FixSource::Driver(Arc::new(user)))
}

/// Parses the fixes of a body with any `Content-Type`: some libraries send none, or a wrong one.
fn fixes_of(request: &HttpRequest, body: &Body) -> Result<Fixes, Problem> {
    read_fixes(body.text()?).map_err(|reason| unreadable(request, reason))
}

/// Delivers fixes, and counts their outcomes.
pub(super) async fn post(
    hub: &Hub,
    by: FixSource,
    order: Option<Result<OrderId, Failure>>,
    fixes: Fixes,
) -> Result<PostedFixes, Problem> {
    if hub.shared.is_draining() {
        return Err(unavailable("the hub restarts").into());
    }
    let posted = FixUpload { by, order, fixes }.deliver(hub).await?;
    let fates = [posted.accepted, posted.stale, posted.rejected.len()];
    for (index, count) in fates.into_iter().enumerate() {
        hub.shared.metrics.posted.inc_by(index, count as u64);
    }
    Ok(posted)
}

/// The problem for a body that is refused as a whole.
pub(super) fn unreadable(request: &HttpRequest, reason: UnreadableBody) -> Problem {
    let kind = request.content_type();
    let is_form = kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        || kind.to_ascii_lowercase().starts_with("multipart/");
    match reason {
        UnreadableBody::TooManyFixes => {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            Problem::new(status, ErrorCode::InvalidPayload, reason.to_string())
        }
        UnreadableBody::NotJson if is_form => Problem::unsupported_media_type("application/json"),
        UnreadableBody::NotJson => Failure::invalid("body", reason.to_string()).into(),
        UnreadableBody::UnknownForm(_) => Problem::unprocessable(reason.to_string()),
    }
}
