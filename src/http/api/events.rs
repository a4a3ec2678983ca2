//! Events of back ends, which are not stored: to the room of an order, to a user, to many users.

use std::collections::BTreeSet;
use std::time::Duration;

use actix_web::web;
use futures_util::future::join;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::json::Json;
use crate::actors::cluster::Question;
use crate::actors::order_room::Announce;
use crate::actors::shared::unavailable;
use crate::actors::supervisor::{GetRoom, NotifyUsers};
use crate::http::Hub;
use crate::http::admin::hub_stopping;
use crate::http::authorization::{May, SendEvents};
use crate::http::openapi::problems::{BadBody, Refused};
use crate::http::openapi::schemas::{self as docs, InOrder, OfUser};
use crate::http::path_id::PathId;
use crate::http::problem::Problem;
use protocol::back_end::BackEndEvent;
use protocol::error::Failure;
use protocol::ids::{OrderId, UserId};

/// How long other nodes may take to say how many connections they have sent an event on.
const OTHERS_TIMEOUT: Duration = Duration::from_millis(300);
/// The most users of one call.
const MAX_USERS: usize = 1000;

/// An event to send.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EventForm {
    #[schema(value_type = docs::EventName)]
    event: String,
    #[schema(schema_with = docs::data)]
    data: Box<RawValue>,
}

/// An event to send to many users.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UsersEventForm {
    #[schema(value_type = Vec<docs::AnyUserId>, max_items = 1000)]
    user_ids: Vec<UserId>,
    #[schema(value_type = docs::EventName)]
    event: String,
    #[schema(schema_with = docs::data)]
    data: Box<RawValue>,
}

/// How many connections an event has reached.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeliveredView {
    /// How many connections it was sent on; 0 when no one is connected.
    delivered: usize,
}

/// Sends an event to an order's room
///
/// The event is not stored: if no one is in the room, nothing happens.
#[utoipa::path(
    post, path = "/api/v1/orders/{order}/events", tag = "Events", operation_id = "send_to_room",
    security(("token" = []), ("apiKey" = ["events:write"])), params(InOrder),
    request_body = EventForm,
    responses((status = 200, description = "Sent", body = DeliveredView), BadBody, Refused))]
pub(super) async fn to_room(
    _: May<SendEvents>,
    hub: web::Data<Hub>,
    order: web::Path<PathId<OrderId>>,
    Json(form): Json<EventForm>,
) -> Result<web::Json<DeliveredView>, Problem> {
    let order = order.into_inner().0;
    let event = BackEndEvent::new(form.event, form.data)?;
    let question = hub.shared.peers.question(|| Question::Announce {
        order: order.clone(),
        event: event.name().to_owned(),
        data: event.data().to_owned(),
    });
    let others = hub.shared.peers.ask::<usize>(question, OTHERS_TIMEOUT);
    let (own, others) = join(to_own_room(&hub, order, event), others).await;
    Ok(web::Json(DeliveredView { delivered: own? + others.answers.iter().sum::<usize>() }))
}

async fn to_own_room(hub: &Hub, order: OrderId, event: BackEndEvent) -> Result<usize, Problem> {
    let room = hub.supervisor().addr.send(GetRoom(order)).await.map_err(|_| hub_stopping())?;
    let Some(room) = room else { return Ok(0) };
    let permit = room.permit().ok_or_else(|| unavailable("the room is too busy"))?;
    // A room that was removed or ended since `GetRoom` has no members.
    Ok(room.addr.send(Announce { event, permit }).await.unwrap_or(0))
}

/// Sends an event to all connections of a user
#[utoipa::path(
    post, path = "/api/v1/users/{user}/events", tag = "Events", operation_id = "send_to_user",
    security(("token" = []), ("apiKey" = ["events:write"])), params(OfUser),
    request_body = EventForm,
    responses((status = 200, description = "Sent", body = DeliveredView), BadBody, Refused))]
pub(super) async fn to_user(
    _: May<SendEvents>,
    hub: web::Data<Hub>,
    user: web::Path<PathId<UserId>>,
    Json(form): Json<EventForm>,
) -> Result<web::Json<DeliveredView>, Problem> {
    tell(&hub, BTreeSet::from([user.into_inner().0]), form.event, form.data).await
}

/// Sends an event to all connections of up to 1,000 users
#[utoipa::path(post, path = "/api/v1/users:events", tag = "Events", operation_id = "send_to_users",
    security(("token" = []), ("apiKey" = ["events:write"])), request_body = UsersEventForm,
    responses((status = 200, description = "Sent", body = DeliveredView), BadBody, Refused))]
pub(super) async fn to_users(
    _: May<SendEvents>,
    hub: web::Data<Hub>,
    Json(form): Json<UsersEventForm>,
) -> Result<web::Json<DeliveredView>, Problem> {
    if form.user_ids.len() > MAX_USERS {
        return Err(Failure::invalid("userIds", "are more than 1,000").into());
    }
    tell(&hub, form.user_ids.into_iter().collect(), form.event, form.data).await
}

async fn tell(
    hub: &Hub,
    users: BTreeSet<UserId>,
    event: String,
    data: Box<RawValue>,
) -> Result<web::Json<DeliveredView>, Problem> {
    let event = BackEndEvent::new(event, data)?;
    let question = hub.shared.peers.question(|| Question::NotifyUsers {
        users: users.clone(),
        event: event.name().to_owned(),
        data: event.data().to_owned(),
    });
    let supervisor = hub.supervisor();
    let permit = supervisor.permits.take().ok_or_else(|| unavailable("the hub is too busy"))?;
    let others = hub.shared.peers.ask::<usize>(question, OTHERS_TIMEOUT);
    let own = supervisor.addr.send(NotifyUsers { users, event, permit });
    let (own, others) = join(own, others).await;
    let delivered = own.map_err(|_| hub_stopping())? + others.answers.iter().sum::<usize>();
    Ok(web::Json(DeliveredView { delivered }))
}
