//! `/healthz`, `/readyz` and `/metrics`, for operation.

use std::time::{Duration, Instant};

use actix_web::http::{StatusCode, header};
use actix_web::web;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::Hub;
use super::accept_header::preferred;
use super::authorization::Operator;
use super::calls::calls;
use super::openapi::problems::{Refused, Unavailable};
use super::problem::Problem;
use crate::bus::State;

/// How long `/readyz` waits for the database.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a good answer of the database is reused: the probe writes to the disk, and anyone may
/// call `/readyz`.
const READINESS_TTL: Duration = Duration::from_secs(1);

/// When the database last passed a probe. Locked during a probe, so that concurrent calls wait for
/// its result.
#[derive(Debug, Default)]
pub struct ReadinessCache(Mutex<Option<Instant>>);

/// The formats of metrics. The first is used where all are equally accepted, or none is.
const FORMATS: [&str; 2] = ["application/openmetrics-text", "text/plain"];

calls! { Probes: self::{healthz, readyz} }
calls! { MetricsCall: self::{metrics} }

/// The state of the hub.
#[derive(Serialize, ToSchema)]
struct Health {
    #[schema(example = "ready")]
    status: &'static str,
}

/// Whether the hub takes clients, and what does not work meanwhile.
#[derive(Serialize, ToSchema)]
struct Readiness {
    #[schema(example = "ready")]
    status: &'static str,
    /// What does not work: `bus` while the other nodes are not heard. Absent where all works.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    reasons: &'static [&'static str],
}

/// The process is alive
#[utoipa::path(get, path = "/healthz", tag = "Operation", security(()),
    responses((status = 200, description = "It is", body = Health)))]
async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok" })
}

/// The hub takes clients
///
/// It is not draining, and the database answers, takes writes and is still the one that was opened.
/// A hub that could only read would refuse every chat message. A node of a cluster that does not hear
/// the others serves its clients all the same, so it is `degraded`, and still 200.
#[utoipa::path(get, path = "/readyz", tag = "Operation", security(()),
    responses((status = 200, description = "It does", body = Readiness), Unavailable))]
async fn readyz(hub: web::Data<Hub>) -> HttpResponse {
    let shared = &hub.shared;
    if shared.is_draining() {
        return not_ready("draining");
    }
    let file_guard = shared.store.file_guard();
    let answer = hub.readiness.check(|| file_guard.is_usable(), || shared.store.ping());
    match tokio::time::timeout(DATABASE_TIMEOUT, answer).await {
        Ok(Ok(())) => HttpResponse::Ok().json(Readiness::of(shared.bus.state())),
        Ok(Err(_)) if file_guard.reason().is_some() => {
            not_ready("the database is not used any more, the log says why")
        }
        Ok(Err(_)) | Err(_) => not_ready("the database does not answer or takes no writes"),
    }
}

impl Readiness {
    fn of(bus: State) -> Self {
        match bus {
            State::Up => Self { status: "ready", reasons: &[] },
            State::Deaf | State::Down => Self { status: "degraded", reasons: &["bus"] },
        }
    }
}

impl ReadinessCache {
    /// Probes the database, unless a good answer is still fresh.
    async fn check<E>(
        &self,
        counts: impl Fn() -> bool,
        probe: impl AsyncFnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut last = self.0.lock().await;
        if counts() && last.is_some_and(|last| last.elapsed() < READINESS_TTL) {
            return Ok(());
        }
        probe().await?;
        *last = Some(Instant::now());
        Ok(())
    }
}

fn not_ready(reason: &'static str) -> HttpResponse {
    Problem::unavailable(reason, 1).error_response()
}

/// Metrics for Prometheus
///
/// Without a token on loopback and on `ADMIN_BIND`, else for admins.
#[utoipa::path(get, path = "/metrics", tag = "Operation",
    security((), ("token" = []), ("apiKey" = ["metrics:read"])),
    responses((status = 200, description = "OpenMetrics, or the classic text where that is preferred",
        content(
            (String = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
            (String = "text/plain; version=0.0.4; charset=utf-8"))), Refused))]
async fn metrics(
    hub: web::Data<Hub>,
    request: HttpRequest,
    _: Operator,
) -> Result<HttpResponse, Problem> {
    hub.shared
        .metrics
        .store_queue
        .set(i64::try_from(hub.shared.store.queued()).unwrap_or(i64::MAX));
    let is_usable = hub.shared.store.file_guard().is_usable();
    hub.shared.metrics.database_fenced.set(i64::from(!is_usable));
    let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    hub.shared.metrics.http_connections.set(gauge(hub.connection_limits.open()));
    hub.shared.metrics.http_buffer.set(gauge(hub.byte_budget.taken()));
    let is_classic = preferred(&request, &FORMATS) == Some(FORMATS[1]);
    let (kind, text) = if is_classic {
        ("text/plain; version=0.0.4; charset=utf-8", hub.shared.metrics.encode_classic())
    } else {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        (kind, hub.shared.metrics.encode())
    };
    let text = text.map_err(|_| Problem::internal("the metrics cannot be written"))?;
    Ok(HttpResponse::build(StatusCode::OK)
        .content_type(kind)
        .insert_header((header::VARY, "accept"))
        .body(text))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn concurrent_checks_share_a_good_answer_and_no_bad_one() {
        let (ready, probes) = (ReadinessCache::default(), Cell::new(0));
        let ask = async |answer: Result<(), ()>, counts: bool| {
            let probe = async || {
                probes.set(probes.get() + 1);
                tokio::task::yield_now().await;
                answer
            };
            ready.check(|| counts, probe).await
        };
        let bad = tokio::join!(ask(Err(()), true), ask(Err(()), true));
        assert_eq!((bad, probes.take()), ((Err(()), Err(())), 2));
        let good = tokio::join!(ask(Ok(()), true), ask(Ok(()), true), ask(Err(()), true));
        assert_eq!((good, probes.take()), ((Ok(()), Ok(()), Ok(())), 1));
        assert_eq!((ask(Err(()), false).await, probes.take()), (Err(()), 1));
    }
}
