//! `/api/v1`: what back ends set and read, and what participants may read.

mod bulk_orders;
mod caller;
mod events;
mod fix_upload;
mod forms;
mod geojson;
mod idempotency;
mod json;
mod locations;
mod messages;
mod orders;
mod trackers;
mod trail;
mod users;
mod view;

use std::sync::Arc;

use actix_web::Resource;
use actix_web::web::{self, ServiceConfig};
use utoipa::OpenApi;

use super::Hub;
use super::problem::{Problem, other_methods};
use crate::actors::store::{
    AppliedChange, ChangeNote, ChangeOutcome, ChangeRequest, CommittedChange, Idempotent,
    OrderChange, StoreError,
};
use crate::actors::supervisor::SupervisorBarrier;
use crate::room::change::{OrderCommand, StoredState};
use protocol::error::{ErrorCode, Failure};
use protocol::ids::OrderId;
use protocol::time::Timestamp;

/// The calls of the API, for the `OpenAPI` document.
#[derive(OpenApi)]
#[openapi(paths(
    orders::list,
    orders::show,
    orders::put,
    orders::delete,
    orders::set_status,
    orders::assign,
    orders::put_participant,
    orders::remove_participant,
    bulk_orders::put_all,
    events::to_room,
    events::to_user,
    events::to_users,
    messages::list,
    messages::post,
    locations::post_to_order,
    locations::post_to_open_orders,
    trackers::owntracks,
    trackers::overland,
    trackers::osmand,
    trackers::osmand_form,
    trail::show,
    users::revoke,
))]
pub(super) struct Paths;

/// A route that answers other methods with 405.
fn resource(path: &str, allowed: &'static str) -> Resource {
    web::resource(path).default_service(other_methods(allowed))
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(resource("/api/v1/orders", "GET").get(orders::list))
        .service(resource("/api/v1/orders:batch", "POST").post(bulk_orders::put_all))
        .service(
            resource("/api/v1/orders/{order}", "GET, PUT, DELETE")
                .get(orders::show)
                .put(orders::put)
                .delete(orders::delete),
        )
        .service(resource("/api/v1/orders/{order}/status", "POST").post(orders::set_status))
        .service(resource("/api/v1/orders/{order}/assign", "POST").post(orders::assign))
        .service(resource("/api/v1/orders/{order}/events", "POST").post(events::to_room))
        .service(resource("/api/v1/users:events", "POST").post(events::to_users))
        .service(resource("/api/v1/users/{user}/events", "POST").post(events::to_user))
        .service(resource("/api/v1/users/{user}/revoke", "POST").post(users::revoke))
        .service(
            resource("/api/v1/orders/{order}/messages", "GET, POST")
                .get(messages::list)
                .post(messages::post),
        )
        .service(
            resource("/api/v1/orders/{order}/locations", "GET, POST")
                .get(trail::show)
                .post(locations::post_to_order),
        )
        .service(
            resource("/api/v1/drivers/me/locations", "POST").post(locations::post_to_open_orders),
        )
        .service(
            resource("/api/v1/drivers/me/locations/owntracks", "POST").post(trackers::owntracks),
        )
        .service(resource("/api/v1/drivers/me/locations/overland", "POST").post(trackers::overland))
        .service(
            resource("/api/v1/drivers/me/locations/osmand", "GET, POST")
                .get(trackers::osmand)
                .post(trackers::osmand_form),
        )
        .service(
            resource("/api/v1/orders/{order}/participants/{user}", "PUT, DELETE")
                .put(orders::put_participant)
                .delete(orders::remove_participant),
        );
}

/// Changes an order. Returns after the change was forwarded, so members and users get it before
/// anything that is sent after the answer.
async fn change(
    hub: &Hub,
    order: OrderId,
    command: OrderCommand,
    note: ChangeNote,
    idempotent: Option<Idempotent<AppliedChange>>,
) -> Result<Arc<CommittedChange>, Problem> {
    let changed = begin_change(hub, order, command, note, idempotent).await;
    await_forwarded(hub).await?;
    changed.map_err(store_problem).and_then(|outcome| outcome.map_err(Problem::from))
}

/// Begins to change an order. The change is admitted at once, even if the future is dropped: a
/// caller that goes away cancels nothing.
fn begin_change(
    hub: &Hub,
    order: OrderId,
    command: OrderCommand,
    note: ChangeNote,
    idempotent: Option<Idempotent<AppliedChange>>,
) -> impl Future<Output = Result<ChangeOutcome, StoreError>> + use<> {
    let shared = Arc::clone(&hub.shared);
    let decide = move |known: &StoredState, command: &OrderCommand| {
        shared.rules.decide(known, command, Timestamp::now())
    };
    let change = OrderChange { order, command, decide: Arc::new(decide), note, idempotent };
    let tell = hub.supervisor().addr.clone().recipient();
    hub.shared.store.change_order(ChangeRequest { change, tell })
}

/// Resolves when committed changes are on their way to rooms and sessions.
async fn await_forwarded(hub: &Hub) -> Result<(), Problem> {
    hub.supervisor().addr.send(SupervisorBarrier).await.map_err(|_| super::admin::hub_stopping())
}

pub(in crate::http) fn store_problem(error: StoreError) -> Problem {
    store_failure(&error).into()
}

/// The caller's view of a store's failure. The details are in the log.
fn store_failure(error: &StoreError) -> Failure {
    match error {
        StoreError::Refused(_) => {
            Failure::new(ErrorCode::Internal, "the database refused, the log says why")
        }
        _ => crate::actors::shared::unavailable("the database does not answer"),
    }
}

/// A stored answer is invalid. Only a manual change of the database can cause this.
fn unreadable_answer() -> Problem {
    Failure::new(ErrorCode::Internal, "the answer that was kept cannot be read").into()
}
