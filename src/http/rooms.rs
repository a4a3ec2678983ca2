//! `/admin/v1/rooms`: lists the rooms of the hub, shows one, and removes a user from one.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use futures_util::future::join;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Hub;
use super::admin::{Removal, hub_stopping, run_to_completion};
use super::authorization::{May, ReadNode, RemoveUsers};
use super::body::Body;
use super::openapi::problems::{BadOptionalBody, BadRequest, NotFound, Refused};
use super::openapi::schemas::{InOrder, OfUser};
use super::path_id::PathId;
use super::problem::Problem;
use super::stats::OTHERS_TIMEOUT;
use crate::actors::cluster::{Question, RoomSort};
use crate::actors::order_room::{Inspect, RoomActivity, RoomDetail};
use crate::actors::supervisor::{GetRoom, ListRooms};
use crate::cluster::entry::Done;
use protocol::error::{ErrorCode, Failure};
use protocol::ids::{OrderId, UserId};

/// Rooms on a page by default.
const DEFAULT_LIMIT: usize = 50;
/// The most rooms on a page.
const MAX_LIMIT: usize = 500;
/// How long a busy room may take to describe itself.
const ROOM_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Rooms on a page
    #[param(minimum = 1, maximum = 500, default = 50, nullable = false)]
    limit: Option<usize>,
    /// The last order of the previous page
    #[param(nullable = false)]
    cursor: Option<OrderId>,
    /// The top rooms by this, instead of pages in order of ids; not with `cursor`
    #[param(nullable = false, inline)]
    sort: Option<RoomSort>,
}

/// A page of rooms.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoomList {
    rooms: Vec<RoomActivity>,
    /// The cursor of the next page; null on the last page.
    #[schema(required)]
    next_cursor: Option<OrderId>,
    /// Nodes of the cluster whose rooms are missing, because they did not answer within a second;
    /// absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    partial: Vec<Arc<str>>,
}

/// The answer to a removal.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Removed {
    removed: bool,
    /// Nodes of the cluster that have not said that they are done. They are within two seconds, or
    /// when they reach the database again; absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    pending_nodes: Vec<Arc<str>>,
}

/// Lists the rooms of the hub, those of all its nodes
#[utoipa::path(get, path = "/admin/v1/rooms", tag = "Admin", operation_id = "list_rooms",
    security(("token" = []), ("apiKey" = ["admin:read"])), params(ListQuery),
    responses(
        (status = 200, description = "A page of them", body = RoomList), BadRequest, Refused))]
pub(super) async fn list(
    hub: web::Data<Hub>,
    _: May<ReadNode>,
    query: web::Query<ListQuery>,
) -> Result<web::Json<RoomList>, Problem> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Failure::invalid("limit", "must be 1 to 500").into());
    }
    if query.sort.is_some() && query.cursor.is_some() {
        return Err(Failure::invalid("cursor", "either sort or cursor, not both").into());
    }
    // Asks for one more, to know whether there is a next page.
    let limit_of_nodes = limit + usize::from(query.sort.is_none());
    let wanted = (query.cursor.clone(), limit_of_nodes, query.sort);
    let (mut rooms, partial) = rooms_of_all_nodes(&hub, wanted).await?;
    let more = rooms.len() > limit;
    rooms.truncate(limit);
    let last = rooms.last().filter(|_| more && query.sort.is_none());
    let next_cursor = last.map(|room| room.order_id.clone());
    Ok(web::Json(RoomList { rooms, next_cursor, partial }))
}

/// The rooms of all nodes, one for each order, and the nodes that did not answer. Each node gives its
/// own top ones, so one of an order that has many small rooms may be missing.
async fn rooms_of_all_nodes(
    hub: &Hub,
    (after, limit, sort): (Option<OrderId>, usize, Option<RoomSort>),
) -> Result<(Vec<RoomActivity>, Vec<Arc<str>>), Problem> {
    let peers = &hub.shared.peers;
    let question = peers.question(|| Question::Rooms { after: after.clone(), limit, sort });
    let others = peers.ask::<Vec<RoomActivity>>(question, OTHERS_TIMEOUT);
    let (own, others) = join(own_rooms(hub, after, limit, sort), others).await;
    let own = own?;
    if others.answers.is_empty() {
        return Ok((own, others.silent));
    }
    let mut all = BTreeMap::<OrderId, RoomActivity>::new();
    for room in own.into_iter().chain(others.answers.into_iter().flatten()) {
        match all.entry(room.order_id.clone()) {
            Entry::Occupied(mut known) => known.get_mut().add(&room),
            Entry::Vacant(place) => drop(place.insert(room)),
        }
    }
    let mut rooms: Vec<_> = all.into_values().collect();
    if let Some(sort) = sort {
        order_by(sort, &mut rooms);
    }
    Ok((rooms, others.silent))
}

