//! `/api/v1/orders`: creates, reads, changes, deletes and lists orders.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use utoipa::IntoParams;

use super::caller::{acquire_read, store_for};
use super::forms::{AllowedValues, AssignForm, OrderForm, ParticipantForm, StatusForm};
use super::idempotency::{IdempotentBody, respond};
use super::json::Json;
use super::view::{ChangedView, Deleted, ListView, LiveView, OrderView, members};
use super::{change, store_problem};
use crate::actors::order_room::{Inspect, RoomDetail};
use crate::actors::store::{
    AppliedChange, CallerClass, ChangeNote, CommittedChange, Idempotent, IdempotentCall,
    OrderFilter, StoredAnswer, StoredOrder,
};
use crate::actors::supervisor::GetRoom;
use crate::auth::{Principal, Scope};
use crate::http::Hub;
use crate::http::admin::{hub_stopping, run_to_completion};
use crate::http::authorization::{May, Reach, ReadOrders, WriteOrders};
use crate::http::openapi::problems::{
    BadBody, BadRequest, Conflict, KeyReused, NotFound, RateLimited, Refused,
};
use crate::http::openapi::schemas::{InOrder, OfUser, OnceKey, Status};
use crate::http::path_id::PathId;
use crate::http::problem::Problem;
use crate::room::change::{OrderCommand, OrderPatch, ParticipantsEdit};
use crate::room::order::OrderFacts;
use crate::room::policy::Action;
use crate::room::visibility::Visibility;
use protocol::error::{ErrorCode, Failure};
use protocol::ids::{OrderId, UserId};
use protocol::json;
use protocol::order::is_status;

/// Orders on a page by default.
const DEFAULT_LIMIT: usize = 50;
/// The most orders on a page.
const MAX_LIMIT: usize = 100;
/// How long a busy room may take to list its members.
const ROOM_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Orders with this status
    #[param(nullable = false, value_type = Option<Status>, inline)]
    status: Option<String>,
    /// Orders with this driver
    #[param(nullable = false)]
    driver: Option<UserId>,
    /// Orders with this participant
    #[param(nullable = false)]
    participant: Option<UserId>,
    /// Orders on a page
    #[param(nullable = false, minimum = 1, maximum = 100, default = 50)]
    limit: Option<usize>,
    /// The `nextCursor` of the previous page
    #[param(nullable = false)]
    cursor: Option<String>,
}

/// The statuses and roles that this hub allows.
pub(super) fn allowed_values(hub: &Hub) -> AllowedValues<'_> {
    let config = &hub.shared.config;
    AllowedValues { statuses: config.rooms.order_statuses.as_ref(), roles: &config.auth.role_map }
}

/// The status, if orders of this hub may have it.
pub(in crate::http) fn checked_status(hub: &Hub, status: String) -> Result<String, Failure> {
    allowed_values(hub).status(status)
}

/// The order as it is now, or the answer of the first such call.
fn answer(change: &CommittedChange) -> Result<HttpResponse, Problem> {
    respond(change.changed.answer.clone().unwrap_or_else(|| answer_to(&change.changed)))
}

fn answer_to(changed: &AppliedChange) -> StoredAnswer {
    let status = if changed.created { StatusCode::CREATED } else { StatusCode::OK };
    let order = OrderView::from(&changed.order);
    let mut body = Vec::new();
    json::write(&ChangedView { order, changed: changed.raised }, &mut body);
    let body = String::from_utf8(body).unwrap_or_default();
    StoredAnswer { status: status.as_u16(), body }
}

/// Makes a call with a key idempotent.
fn idempotent(call: Option<IdempotentCall>) -> Option<Idempotent<AppliedChange>> {
    call.map(|call| Idempotent { call, answer: Arc::new(answer_to) })
}

/// Creates an order, or merges into it
///
/// Absent fields stay unchanged. Repeating the call changes nothing, and no event is sent.
#[utoipa::path(put, path = "/api/v1/orders/{order}", tag = "Orders", operation_id = "put_order",
    security(("token" = []), ("apiKey" = ["orders:write"])), params(InOrder),
    request_body = OrderForm,
    responses((status = 200, description = "As it is now", body = ChangedView),
        (status = 201, description = "Made", body = ChangedView), BadBody, Conflict, Refused))]
pub(super) async fn put(
    _: May<WriteOrders>,
    hub: web::Data<Hub>,
    order: web::Path<PathId<OrderId>>,
    Json(mut form): Json<OrderForm>,
) -> Result<HttpResponse, Problem> {
    let PathId(order) = order.into_inner();
    if form.take_order().is_some_and(|named| named != order) {
        return Err(Failure::invalid("orderId", "is another order than the path names").into());
    }
    let command = OrderCommand::Patch(form.patch(allowed_values(&hub))?);
    answer(&*change(&hub, order, command, ChangeNote::default(), None).await?)
}

