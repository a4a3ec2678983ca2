//! `/admin/v1/rooms`: lists the rooms of the hub, shows one, and removes a user from one.

use std::cmp::Reverse;
use std::time::Duration;

use actix_web::web;
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
use crate::actors::order_room::{Inspect, RemoveUser, RoomActivity, RoomDetail};
use crate::actors::supervisor::{GetRoom, ListRooms};
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
    sort: Option<Sort>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "camelCase")]
enum Sort {
    Users,
    Sessions,
    Locations,
    Chats,
    Activity,
}

/// A page of rooms.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoomList {
    rooms: Vec<RoomActivity>,
    /// The cursor of the next page; null on the last page.
    #[schema(required)]
    next_cursor: Option<OrderId>,
}

/// The answer to a removal.
#[derive(Serialize, ToSchema)]
pub(super) struct Removed {
    removed: bool,
}

/// Lists the rooms of the hub
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
    let wanted = match query.sort {
        Some(_) if query.cursor.is_some() => {
            return Err(Failure::invalid("cursor", "either sort or cursor, not both").into());
        }
        Some(_) => ListRooms { after: None, limit: None },
        // Asks for one more, to know whether there is a next page.
        None => ListRooms { after: query.cursor.clone(), limit: Some(limit + 1) },
    };
    let mut rooms = hub.supervisor().addr.send(wanted).await.map_err(|_| hub_stopping())?;
    if let Some(sort) = query.sort {
        sort.order(&mut rooms);
        rooms.truncate(limit);
        return Ok(web::Json(RoomList { rooms, next_cursor: None }));
    }
    let more = rooms.len() > limit;
    rooms.truncate(limit);
    let next_cursor = rooms.last().filter(|_| more).map(|room| room.order_id.clone());
    Ok(web::Json(RoomList { rooms, next_cursor }))
}

// === impl Sort ===

impl Sort {
    /// Sorts rooms by this, largest first.
    fn order(self, rooms: &mut [RoomActivity]) {
        match self {
            Self::Users => rooms.sort_by_key(|room| Reverse(room.users)),
            Self::Sessions => rooms.sort_by_key(|room| Reverse(room.sessions)),
            Self::Activity => rooms.sort_by_key(|room| Reverse(room.last_activity)),
            Self::Locations => rooms
                .sort_by(|one, two| two.locations_per_second.total_cmp(&one.locations_per_second)),
            Self::Chats => {
                rooms.sort_by(|one, two| two.chats_per_second.total_cmp(&one.chats_per_second));
            }
        }
    }
}

/// Reads a room and its connections
#[utoipa::path(get, path = "/admin/v1/rooms/{order}", tag = "Admin", operation_id = "show_room",
    security(("token" = []), ("apiKey" = ["admin:read"])), params(InOrder),
    responses((status = 200, description = "As of now", body = RoomDetail), BadRequest, NotFound,
        Refused))]
pub(super) async fn show(
    hub: web::Data<Hub>,
    _: May<ReadNode>,
    order: web::Path<PathId<OrderId>>,
) -> Result<web::Json<RoomDetail>, Problem> {
    let room = hub
        .supervisor()
        .addr
        .send(GetRoom(order.into_inner().0))
        .await
        .map_err(|_| hub_stopping())?;
    let room = room.ok_or_else(no_such_room)?;
    match tokio::time::timeout(ROOM_TIMEOUT, room.addr.send(Inspect)).await {
        Ok(Ok(detail)) => Ok(web::Json(detail)),
        // The room was removed since `GetRoom`.
        Ok(Err(_)) => Err(no_such_room()),
        Err(_) => Err(Problem::unavailable("the room is too busy", 1)),
    }
}

fn no_such_room() -> Problem {
    Failure::new(ErrorCode::NotFound, "nobody is in this room").into()
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
        removal.ban(&hub.shared, Some(&order), &user).await?;
        let room = hub.supervisor().addr.send(GetRoom(order.clone())).await;
        if let Some(room) = room.map_err(|_| hub_stopping())? {
            room.addr.do_send(RemoveUser(user.clone()));
        }
        let (admin, user) = (admin.caller.name(), user.as_str());
        log::info!(admin = admin, user = user, order = order.as_str(); "removed from a room");
        Ok(web::Json(Removed { removed: true }))
    })
    .await
}
