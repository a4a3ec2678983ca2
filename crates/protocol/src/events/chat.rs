//! `chat:message`: a client posts a message; the hub sends it to the members.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::fields::null_is_default;
use super::{ClientData, HubData, object};
use crate::chat::{ChatKind, check_client_msg_id, check_content};
use crate::error::Failure;
use crate::ids::OrderId;
use crate::json_number;
use crate::time::Timestamp;

/// The data of `chat:message`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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

/// The reply to `chat:message`.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Stored<'a> {
    /// The message's id.
    pub id: &'a str,
    /// The message's number in the room.
    pub seq: i64,
    /// When it was admitted.
    pub created_at: Timestamp,
    /// Whether it was stored before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

/// A stored message, on its way to the members.
#[derive(Debug, Clone, Copy)]
pub struct ChatPush<'a> {
    /// The room it belongs to.
    pub order_id: &'a OrderId,
    /// Its number in the room.
    pub seq: i64,
    /// The whole [`ChatMessage`](crate::chat::ChatMessage) as JSON: the event's data.
    pub json: &'a RawValue,
}

impl ClientData for Chat {
    fn read(data: Option<&RawValue>) -> Result<Self, Failure> {
        let chat: Self = object(data)?;
        if chat.kind == ChatKind::System {
            return Err(Failure::invalid("type", "must be TEXT or IMAGE"));
        }
        check_content(chat.kind, &chat.content)?;
        check_client_msg_id(chat.client_msg_id.as_deref())?;
        Ok(chat)
    }

    fn order(&self) -> Option<&OrderId> {
        Some(&self.order_id)
    }
}

impl HubData for ChatPush<'_> {}

impl Serialize for ChatPush<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}
