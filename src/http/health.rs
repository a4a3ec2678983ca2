//! `/healthz`, `/readyz` and `/metrics`: what operation asks.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::Hub;
use super::access::Operator;
use super::openapi::problems::{Refused, Unavailable};
use super::problem::{Problem, only};

/// How long `/readyz` waits for the database.
const DATABASE_PATIENCE: Duration = Duration::from_secs(1);

/// The calls here, as the document says them.
#[derive(OpenApi)]
#[openapi(paths(healthz, readyz, metrics))]
pub(super) struct Paths;

/// How the hub is.
#[derive(Serialize, ToSchema)]
struct Health {
    #[schema(example = "ready")]
    status: &'static str,
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(web::resource("/healthz").get(healthz).default_service(only("GET")))
        .service(web::resource("/readyz").get(readyz).default_service(only("GET")));
}

pub(super) fn metrics_route(config: &mut ServiceConfig) {
    config.service(web::resource("/metrics").get(metrics).default_service(only("GET")));
}

/// The process is alive
#[utoipa::path(get, path = "/healthz", tag = "Operation", security(()),
    responses((status = 200, description = "It is", body = Health)))]
async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok" })
}

/// The hub takes clients
///
/// It is not going down, and the database answers and takes writes: a hub that could only read
/// would refuse every chat message.
#[utoipa::path(get, path = "/readyz", tag = "Operation", security(()),
    responses((status = 200, description = "It does", body = Health), Unavailable))]
async fn readyz(hub: web::Data<Hub>) -> HttpResponse {
    if hub.shared.is_draining() {
        return not_ready("draining");
    }
    match tokio::time::timeout(DATABASE_PATIENCE, hub.shared.store.ping()).await {
        Ok(Ok(())) => HttpResponse::Ok().json(Health { status: "ready" }),
        Ok(Err(_)) | Err(_) => not_ready("the database does not answer or takes no writes"),
    }
}

fn not_ready(reason: &'static str) -> HttpResponse {
    Problem::unavailable(reason, 1).error_response()
}

/// Metrics for Prometheus
///
/// For whoever reaches the hub on loopback or on `ADMIN_BIND`, else for admins.
#[utoipa::path(get, path = "/metrics", tag = "Operation",
    security((), ("token" = []), ("apiKey" = ["metrics:read"])),
    responses((status = 200, description = "OpenMetrics", body = String,
            content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"), Refused))]
async fn metrics(hub: web::Data<Hub>, _: Operator) -> Result<HttpResponse, Problem> {
    hub.shared
        .metrics
        .store_queue
        .set(i64::try_from(hub.shared.store.queued()).unwrap_or(i64::MAX));
    let text = hub.shared.metrics.encode();
    let text = text.map_err(|_| Problem::internal("the metrics cannot be written"))?;
    Ok(HttpResponse::build(StatusCode::OK)
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(text))
}
