//! Events of the hub, and its replies to events of clients.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::close::CloseCode;
use super::error::{ErrorCode, Failure};
use super::location::Position;
use super::role::Role;
use super::{json, location_json};
use crate::ids::{OrderId, SessionId, UserId};
use crate::time::Timestamp;

/// The version of the protocol, as `connected` tells it.
pub const PROTOCOL_VERSION: u32 = 1;

/// An event of the hub. It borrows its data, because it is encoded at once.
#[derive(Debug, Clone)]
pub enum ServerEvent<'a> {
    /// The first event of a plain connection.
    Connected(Connected<'a>),
    /// The snapshot, if the join asked for no reply.
    Joined(&'a Snapshot<'a>),
    /// The session is no longer in the room.
    Left(Left<'a>),
    /// A position of the driver.
    Location(LocationUpdate<'a>),
    /// A stored message.
    Chat {
        /// The room it belongs to.
        order_id: &'a OrderId,
        /// Its number in the room.
        seq: i64,
        /// The whole message as JSON: the event's data.
        json: &'a RawValue,
    },
    /// A user came in with the first connection.
    PresenceJoined(Presence<'a>),
    /// A user left with the last connection.
    PresenceLeft(Presence<'a>),
    /// The order has another status.
    Status(StatusChange<'a>),
    /// The order has a driver, or another one.
    Assigned(Assignment<'a>),
    /// A user is no longer the order's driver.
    Unassigned(Assignment<'a>),
    /// A device of a user has received chat.
    Delivered(ReceiptUpdate<'a>),
    /// A user has read chat.
    Read(ReceiptUpdate<'a>),
    /// A user has started or stopped typing.
    Typing(TypingUpdate<'a>),
    /// The token ends soon.
    Expiring(Expiring),
    /// The connection ends now.
    SessionEnd(SessionEnd<'a>),
    /// An event was refused that asked for no reply.
    Exception(Exception<'a>),
    /// The reply to `ping`: its data.
    Pong(&'a RawValue),
    /// An event of a back end; see [`super::back_end`].
    BackEnd {
        /// Its name, which needs no escapes in JSON.
        name: &'a str,
        /// An object or an array.
        data: &'a RawValue,
    },
}

/// The data of `connected`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connected<'a> {
    /// The session's id.
    pub session_id: SessionId,
    /// The user that the token names.
    pub user_id: &'a UserId,
    /// The user's role.
    pub role: Role,
    /// When the token ends.
    pub expires_at: Timestamp,
    /// How often the hub pings.
    pub ping_interval_ms: u64,
    /// The largest message it takes.
    pub max_message_bytes: usize,
    /// [`PROTOCOL_VERSION`].
    pub protocol: u32,
}

/// The state of a room when a session joins it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot<'a> {
    /// The id of the order.
    pub order_id: &'a OrderId,
    /// The order's status, null if no back end has set one.
    pub status: Option<&'a str>,
    /// The assigned driver.
    pub driver_id: Option<&'a UserId>,
    /// The number of the newest message; live ones follow with the next number.
    pub last_seq: i64,
    /// How many messages of others the user has not read.
    pub unread: i64,
    /// Whether `messages` is everything since `sinceSeq`.
    pub recovered: bool,
    /// Messages in order of `seq`.
    pub messages: Vec<&'a RawValue>,
    /// Where the driver was last seen.
    pub last_location: Option<LastLocation<'a>>,
    /// The users in the room, each once.
    pub members: Vec<MemberInfo<'a>>,
    /// How far each user has read; users who have read nothing are absent.
    pub read_marks: Vec<ReadMark<'a>>,
}

/// How far a user has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadMark<'a> {
    /// The user.
    pub user_id: &'a UserId,
    /// The highest message that was read.
    pub seq: i64,
}

/// The last position of a room, with its age.
#[derive(Debug, Clone, Serialize)]
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

/// A user in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberInfo<'a> {
    /// The user.
    pub user_id: &'a UserId,
    /// The name in the token.
    pub name: &'a str,
    /// The role in the token.
    pub role: Role,
}

/// The data of `order:left`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Left<'a> {
    /// The id of the order.
    pub order_id: &'a OrderId,
    /// The reason.
    pub reason: LeftReason,
}

/// Why a session is no longer in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LeftReason {
    /// The client asked for it.
    Requested,
    /// The right to be there has ended.
    Removed,
    /// The order is gone.
    Closed,
}

/// The data of `location:updated`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocationUpdate<'a> {
    /// The id of the order.
    pub order_id: &'a OrderId,
    /// Where the driver is.
    #[serde(flatten)]
    pub position: &'a Position,
    /// Charge of the phone; staff only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery: Option<f64>,
}

/// The data of `presence:joined` and `presence:left`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Presence<'a> {
    /// The id of the order.
    pub order_id: &'a OrderId,
    /// The user.
    #[serde(flatten)]
    pub member: MemberInfo<'a>,
}

/// The data of `order:status`.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusChange<'a> {
    /// The id of the order.
    pub order_id: &'a OrderId,
    /// The new status.
    pub status: &'a str,
    /// The status before, null if there was none.
    pub previous_status: Option<&'a str>,
    /// When it changed.
    pub at: Timestamp,
    /// Further data of the back end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<&'a RawValue>,
}

/// The data of `order:assigned` and `order:unassigned`.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment<'a> {
    /// The id of the order.
    pub order_id: &'a OrderId,
    /// The driver who was assigned or unassigned.
    pub driver_id: &'a UserId,
    /// The driver's name, null if the back end gave none.
    pub driver_name: Option<&'a str>,
    /// When it changed.
    pub at: Timestamp,
}

/// The data of `chat:delivered` and `chat:read`.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptUpdate<'a> {
    /// The id of the order.
    pub order_id: &'a OrderId,
    /// The user whose receipt it is.
    pub user_id: &'a UserId,
    /// The last message that it covers.
    pub seq: i64,
    /// When the hub got the receipt.
    pub at: Timestamp,
}

/// The data of `chat:typing`.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TypingUpdate<'a> {
    /// The id of the order.
    pub order_id: &'a OrderId,
    /// The user.
    pub user_id: &'a UserId,
    /// Whether that user is typing.
    pub typing: bool,
}

/// The data of `auth:expiring`.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Expiring {
    /// When the token ends.
    pub expires_at: Timestamp,
    /// How long that is.
    pub in_ms: u64,
}