/// Sets an order's status
///
/// The room gets `order:status`. So do participants who are not in the room.
#[utoipa::path(post, path = "/api/v1/orders/{order}/status", tag = "Orders",
    security(("token" = []), ("apiKey" = ["orders:write"])), params(InOrder, OnceKey),
    request_body = StatusForm,
    responses((status = 200, description = "As it is now", body = ChangedView), BadBody, NotFound,
        Conflict, KeyReused, Refused))]
pub(super) async fn set_status(
    _: May<WriteOrders>,
    hub: web::Data<Hub>,
    order: web::Path<PathId<OrderId>>,
    IdempotentBody { body: Json(form), call }: IdempotentBody<Json<StatusForm>>,
) -> Result<HttpResponse, Problem> {
    let (patch, note) = form.patch(allowed_values(&hub))?;
    answer(
        &*change(&hub, order.into_inner().0, OrderCommand::Patch(patch), note, idempotent(call))
            .await?,
    )
}

/// Assigns a driver to an order, or removes the driver
///
/// The room gets `order:assigned` or `order:unassigned`. Both drivers get it on all their
/// connections.
#[utoipa::path(post, path = "/api/v1/orders/{order}/assign", tag = "Orders",
    security(("token" = []), ("apiKey" = ["orders:write"])), params(InOrder, OnceKey),
    request_body = AssignForm,
    responses((status = 200, description = "As it is now", body = ChangedView), BadBody, NotFound,
        Conflict, KeyReused, Refused))]
pub(super) async fn assign(
    _: May<WriteOrders>,
    hub: web::Data<Hub>,
    order: web::Path<PathId<OrderId>>,
    IdempotentBody { body: Json(form), call }: IdempotentBody<Json<AssignForm>>,
) -> Result<HttpResponse, Problem> {
    let (patch, note) = form.patch()?;
    answer(
        &*change(&hub, order.into_inner().0, OrderCommand::Patch(patch), note, idempotent(call))
            .await?,
    )
}

/// Adds a participant, or changes a participant's role
#[utoipa::path(put, path = "/api/v1/orders/{order}/participants/{user}", tag = "Orders",
    security(("token" = []), ("apiKey" = ["orders:write"])), params(InOrder, OfUser),
    request_body = ParticipantForm,
    responses((status = 200, description = "As it is now", body = ChangedView), BadBody, NotFound,
        Conflict, Refused))]
pub(super) async fn put_participant(
    _: May<WriteOrders>,
    hub: web::Data<Hub>,
    path: web::Path<(PathId<OrderId>, PathId<UserId>)>,
    Json(form): Json<ParticipantForm>,
) -> Result<HttpResponse, Problem> {
    let (PathId(order), PathId(user)) = path.into_inner();
    let command = OrderCommand::Patch(form.patch(user, allowed_values(&hub))?);
    answer(&*change(&hub, order, command, ChangeNote::default(), None).await?)
}

/// Removes a user from an order
///
/// The user stays out, even with a token that names the order, until the user is added again.
/// Joined connections get `order:left`.
#[utoipa::path(delete, path = "/api/v1/orders/{order}/participants/{user}", tag = "Orders",
    security(("token" = []), ("apiKey" = ["orders:write"])), params(InOrder, OfUser),
    responses(
        (status = 200, description = "As it is now", body = ChangedView), BadRequest, NotFound,
        Refused))]
pub(super) async fn remove_participant(
    _: May<WriteOrders>,
    hub: web::Data<Hub>,
    path: web::Path<(PathId<OrderId>, PathId<UserId>)>,
) -> Result<HttpResponse, Problem> {
    let (PathId(order), PathId(user)) = path.into_inner();
    let participants = Some(ParticipantsEdit::Remove(user));
    let command = OrderCommand::Patch(OrderPatch { participants, ..OrderPatch::default() });
    answer(&*change(&hub, order, command, ChangeNote::default(), None).await?)
}

/// Deletes an order with its chat and positions
///
/// The members of its room get `order:left`.
#[utoipa::path(
    delete, path = "/api/v1/orders/{order}", tag = "Orders", operation_id = "delete_order",
    security(("token" = []), ("apiKey" = ["orders:write"])), params(InOrder),
    responses(
        (status = 200, description = "It is gone", body = Deleted), BadRequest, NotFound, Refused))]
pub(super) async fn delete(
    _: May<WriteOrders>,
    hub: web::Data<Hub>,
    order: web::Path<PathId<OrderId>>,
) -> Result<HttpResponse, Problem> {
    let PathId(order) = order.into_inner();
    change(&hub, order.clone(), OrderCommand::Delete, ChangeNote::default(), None).await?;
    let shared = Arc::clone(&hub.shared);
    run_to_completion(async move { shared.store.purge(order).await.map_err(store_problem) })
        .await?;
    Ok(HttpResponse::Ok().json(Deleted { deleted: true }))
}