/// The first rooms of this node by their ids, or the top ones.
///
/// # Errors
/// If the hub stops.
pub async fn own_rooms(
    hub: &Hub,
    after: Option<OrderId>,
    limit: usize,
    sort: Option<RoomSort>,
) -> Result<Vec<RoomActivity>, Problem> {
    let Some(supervisor) = hub.running_supervisor() else { return Ok(Vec::new()) };
    let most = Some(limit).filter(|_| sort.is_none());
    let rooms = supervisor.addr.send(ListRooms { after, limit: most }).await;
    let mut rooms = rooms.map_err(|_| hub_stopping())?;
    if let Some(sort) = sort {
        order_by(sort, &mut rooms);
        rooms.truncate(limit.min(MAX_LIMIT));
    }
    Ok(rooms)
}

/// Sorts rooms by this, largest first.
fn order_by(sort: RoomSort, rooms: &mut [RoomActivity]) {
    match sort {
        RoomSort::Users => rooms.sort_by_key(|room| Reverse(room.users)),
        RoomSort::Sessions => rooms.sort_by_key(|room| Reverse(room.sessions)),
        RoomSort::Activity => rooms.sort_by_key(|room| Reverse(room.last_activity)),
        RoomSort::Locations => {
            rooms.sort_by(|one, two| two.locations_per_second.total_cmp(&one.locations_per_second));
        }
        RoomSort::Chats => {
            rooms.sort_by(|one, two| two.chats_per_second.total_cmp(&one.chats_per_second));
        }
    }
}

/// Reads a room and its connections, on all nodes
#[utoipa::path(get, path = "/admin/v1/rooms/{order}", tag = "Admin", operation_id = "show_room",
    security(("token" = []), ("apiKey" = ["admin:read"])), params(InOrder),
    responses((status = 200, description = "As of now", body = RoomDetail), BadRequest, NotFound,
        Refused))]
pub(super) async fn show(
    hub: web::Data<Hub>,
    _: May<ReadNode>,
    order: web::Path<PathId<OrderId>>,
) -> Result<web::Json<RoomDetail>, Problem> {
    let order = order.into_inner().0;
    let question = hub.shared.peers.question(|| Question::Room(order.clone()));
    let others = hub.shared.peers.ask::<Option<RoomDetail>>(question, OTHERS_TIMEOUT);
    let (own, others) = join(own_room(&hub, order), others).await;
    let mut rooms = own?.into_iter().chain(others.answers.into_iter().flatten());
    let mut room = rooms.next().ok_or_else(no_such_room)?;
    for other in rooms {
        room.add(other);
    }
    Ok(web::Json(room))
}

/// The room of an order on this node, if there is one.
///
/// # Errors
/// If the room is too busy, or the hub stops.
pub async fn own_room(hub: &Hub, order: OrderId) -> Result<Option<RoomDetail>, Problem> {
    let Some(supervisor) = hub.running_supervisor() else { return Ok(None) };
    let room = supervisor.addr.send(GetRoom(order)).await.map_err(|_| hub_stopping())?;
    let Some(room) = room else { return Ok(None) };
    match tokio::time::timeout(ROOM_TIMEOUT, room.addr.send(Inspect)).await {
        // The room may have been removed since `GetRoom`.
        Ok(detail) => Ok(detail.ok()),
        Err(_) => Err(Problem::unavailable("the room is too busy", 1)),
    }
}

fn no_such_room() -> Problem {
    Failure::new(ErrorCode::NotFound, "this room has no members").into()
}

/// Removes a user from a room
///
/// The user may not come back to it for `banSecs`. A body, if there is one, wins over the query.
#[utoipa::path(delete, path = "/admin/v1/rooms/{order}/members/{user}", tag = "Admin",
    operation_id = "remove_from_room", security(("token" = []), ("apiKey" = ["admin:write"])),
    params(InOrder, OfUser, Removal), request_body = Removal,
    responses(
        (status = 200, description = "Is not in it", body = Removed), BadOptionalBody, Refused))]
pub(super) async fn remove(
    hub: web::Data<Hub>,
    admin: May<RemoveUsers>,
    path: web::Path<(PathId<OrderId>, PathId<UserId>)>,
    query: web::Query<Removal>,
    body: Body,
) -> Result<web::Json<Removed>, Problem> {
    let removal = query.into_inner().or_body(&body)?;
    let (PathId(order), PathId(user)) = path.into_inner();
    run_to_completion(async move {
        let Done { pending, .. } = removal.ban(&hub, Some(&order), &user).await?;
        let (admin, user) = (admin.caller.name(), user.as_str());
        log::info!(admin = admin, user = user, order = order.as_str(); "removed from a room");
        Ok(web::Json(Removed { removed: true, pending_nodes: pending }))
    })
    .await
}
