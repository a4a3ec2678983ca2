//! Orders in the form that callers see.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::actors::order_room::RoomDetail;
use crate::actors::store::StoredOrder;
use protocol::ids::{OrderId, UserId};
use protocol::location::Position;
use protocol::role::Role;
use protocol::time::Timestamp;

/// An order.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderView<'a> {
    order_id: &'a OrderId,
    #[schema(required)]
    status: Option<&'a str>,
    #[schema(required)]
    driver_id: Option<&'a UserId>,
    #[schema(required)]
    driver_name: Option<&'a str>,
    participants: Vec<ParticipantView<'a>>,
    /// Your own version number of the order.
    #[schema(required)]
    version: Option<i64>,
    /// Counts the changes of the order.
    rev: i64,
    /// The number of the newest message.
    last_seq: i64,
    /// When its status became a final one.
    #[schema(required)]
    ended_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A participant of an order.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ParticipantView<'a> {
    user_id: &'a UserId,
    role: Role,
    #[schema(required)]
    name: Option<&'a str>,
}

/// An order after a call that may have changed it.
#[derive(Serialize, ToSchema)]
pub(super) struct ChangedView<'a> {
    #[serde(flatten)]
    pub(super) order: OrderView<'a>,
    /// Whether the call changed the order.
    pub(super) changed: bool,
}

/// An order with the state of its room.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LiveView<'a> {
    #[serde(flatten)]
    pub(super) order: OrderView<'a>,
    /// The driver's last position; null if the caller may not see it.
    #[schema(required)]
    pub(super) last_location: Option<&'a Position>,
    /// The users in the room, one entry per user.
    pub(super) members: Vec<MemberView<'a>>,
}

/// A user in a room.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MemberView<'a> {
    user_id: &'a UserId,
    name: &'a str,
    role: Role,
}

/// A page of orders.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListView<'a> {
    pub(super) orders: Vec<OrderView<'a>>,
    /// The cursor of the next page; null on the last page.
    #[schema(required)]
    pub(super) next_cursor: Option<String>,
}

impl<'a> From<&'a StoredOrder> for OrderView<'a> {
    fn from(order: &'a StoredOrder) -> Self {
        let facts = &order.facts;
        let participant = |(user_id, standing): (&'a UserId, &'a _)| {
            let crate::room::order::ParticipantState { role, name, .. } = standing;
            ParticipantView { user_id, role: *role, name: name.as_deref() }
        };
        Self {
            order_id: &order.id,
            status: facts.status.as_deref(),
            driver_id: facts.driver_id.as_ref(),
            driver_name: facts.driver_name.as_deref(),
            participants: facts.participants.present().map(participant).collect(),
            version: order.version,
            rev: order.rev,
            last_seq: order.last_seq,
            ended_at: facts.ended_at,
            created_at: order.created_at,
            updated_at: order.updated_at,
        }
    }
}

/// The answer to a deletion.
#[derive(Serialize, ToSchema)]
pub(super) struct Deleted {
    pub(super) deleted: bool,
}

/// The users in a room, one entry each, however many connections they have.
pub(super) fn members(room: &RoomDetail) -> Vec<MemberView<'_>> {
    let sessions = room.sessions_detail.iter().filter(|session| session.member);
    let users: BTreeMap<_, _> = sessions
        .map(|session| {
            let (user_id, name, role) = (&session.user_id, session.name.as_str(), session.role);
            (user_id, MemberView { user_id, name, role })
        })
        .collect();
    users.into_values().collect()
}
