//! `GET /api/v1/orders/{id}/locations`: the trail of an order, as JSON or `GeoJSON`.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::caller::{acquire_read, store_for};
use super::geojson::FeatureCollection;
use super::store_problem;
use crate::actors::store::{TrailPage, TrailPoint, TrailRange};
use crate::auth::{Principal, Scope};
use crate::http::Hub;
use crate::http::accept_header::preferred;
use crate::http::authorization::Reach;
use crate::http::openapi::problems::{
    BadRequest, Conflict, NotAcceptable, NotFound, RateLimited, Refused,
};
use crate::http::openapi::schemas::InOrder;
use crate::http::path_id::PathId;
use crate::http::problem::Problem;
use crate::room::order::OrderFacts;
use crate::room::visibility::Visibility;
use protocol::error::{ErrorCode, Failure};
use protocol::ids::{OrderId, UserId};
use protocol::time::Timestamp;

/// Points on a page by default.
const DEFAULT_LIMIT: i64 = 1000;
/// The most points on a page.
const MAX_LIMIT: i64 = 5000;
/// The forms of the answer. The first is used where all are equally accepted.
const OFFERED: [&str; 2] = ["application/json", "application/geo+json"];

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TrailQuery {
    /// From this time on: RFC 3339 with a zone, or the `nextSince` of the previous page
    #[param(nullable = false, format = DateTime)]
    since: Option<String>,
    /// Before this time
    #[param(nullable = false, format = DateTime)]
    until: Option<String>,
    /// Points on a page
    #[param(nullable = false, minimum = 1, maximum = 5000, default = 1000)]
    limit: Option<i64>,
}

/// A page of a trail.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TrailView<'a> {
    order_id: &'a OrderId,
    /// The points, in order of time.
    locations: Vec<PointView<'a>>,
    /// The `since` of the next page; null on the last page.
    next_since: Option<Timestamp>,
}

/// One point of a trail.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PointView<'a> {
    lat: f64,
    lng: f64,
    /// The time by the phone's clock, if the phone sent one.
    recorded_at: Timestamp,
    driver_id: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    accuracy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    heading: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    speed: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    altitude: Option<f64>,
}

/// Reads the trail of an order
///
/// One point per driver and `TRAIL_INTERVAL_SECS`, kept for `LOCATION_RETENTION_HOURS`. Users who
/// may see the positions can use this too.
#[utoipa::path(get, path = "/api/v1/orders/{order}/locations", tag = "Positions",
    operation_id = "read_trail", security(("token" = []), ("apiKey" = ["orders:read"])),
    params(InOrder, TrailQuery),
    responses((status = 200, description = "In order of the times", content(
        (TrailView<'static> = "application/json"),
        (FeatureCollection<'static> = "application/geo+json"))),
        BadRequest, NotFound, NotAcceptable, Conflict, RateLimited, Refused))]
pub(super) async fn show(
    hub: web::Data<Hub>,
    caller: Principal,
    order: web::Path<PathId<OrderId>>,
    query: web::Query<TrailQuery>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let form = preferred(&request, &OFFERED).ok_or_else(|| Problem::not_acceptable(&OFFERED))?;
    let mut range = query.range()?;
    let PathId(order) = order.into_inner();
    let reach = caller.reach(Scope::OrdersRead)?;
    let _turn = acquire_read(&hub, &reach).await?;
    let store = store_for(&hub, &reach);
    let stored = store.order(order.clone()).await.map_err(store_problem)?;
    let unknown = OrderFacts::default();
    let facts = stored.as_ref().map_or(&unknown, |stored| &stored.facts);
    range.since = range.since.max(visibility(&hub, &reach, &order, facts)?.begins());
    if stored.is_none() {
        return Err(Failure::new(ErrorCode::NotFound, "no such order").into());
    }
    let page = store.trail(order.clone(), range).await.map_err(store_problem)?;
    let mut answer = HttpResponse::Ok();
    answer.insert_header((header::CONTENT_TYPE, form)).insert_header((header::VARY, "accept"));
    Ok(if form == OFFERED[0] {
        answer.json(view(&order, &page))
    } else {
        answer.json(FeatureCollection::new(&order, &page))
    })
}

/// The part of the trail that the caller may see.
fn visibility(
    hub: &Hub,
    reach: &Reach<'_>,
    order: &OrderId,
    facts: &OrderFacts,
) -> Result<Visibility, Failure> {
    match reach {
        Reach::EveryOrder => Ok(Visibility::of_trail(facts)),
        Reach::OrdersOf(user) => hub.shared.rights_of(user, order, facts).visible_trail(),
    }
}

fn view<'a>(order_id: &'a OrderId, page: &'a TrailPage) -> TrailView<'a> {
    let point = |point: &'a TrailPoint| PointView {
        lat: point.lat,
        lng: point.lng,
        recorded_at: point.at,
        driver_id: &point.driver_id,
        accuracy: point.accuracy,
        heading: point.heading,
        speed: point.speed,
        altitude: point.altitude,
    };
    let locations = page.points.iter().map(point).collect();
    TrailView { order_id, locations, next_since: page.next }
}

// === impl TrailQuery ===

impl TrailQuery {
    fn range(&self) -> Result<TrailRange, Failure> {
        let since =
            time("since", self.since.as_deref())?.unwrap_or(Timestamp::from_millis(i64::MIN));
        let until =
            time("until", self.until.as_deref())?.unwrap_or(Timestamp::from_millis(i64::MAX));
        if until < since {
            return Err(Failure::invalid("until", "must not be before since"));
        }
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Failure::invalid("limit", "must be 1 to 5000"));
        }
        Ok(TrailRange { since, until, limit })
    }
}

fn time(field: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, Failure> {
    let time = text.map(str::parse).transpose();
    time.map_err(|error: protocol::time::InvalidTime| Failure::invalid(field, error.to_string()))
}