/// The data of `session:end`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionEnd<'a> {
    /// The close code that follows.
    pub code: u16,
    /// Its reason.
    pub reason: &'a str,
    /// Whether the client should reconnect.
    pub retry: bool,
    /// When the client should reconnect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconnect_after_ms: Option<u64>,
}

/// The data of `exception`, in the form that clients of `NestJS` gateways listen for.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exception<'a> {
    status: &'static str,
    code: ErrorCode,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<ExceptionCause<'a>>,
}

#[derive(Debug, Clone, Serialize)]
struct ExceptionCause<'a> {
    pattern: &'a str,
}

/// The reply to an event that succeeded, beside `ok`.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Reply<'a> {
    /// `order:join`.
    Joined(&'a Snapshot<'a>),
    /// `order:leave`: how many joins remain.
    Left {
        /// Joins of this session that remain.
        remaining: u32,
    },
    /// `driver:location`.
    Accepted {
        /// How many orders took the position.
        accepted: usize,
        /// The orders that refused it.
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        rejected: &'a [RejectedOrder],
    },
    /// `chat:message`.
    Stored {
        /// The message's id.
        id: &'a str,
        /// The message's number in the room.
        seq: i64,
        /// When it was admitted.
        created_at: Timestamp,
        /// Whether it was stored before.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        duplicate: bool,
    },
    /// `chat:history`.
    Page {
        /// Messages in order of `seq`.
        messages: Vec<&'a RawValue>,
        /// Whether there are more in that direction.
        has_more: bool,
    },
    /// `chat:delivered`, `chat:read` and `chat:typing`: nothing beside `ok`.
    Done {},
    /// `auth:refresh`.
    Refreshed {
        /// When the new token ends.
        expires_at: Timestamp,
    },
    /// `ping`: nothing beside `ok`.
    Pong {},
}