/// Lists orders that match all filters, by id
#[utoipa::path(get, path = "/api/v1/orders", tag = "Orders", operation_id = "list_orders",
    security(("token" = []), ("apiKey" = ["orders:read"])), params(ListQuery),
    responses(
        (status = 200, description = "A page of them", body = ListView), BadRequest, Refused))]
pub(super) async fn list(
    _: May<ReadOrders>,
    hub: web::Data<Hub>,
    query: web::Query<ListQuery>,
) -> Result<HttpResponse, Problem> {
    let ListQuery { status, driver, participant, limit, cursor } = query.into_inner();
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Failure::invalid("limit", "must be 1 to 100").into());
    }
    if status.as_ref().is_some_and(|status| !is_status(status)) {
        return Err(Failure::invalid("status", "must be 1 to 40 of A-Z, 0-9 and _").into());
    }
    let after = cursor.as_deref().map(read_cursor).transpose()?;
    let filter = OrderFilter { status, driver, participant };
    // Asks for one more, to know whether there is a next page.
    let asked = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let store = hub.shared.store.on_behalf_of(CallerClass::BackEnd);
    let mut orders = store.list_orders(filter, after, asked).await.map_err(store_problem)?;
    let more = orders.len() > limit;
    orders.truncate(limit);
    let next_cursor =
        orders.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(last.id.as_str()));
    let orders = orders.iter().map(OrderView::from).collect();
    Ok(HttpResponse::Ok().json(ListView { orders, next_cursor }))
}

fn read_cursor(cursor: &str) -> Result<OrderId, Failure> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let id = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    id.and_then(|id| OrderId::new(&id).ok())
        .ok_or_else(|| Failure::invalid("cursor", "must be the nextCursor of a page"))
}

/// Reads an order, its driver's position, and who is in its room
///
/// Users who may join the order can use this too, with the same token as for the socket.
#[utoipa::path(get, path = "/api/v1/orders/{order}", tag = "Orders", operation_id = "show_order",
    security(("token" = []), ("apiKey" = ["orders:read"])), params(InOrder),
    responses(
        (status = 200, description = "As of now", body = LiveView), BadRequest, NotFound,
        RateLimited, Refused))]
pub(super) async fn show(
    hub: web::Data<Hub>,
    caller: Principal,
    order: web::Path<PathId<OrderId>>,
) -> Result<HttpResponse, Problem> {
    let PathId(order) = order.into_inner();
    let reach = caller.reach(Scope::OrdersRead)?;
    let _turn = acquire_read(&hub, &reach).await?;
    let store = store_for(&hub, &reach);
    let stored = store.order(order.clone()).await.map_err(store_problem)?;
    let unknown = OrderFacts::default();
    let facts = stored.as_ref().map_or(&unknown, |stored| &stored.facts);
    let visibility = visible_positions(&hub, &reach, &order, facts)?;
    let Some(stored) = stored else {
        return Err(Failure::new(ErrorCode::NotFound, "no such order").into());
    };
    let room = room_detail(&hub, order).await?;
    Ok(HttpResponse::Ok().json(live_view(&stored, room.as_ref(), visibility)))
}

/// Which positions of its driver the caller sees, if the caller may read the order.
fn visible_positions(
    hub: &Hub,
    reach: &Reach<'_>,
    order: &OrderId,
    facts: &OrderFacts,
) -> Result<Visibility, Failure> {
    let Reach::OrdersOf(user) = reach else {
        return Ok(Visibility::of_back_end(&hub.shared.rules, facts));
    };
    let rights = hub.shared.rights_of(user, order, facts);
    rights.to(Action::SeeMembers)?;
    Ok(rights.visible_positions().unwrap_or(Visibility::NONE))
}

/// The state of an order's room, if there is one.
async fn room_detail(hub: &Hub, order: OrderId) -> Result<Option<RoomDetail>, Problem> {
    let room = hub.supervisor().addr.send(GetRoom(order)).await.map_err(|_| hub_stopping())?;
    let Some(room) = room else { return Ok(None) };
    match tokio::time::timeout(ROOM_TIMEOUT, room.addr.send(Inspect)).await {
        // A room that was removed since `GetRoom` has no members.
        Ok(detail) => Ok(detail.ok()),
        Err(_) => Err(Problem::unavailable("the room is too busy", 1)),
    }
}

fn live_view<'a>(
    stored: &'a StoredOrder,
    room: Option<&'a RoomDetail>,
    visibility: Visibility,
) -> LiveView<'a> {
    // The room's position is newer. A room that has just started may not have it yet.
    let last_location = room.and_then(|room| room.last_location.as_ref());
    let last_location = last_location.or(stored.last_position.as_ref());
    LiveView {
        order: stored.into(),
        last_location: last_location.filter(|last| visibility.shows_position(last)),
        members: room.map(members).unwrap_or_default(),
    }
}
