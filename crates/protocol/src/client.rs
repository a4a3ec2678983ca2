//! Events of clients: each with its data, which is read and checked once, on arrival.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use super::chat::{ChatKind, check_client_msg_id, check_content};
use super::error::Failure;
use super::{json, lenient, location_json};
use crate::ids::OrderId;
use crate::json_number::{self, MAX_SAFE_INTEGER};
use crate::time::Timestamp;

/// The most messages of a snapshot or page.
pub const MAX_PAGE: i64 = 200;
/// The messages of a snapshot or page that names no limit.
pub const DEFAULT_PAGE: i64 = 50;
/// The most orders of one `driver:location`.
pub const MAX_TARGETS: usize = 20;

/// An event of a client.
#[derive(Debug, Clone)]
pub enum ClientEvent {
    /// `order:join`: enter a room.
    Join(Join),
    /// `order:leave`: undo one join, or all.
    Leave(Leave),
    /// `driver:location`: where the driver is.
    Location(Location),
    /// `chat:message`: post a message.
    Chat(Chat),
    /// `chat:history`: read earlier messages.
    History(History),
    /// `chat:delivered` and `chat:read`: a message was delivered or read.
    Receipt(ReceiptKind, Receipt),
    /// `chat:typing`: the user is writing something.
    Typing(Typing),
    /// `auth:refresh`: continue with a new token.
    Refresh(Refresh),
    /// `ping`: any data, which comes back as `pong`.
    Ping(Box<RawValue>),
}

/// The name of an event of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientEventName {
    /// `order:join`
    Join,
    /// `order:leave`
    Leave,
    /// `driver:location`
    Location,
    /// `chat:message`
    Chat,
    /// `chat:history`
    History,
    /// `chat:delivered`
    Delivered,
    /// `chat:read`
    Read,
    /// `chat:typing`
    Typing,
    /// `auth:refresh`
    Refresh,
    /// `ping`
    Ping,
}

/// The data of `order:join`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Join {
    /// The id of the order.
    pub order_id: OrderId,
    /// The last message that the client has.
    #[serde(default, deserialize_with = "seq")]
    pub since_seq: Option<i64>,
    /// How many messages at most, 0 to 200.
    #[serde(default = "default_page", deserialize_with = "limit")]
    pub limit: i64,
}

/// The data of `order:leave`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leave {
    /// The id of the order.
    pub order_id: OrderId,
    /// Undo every join of this session, instead of one.
    #[serde(default, deserialize_with = "null_is_default")]
    pub all: bool,
}

/// The data of `driver:location`.
#[derive(Debug, Clone, PartialEq)]
pub struct Location {
    /// The orders that the position is for.
    pub target: Target,
    /// Where the driver is.
    pub fix: Fix,
}

/// The rooms that a location is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One order.
    One(OrderId),
    /// Several orders, without repetition.
    Many(Vec<OrderId>),
    /// Every open order of the driver.
    All,
}

/// A position as the phone reports it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fix {
    /// Latitude in degrees, -90 to 90.
    pub lat: f64,
    /// Longitude in degrees, -180 to 180.
    pub lng: f64,
    /// Radius in metres.
    pub accuracy: Option<f64>,
    /// Degrees from north, clockwise, 0 to 360.
    pub heading: Option<f64>,
    /// Metres per second.
    pub speed: Option<f64>,
    /// Metres.
    pub altitude: Option<f64>,
    /// Charge of the phone, 0 to 1.
    pub battery: Option<f64>,
    /// When the phone took it.
    pub recorded_at: Option<Timestamp>,
}

/// The data of `chat:message`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chat {
    /// The id of the order.
    pub order_id: OrderId,
    /// The text, 1 to 4,000 characters, or where an image is.
    pub content: String,
    /// The kind of content; `SYSTEM` is for back ends.
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    pub kind: ChatKind,
    /// The client's own key, 1 to 64 characters, by which a retry is recognised.
    #[serde(default, deserialize_with = "json_number::optional_text")]
    pub client_msg_id: Option<String>,
}

/// The data of `chat:history`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// The id of the order.
    pub order_id: OrderId,
    /// A page that ends before this message.
    #[serde(default, deserialize_with = "seq")]
    pub before_seq: Option<i64>,
    /// A page that begins after this message; 0 is the beginning.
    #[serde(default, deserialize_with = "seq")]
    pub after_seq: Option<i64>,
    /// How many messages at most, 1 to 200.
    #[serde(default = "default_page", deserialize_with = "limit")]
    pub limit: i64,
}

/// The kind of receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptKind {
    /// A device of the user has the messages.
    Delivered,
    /// The user has read the messages.
    Read,
}

