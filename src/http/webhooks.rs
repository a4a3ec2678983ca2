//! `/admin/v1/webhooks`: how the endpoints fare, and what admins do about it.

use actix_web::web;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Hub;
use super::admin::run_to_completion;
use super::api::json::OptionalJson;
use super::api::store_problem;
use super::authorization::{ManageWebhooks, May, ReadNode};
use super::openapi::problems::{BadOptionalBody, BadRequest, NotFound, Refused};
use super::problem::Problem;
use crate::actors::webhooks::Dispatcher;
use crate::db::webhooks::{DeadRow, EndpointCounts, Replay};
use crate::webhooks::endpoints::Endpoint;
use crate::webhooks::health::EndpointState;
use protocol::error::{ErrorCode, Failure};
use protocol::time::Timestamp;

/// Dead webhooks on a page by default, and the most of them.
const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 500;
/// The most ids of one replay.
const MAX_IDS: usize = 1000;

/// The endpoint that a path names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "for the document alone")]
struct ByName {
    /// The endpoint's name in `WEBHOOKS_FILE`
    name: String,
}

/// The endpoints.
#[derive(Serialize, ToSchema)]
pub(super) struct EndpointList {
    endpoints: Vec<EndpointView>,
}

/// How an endpoint fares.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EndpointView {
    name: String,
    /// Without its query.
    url: String,
    #[schema(inline)]
    state: StateView,
    /// Webhooks that wait.
    waiting: i64,
    /// Webhooks that were given up.
    dead: i64,
    /// How long the oldest that waits has waited, in milliseconds.
    lag_ms: u64,
    /// Why the last delivery failed, where it did since the endpoint was last started.
    #[schema(required)]
    last_error: Option<String>,
    #[schema(required)]
    last_delivered_at: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StateView {
    /// It is sent what waits.
    Up,
    /// It fails for all orders, and is tried now and then.
    Down,
    /// It answered 410, and is sent nothing.
    Stopped,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeadQuery {
    /// Webhooks on a page
    #[param(minimum = 1, maximum = 500, default = 50, nullable = false)]
    limit: Option<i64>,
    /// `nextCursor` of the previous page
    #[param(minimum = 0, nullable = false)]
    cursor: Option<i64>,
}

/// A page of dead webhooks.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeadList {
    dead: Vec<DeadView>,
    /// The cursor of the next page; null on the last page.
    #[schema(required)]
    next_cursor: Option<i64>,
}

/// A webhook that was given up.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DeadView {
    /// The `webhook-id`.
    id: String,
    r#type: String,
    /// The order; null for `hub.started`.
    #[schema(required)]
    order_id: Option<String>,
    /// When it happened.
    timestamp: Timestamp,
    /// When it was given up.
    #[schema(required)]
    died_at: Option<Timestamp>,
    /// Why the last try failed.
    #[schema(required)]
    error: Option<String>,
}

/// Which dead webhooks are sent again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayForm {
    /// Their ids, at most 1,000; absent: all
    #[schema(max_items = 1000)]
    ids: Option<Vec<String>>,
}

/// How many are sent again.
#[derive(Serialize, ToSchema)]
pub(super) struct Replayed {
    replayed: usize,
}

/// The endpoint is started.
#[derive(Serialize, ToSchema)]
pub(super) struct Enabled {
    enabled: bool,
}

/// Lists the endpoints of webhooks
#[utoipa::path(get, path = "/admin/v1/webhooks", tag = "Admin", operation_id = "list_webhooks",
    security(("token" = []), ("apiKey" = ["admin:read"])),
    responses((status = 200, description = "As of now", body = EndpointList), Refused))]
pub(super) async fn list(
    hub: web::Data<Hub>,
    _: May<ReadNode>,
) -> Result<web::Json<EndpointList>, Problem> {
    let Some(dispatcher) = &hub.dispatcher else {
        return Ok(web::Json(EndpointList { endpoints: Vec::new() }));
    };
    let counts = hub.shared.store.webhook_counts().await.map_err(store_problem)?;
    let mut states = hub.shared.store.webhook_states().await.map_err(store_problem)?;
    let endpoints = dispatcher.endpoints();
    let view = |endpoint: &std::sync::Arc<Endpoint>| {
        let counts = counts.get(&*endpoint.name).copied().unwrap_or_default();
        let state = states.remove(&*endpoint.name).unwrap_or_default();
        EndpointView::new(endpoint, counts, state, Timestamp::now())
    };
    Ok(web::Json(EndpointList { endpoints: endpoints.iter().map(view).collect() }))
}

/// Starts an endpoint that is stopped or down
///
/// What waits is sent at once.
#[utoipa::path(post, path = "/admin/v1/webhooks/{name}/enable", tag = "Admin",
    operation_id = "enable_webhook", security(("token" = []), ("apiKey" = ["admin:write"])),
    params(ByName),
    responses((status = 200, description = "It is started", body = Enabled), NotFound, Refused))]
