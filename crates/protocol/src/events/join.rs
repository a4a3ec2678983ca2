//! `order:join`: a session enters a room and gets its snapshot, as the reply or as `order:joined`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fields::{default_page, limit, seq};
use super::presence::MemberInfo;
use super::receipt::ReadMark;
use super::{ClientData, HubData, object};
use crate::error::Failure;
use crate::ids::{OrderId, UserId};
use crate::location::Position;

/// The data of `order:join`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Join {
    /// The id of the order.
    pub order_id: OrderId,
    /// The last message that the client has.
    #[serde(default, deserialize_with = "seq")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub since_seq: Option<i64>,
    /// How many messages at most, 0 to 200.
    #[serde(default = "default_page", deserialize_with = "limit")]
    pub limit: i64,
}

/// The state of a room when a session joins it.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Snapshot<'a> {
    /// The id of the order.
    pub order_id: &'a OrderId,
    /// The order's status, null if no back end has set one.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub status: Option<&'a str>,
    /// The assigned driver.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub driver_id: Option<&'a UserId>,
    /// The number of the newest message; live ones follow with the next number.
    pub last_seq: i64,
    /// How many messages of others the user has not read.
    pub unread: i64,
    /// Whether `messages` is everything since `sinceSeq`.
    pub recovered: bool,
    /// Messages in order of `seq`.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<crate::chat::ChatMessage>))]
    pub messages: Vec<&'a RawValue>,
    /// Where the driver was last seen.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub last_location: Option<LastLocation<'a>>,
    /// The users in the room, each once.
    pub members: Vec<MemberInfo<'a>>,
    /// How far each user has read; users who have read nothing are absent.
    pub read_marks: Vec<ReadMark<'a>>,
}

/// The last position of a room, with its age.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct LastLocation<'a> {
    /// The position.
    #[serde(flatten)]
    pub position: &'a Position,
    /// How long ago the hub took it.
    pub age_ms: u64,
    /// Whether it is too old to be shown as live.
    pub stale: bool,
}

impl ClientData for Join {
    fn read(data: Option<&RawValue>) -> Result<Self, Failure> {
        object(data)
    }

    fn order(&self) -> Option<&OrderId> {
        Some(&self.order_id)
    }
}

impl HubData for &Snapshot<'_> {}
