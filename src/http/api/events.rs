//! Events of back ends, which nobody stores: to the room of an order, to a user, to many users.

use std::collections::BTreeSet;

use actix_web::web;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::caller::Announcer;
use super::json::Json;
use crate::actors::order_room::Announce;
use crate::actors::shared::unavailable;
use crate::actors::supervisor::{LookUp, TellUsers};
use crate::http::Hub;
use crate::http::admin::stopped;
use crate::http::problem::Problem;
use crate::ids::{OrderId, UserId};
use crate::protocol::back_end::BackEndEvent;
use crate::protocol::error::Failure;

/// The most users of one call.
const MAX_USERS: usize = 1000;

/// An event to send.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EventForm {
    event: String,
    data: Box<RawValue>,
}

/// An event for many users.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UsersEventForm {
    user_ids: Vec<UserId>,
    event: String,
    data: Box<RawValue>,
}

/// Whom an event has reached.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeliveredView {
    /// How many connections it was sent on; 0 where nobody is there.
    delivered: usize,
}

pub(super) async fn to_room(
    _: Announcer,
    hub: web::Data<Hub>,
    order: web::Path<OrderId>,
    Json(form): Json<EventForm>,
) -> Result<web::Json<DeliveredView>, Problem> {
    let event = BackEndEvent::new(form.event, form.data)?;
    let room = hub.supervisor().addr.send(LookUp(order.into_inner())).await;
    let Some(room) = room.map_err(|_| stopped())? else {
        return Ok(web::Json(DeliveredView { delivered: 0 }));
    };
    let permit = room.permit().ok_or_else(|| unavailable("the room is too busy"))?;
    // A room that was forgotten, or ended, between the two questions has nobody in it.
    let delivered = room.addr.send(Announce { event, permit }).await.unwrap_or(0);
    Ok(web::Json(DeliveredView { delivered }))
}

pub(super) async fn to_user(
    _: Announcer,
    hub: web::Data<Hub>,
    user: web::Path<UserId>,
    Json(form): Json<EventForm>,
) -> Result<web::Json<DeliveredView>, Problem> {
    let event = BackEndEvent::new(form.event, form.data)?;
    tell(&hub, BTreeSet::from([user.into_inner()]), event).await
}

pub(super) async fn to_users(
    _: Announcer,
    hub: web::Data<Hub>,
    Json(form): Json<UsersEventForm>,
) -> Result<web::Json<DeliveredView>, Problem> {
    if form.user_ids.len() > MAX_USERS {
        return Err(Failure::invalid("userIds", "are more than 1,000").into());
    }
    let event = BackEndEvent::new(form.event, form.data)?;
    tell(&hub, form.user_ids.into_iter().collect(), event).await
}

async fn tell(
    hub: &Hub,
    users: BTreeSet<UserId>,
    event: BackEndEvent,
) -> Result<web::Json<DeliveredView>, Problem> {
    let supervisor = hub.supervisor();
    let permit = supervisor.permits.take().ok_or_else(|| unavailable("the hub is too busy"))?;
    let told = supervisor.addr.send(TellUsers { users, event, permit }).await;
    Ok(web::Json(DeliveredView { delivered: told.map_err(|_| stopped())? }))
}