/// The data of `chat:delivered` and `chat:read`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The id of the order.
    pub order_id: OrderId,
    /// The last message that it covers; 0 is none.
    #[serde(deserialize_with = "required_seq")]
    pub seq: i64,
}

/// The data of `chat:typing`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Typing {
    /// The id of the order.
    pub order_id: OrderId,
    /// Whether the user is typing.
    pub typing: bool,
}

/// The data of `auth:refresh`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Refresh {
    /// A token of the same user.
    pub token: String,
}

// === impl ClientEventName ===

impl ClientEventName {
    /// The names of all events, in the order of their discriminants.
    pub const NAMES: &[&str] = &[
        "order:join",
        "order:leave",
        "driver:location",
        "chat:message",
        "chat:history",
        "chat:delivered",
        "chat:read",
        "chat:typing",
        "auth:refresh",
        "ping",
    ];

    /// The event of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "driver:location" => Self::Location,
            "chat:message" => Self::Chat,
            "order:join" => Self::Join,
            "order:leave" => Self::Leave,
            "chat:history" => Self::History,
            "chat:delivered" => Self::Delivered,
            "chat:read" => Self::Read,
            "chat:typing" => Self::Typing,
            "auth:refresh" => Self::Refresh,
            "ping" => Self::Ping,
            _ => return None,
        })
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

// === impl ClientEvent ===

impl ClientEvent {
    /// Reads the data of an event. Unknown fields are ignored, because apps may be newer than the
    /// hub.
    ///
    /// # Errors
    /// `invalid_payload` with the field that is missing, mistyped, duplicated or out of range.
    pub fn read(name: ClientEventName, data: Option<&RawValue>) -> Result<Self, Failure> {
        Ok(match name {
            ClientEventName::Location => {
                let text = data.map_or("", RawValue::get);
                let general = || location(lenient::object(text, "data")?);
                Self::Location(location_json::read_data(text).map_or_else(general, Ok)?)
            }
            ClientEventName::Join => Self::Join(object(data)?),
            ClientEventName::Leave => Self::Leave(object(data)?),
            ClientEventName::Chat => Self::Chat(checked_chat(object(data)?)?),
            ClientEventName::History => Self::History(checked_history(object(data)?)?),
            ClientEventName::Delivered => Self::Receipt(ReceiptKind::Delivered, object(data)?),
            ClientEventName::Read => Self::Receipt(ReceiptKind::Read, object(data)?),
            ClientEventName::Typing => Self::Typing(object(data)?),
            ClientEventName::Refresh => Self::Refresh(object(data)?),
            ClientEventName::Ping => Self::Ping(data.map_or_else(null, ToOwned::to_owned)),
        })
    }

    /// The event's name.
    pub fn name(&self) -> ClientEventName {
        match self {
            Self::Join(_) => ClientEventName::Join,
            Self::Leave(_) => ClientEventName::Leave,
            Self::Location(_) => ClientEventName::Location,
            Self::Chat(_) => ClientEventName::Chat,
            Self::History(_) => ClientEventName::History,
            Self::Receipt(ReceiptKind::Delivered, _) => ClientEventName::Delivered,
            Self::Receipt(ReceiptKind::Read, _) => ClientEventName::Read,
            Self::Typing(_) => ClientEventName::Typing,
            Self::Refresh(_) => ClientEventName::Refresh,
            Self::Ping(_) => ClientEventName::Ping,
        }
    }
}

impl std::fmt::Debug for Refresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Refresh { token: \"…\" }")
    }
}

fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

/// A location before it is checked.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawLocation {
    #[serde(default)]
    pub(super) order_id: Option<OrderId>,
    #[serde(default)]
    pub(super) order_ids: Option<Vec<OrderId>>,
    pub(super) lat: f64,
    pub(super) lng: f64,
    #[serde(default, deserialize_with = "lenient::number")]
    pub(super) accuracy: Option<f64>,
    #[serde(default, deserialize_with = "lenient::number")]
    pub(super) heading: Option<f64>,
    #[serde(default, deserialize_with = "lenient::number")]
    pub(super) speed: Option<f64>,
    #[serde(default, deserialize_with = "lenient::number")]
    pub(super) altitude: Option<f64>,
    #[serde(default, deserialize_with = "lenient::number")]
    pub(super) battery: Option<f64>,
    #[serde(default, deserialize_with = "lenient::time")]
    pub(super) recorded_at: Option<Timestamp>,
}