pub(super) async fn enable(
    hub: web::Data<Hub>,
    admin: May<ManageWebhooks>,
    name: web::Path<String>,
) -> Result<web::Json<Enabled>, Problem> {
    let name = known(&hub, name.into_inner())?;
    run_to_completion(async move {
        hub.shared.store.enable_webhook(name.clone()).await.map_err(store_problem)?;
        look(&hub, &name);
        log::info!(admin = admin.caller.name(), endpoint = name.as_str(); "a webhook was started");
        Ok(web::Json(Enabled { enabled: true }))
    })
    .await
}

/// Lists the webhooks of an endpoint that were given up
#[utoipa::path(get, path = "/admin/v1/webhooks/{name}/dead", tag = "Admin",
    operation_id = "list_dead_webhooks", security(("token" = []), ("apiKey" = ["admin:read"])),
    params(ByName, DeadQuery),
    responses((status = 200, description = "A page of them, the oldest first", body = DeadList),
        BadRequest, NotFound, Refused))]
pub(super) async fn dead(
    hub: web::Data<Hub>,
    _: May<ReadNode>,
    name: web::Path<String>,
    query: web::Query<DeadQuery>,
) -> Result<web::Json<DeadList>, Problem> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Failure::invalid("limit", "must be 1 to 500").into());
    }
    let after = query.cursor.unwrap_or(0);
    if after < 0 {
        return Err(Failure::invalid("cursor", "must be the nextCursor of a page").into());
    }
    let name = known(&hub, name.into_inner())?;
    // One more, to know whether there is a next page.
    let rows = hub.shared.store.dead_webhooks(name, after, limit + 1).await;
    let mut rows = rows.map_err(store_problem)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|row| row.number);
    Ok(web::Json(DeadList { dead: rows.into_iter().map(DeadView::from).collect(), next_cursor }))
}

/// Sends webhooks again that were given up
///
/// They keep their ids. Those of one order go before what waits for it, and after what was
/// delivered since.
#[utoipa::path(post, path = "/admin/v1/webhooks/{name}/dead:replay", tag = "Admin",
    operation_id = "replay_webhooks", security(("token" = []), ("apiKey" = ["admin:write"])),
    params(ByName), request_body = ReplayForm,
    responses((status = 200, description = "They wait again", body = Replayed), BadOptionalBody,
        NotFound, Refused))]
pub(super) async fn replay(
    hub: web::Data<Hub>,
    admin: May<ManageWebhooks>,
    name: web::Path<String>,
    OptionalJson(form): OptionalJson<ReplayForm>,
) -> Result<web::Json<Replayed>, Problem> {
    if form.ids.as_ref().is_some_and(|ids| ids.len() > MAX_IDS) {
        return Err(Failure::invalid("ids", "has more than 1000").into());
    }
    let name = known(&hub, name.into_inner())?;
    let which = form.ids.map_or_else(|| Replay::All(Timestamp::now()), Replay::Ids);
    run_to_completion(async move {
        let replayed = hub.shared.store.replay_webhooks(name.clone(), which).await;
        let replayed = replayed.map_err(store_problem)?;
        look(&hub, &name);
        let (admin, endpoint) = (admin.caller.name(), name.as_str());
        log::info!(admin = admin, endpoint = endpoint; "{replayed} dead webhooks wait again");
        Ok(web::Json(Replayed { replayed }))
    })
    .await
}

/// The name of an endpoint that there is.
fn known(hub: &Hub, name: String) -> Result<String, Problem> {
    let is_known =
        |dispatcher: &std::sync::Arc<Dispatcher>| dispatcher.endpoints().find(&name).is_some();
    if hub.dispatcher.as_ref().is_some_and(is_known) {
        return Ok(name);
    }
    Err(Failure::new(ErrorCode::NotFound, "WEBHOOKS_FILE has no endpoint of this name").into())
}

fn look(hub: &Hub, name: &str) {
    if let Some(dispatcher) = &hub.dispatcher {
        dispatcher.look(name);
    }
}

// === impl EndpointView ===

impl EndpointView {
    fn new(
        endpoint: &Endpoint,
        counts: EndpointCounts,
        state: EndpointState,
        now: Timestamp,
    ) -> Self {
        let is_stopped = state.is_stopped(&endpoint.entry);
        let is_down = state.is_down();
        Self {
            name: endpoint.name.to_string(),
            url: endpoint.shown_url(),
            state: match (is_stopped, is_down) {
                (true, _) => StateView::Stopped,
                (false, true) => StateView::Down,
                (false, false) => StateView::Up,
            },
            waiting: counts.waiting,
            dead: counts.dead,
            lag_ms: counts.oldest.map_or(0, |oldest| now.millis_since(oldest)),
            last_error: state.last_error,
            last_delivered_at: state.last_delivered,
        }
    }
}

impl From<DeadRow> for DeadView {
    fn from(row: DeadRow) -> Self {
        Self {
            id: row.id,
            r#type: row.kind,
            order_id: Some(row.order).filter(|order| !order.is_empty()),
            timestamp: row.created_at,
            died_at: row.died_at,
            error: row.error,
        }
    }
}