/// An order that refused a location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectedOrder {
    /// The id of the order.
    pub order_id: OrderId,
    /// The reason.
    pub code: ErrorCode,
}

// === impl ServerEvent ===

impl<'a> ServerEvent<'a> {
    /// The names of all events, in the order of [`Self::index`]; the last one stands for all events
    /// of back ends.
    pub const NAMES: &'static [&'static str] = &[
        "connected",
        "order:joined",
        "order:left",
        "location:updated",
        "chat:message",
        "presence:joined",
        "presence:left",
        "order:status",
        "order:assigned",
        "order:unassigned",
        "auth:expiring",
        "session:end",
        "exception",
        "pong",
        "back_end",
        "chat:delivered",
        "chat:read",
        "chat:typing",
    ];

    /// Writes the event's data.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Location(update) => location_json::write(update, out),
            other => json::write(other, out),
        }
    }

    /// The event's index in [`Self::NAMES`].
    pub fn index(&self) -> usize {
        match self {
            Self::Connected(_) => 0,
            Self::Joined(_) => 1,
            Self::Left(_) => 2,
            Self::Location(_) => 3,
            Self::Chat { .. } => 4,
            Self::PresenceJoined(_) => 5,
            Self::PresenceLeft(_) => 6,
            Self::Status(_) => 7,
            Self::Assigned(_) => 8,
            Self::Unassigned(_) => 9,
            Self::Expiring(_) => 10,
            Self::SessionEnd(_) => 11,
            Self::Exception(_) => 12,
            Self::Pong(_) => 13,
            Self::BackEnd { .. } => 14,
            Self::Delivered(_) => 15,
            Self::Read(_) => 16,
            Self::Typing(_) => 17,
        }
    }

    /// The number of a chat message in its room; none for other events.
    pub fn chat_seq(&self) -> Option<i64> {
        match self {
            Self::Chat { seq, .. } => Some(*seq),
            _ => None,
        }
    }

    /// The name on the wire.
    pub fn name(&self) -> &'a str {
        match self {
            Self::BackEnd { name, .. } => name,
            event => Self::NAMES[event.index()],
        }
    }
}

/// Writes the event's data, without its name.
impl Serialize for ServerEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Connected(data) => data.serialize(serializer),
            Self::Joined(data) => data.serialize(serializer),
            Self::Left(data) => data.serialize(serializer),
            Self::Location(data) => data.serialize(serializer),
            Self::Chat { json: data, .. } | Self::Pong(data) | Self::BackEnd { data, .. } => {
                data.serialize(serializer)
            }
            Self::PresenceJoined(data) | Self::PresenceLeft(data) => data.serialize(serializer),
            Self::Status(data) => data.serialize(serializer),
            Self::Assigned(data) | Self::Unassigned(data) => data.serialize(serializer),
            Self::Delivered(data) | Self::Read(data) => data.serialize(serializer),
            Self::Typing(data) => data.serialize(serializer),
            Self::Expiring(data) => data.serialize(serializer),
            Self::SessionEnd(data) => data.serialize(serializer),
            Self::Exception(data) => data.serialize(serializer),
        }
    }
}

// === impl Exception ===

impl<'a> Exception<'a> {
    /// The refusal of an event, as an event of its own.
    pub fn new(failure: &'a Failure, event: Option<&'a str>) -> Self {
        Self {
            status: "error",
            code: failure.code,
            message: &failure.message,
            event,
            field: failure.field.as_deref(),
            retry_after_ms: failure.retry_after_ms,
            cause: event.map(|pattern| ExceptionCause { pattern }),
        }
    }
}

// === impl SessionEnd ===

impl SessionEnd<'_> {
    /// What a client gets before it is closed with `close`.
    pub fn new(close: CloseCode, reconnect_after_ms: Option<u64>) -> Self {
        Self { code: close.code, reason: close.reason, retry: close.retry, reconnect_after_ms }
    }
}