/// Checks a location. Invalid fields other than the coordinates and the orders are left out: they
/// are no reason to lose a position.
pub(super) fn location(raw: RawLocation) -> Result<Location, Failure> {
    if !(-90.0..=90.0).contains(&raw.lat) {
        return Err(Failure::invalid("lat", "must be -90 to 90 degrees"));
    }
    if !(-180.0..=180.0).contains(&raw.lng) {
        return Err(Failure::invalid("lng", "must be -180 to 180 degrees"));
    }
    // Phones report an unknown value as a negative number.
    let known = |value: Option<f64>, most: f64| value.filter(|value| (0.0..=most).contains(value));
    let accuracy = known(raw.accuracy, f64::MAX);
    // Receivers without a fix report zeros.
    if raw.lat == 0.0 && raw.lng == 0.0 && accuracy.is_none_or(|metres| metres == 0.0) {
        return Err(Failure::invalid("lat", "0, 0 without an accuracy is no position"));
    }
    let fix = Fix {
        lat: raw.lat,
        lng: raw.lng,
        accuracy,
        heading: known(raw.heading, 360.0),
        speed: known(raw.speed, f64::MAX),
        altitude: raw.altitude.filter(|metres| metres.is_finite()),
        battery: known(raw.battery, 1.0),
        recorded_at: raw.recorded_at,
    };
    Ok(Location { target: target(raw.order_id, raw.order_ids)?, fix })
}

fn target(one: Option<OrderId>, many: Option<Vec<OrderId>>) -> Result<Target, Failure> {
    match (one, many) {
        (None, None) => Ok(Target::All),
        (Some(order), None) => Ok(Target::One(order)),
        (Some(_), Some(_)) => {
            Err(Failure::invalid("orderIds", "either orderId or orderIds, not both"))
        }
        (None, Some(orders)) if orders.is_empty() || orders.len() > MAX_TARGETS => {
            Err(Failure::invalid("orderIds", "must be 1 to 20 orders"))
        }
        (None, Some(mut orders)) => {
            orders.sort_unstable();
            orders.dedup();
            Ok(Target::Many(orders))
        }
    }
}

fn checked_chat(chat: Chat) -> Result<Chat, Failure> {
    if chat.kind == ChatKind::System {
        return Err(Failure::invalid("type", "must be TEXT or IMAGE"));
    }
    check_content(chat.kind, &chat.content)?;
    check_client_msg_id(chat.client_msg_id.as_deref())?;
    Ok(chat)
}

/// A message number that may have any value.
///
/// # Errors
/// `invalid_payload` if it is beyond [`MAX_SAFE_INTEGER`].
pub fn checked_seq(seq: u64, field: &'static str) -> Result<i64, Failure> {
    let exact = Some(seq).filter(|seq| *seq <= MAX_SAFE_INTEGER);
    exact
        .and_then(|seq| i64::try_from(seq).ok())
        .ok_or_else(|| Failure::invalid(field, "must be 0 to 2^53 - 1"))
}

/// Checks that such a page may be requested.
///
/// # Errors
/// `invalid_payload` if both cursors are given, or `limit` is out of range.
pub fn checked_history(history: History) -> Result<History, Failure> {
    if history.before_seq.is_some() && history.after_seq.is_some() {
        return Err(Failure::invalid("afterSeq", "either beforeSeq or afterSeq, not both"));
    }
    if !(1..=MAX_PAGE).contains(&history.limit) {
        return Err(Failure::invalid("limit", "must be 1 to 200"));
    }
    Ok(history)
}

fn object<'de, T: Deserialize<'de>>(data: Option<&'de RawValue>) -> Result<T, Failure> {
    json::read_object(data.map_or("", RawValue::get), "data")
}

fn default_page() -> i64 {
    DEFAULT_PAGE
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn seq<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    bounded(deserializer, MAX_SAFE_INTEGER, "a seq, 0 to 2^53 - 1")
}

fn required_seq<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    seq(deserializer)?
        .ok_or_else(|| de::Error::invalid_type(de::Unexpected::Unit, &"a seq, 0 to 2^53 - 1"))
}

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    bounded(deserializer, MAX_PAGE.unsigned_abs(), "a limit, 0 to 200")
        .map(|limit| limit.unwrap_or(DEFAULT_PAGE))
}

fn bounded<'de, D: Deserializer<'de>>(
    deserializer: D,
    most: u64,
    expected: &'static str,
) -> Result<Option<i64>, D::Error> {
    match json_number::optional(deserializer)? {
        Some(number) if number > most => {
            Err(de::Error::invalid_value(de::Unexpected::Unsigned(number), &expected))
        }
        number => Ok(number.and_then(|number| i64::try_from(number).ok())),
    }
}

/// The name for the `event` field of a refusal: the client's own name for it, cut to a bounded
/// length.
pub fn echoed_name(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(64) {
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
        None => Cow::Borrowed(name),
    }
}
