//! Chat messages as members see them and as the database keeps them.

use serde::{Deserialize, Serialize};

use super::error::Failure;
use super::image::is_image;
use super::role::Role;
use super::text::is_blank;
use crate::ids::{OrderId, UserId};
use crate::time::Timestamp;

/// The most characters (Unicode scalar values) of a message.
pub const MAX_CONTENT_CHARS: usize = 4000;
/// The most bytes of a message.
pub const MAX_CONTENT_BYTES: usize = 16 * 1024;
/// The most characters of a `clientMsgId`.
pub const MAX_CLIENT_MSG_ID_CHARS: usize = 64;
/// A page or snapshot ends where its encoded messages reach this many bytes. At 12 kbit/s, the
/// slowest phone connection, this takes 35 s, and a stock Engine.IO client gives up when it has not
/// read a ping for 45 s.
pub const MAX_PAGE_BYTES: usize = 48 * 1024;

/// What a message's content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum ChatKind {
    /// Text of a user.
    #[default]
    Text,
    /// An https address or an opaque key of a picture.
    Image,
    /// Text of a back end, without a user as its author.
    System,
}

impl ChatKind {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Image => "IMAGE",
            Self::System => "SYSTEM",
        }
    }
}

/// A stored message: the data of the event `chat:message`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ChatMessage {
    /// `UUIDv7`, unique over all orders.
    pub id: String,
    /// The room it belongs to.
    pub order_id: OrderId,
    /// Its number in the room: 1, 2, 3 … without gaps.
    pub seq: i64,
    /// The author.
    pub sender_id: UserId,
    /// The sender's name when it was written.
    pub sender_name: String,
    /// The sender's role when it was written.
    pub sender_role: Role,
    /// 1 to 4,000 characters.
    pub content: String,
    /// What the content is.
    #[serde(rename = "type")]
    pub kind: ChatKind,
    /// When the hub admitted it.
    pub created_at: Timestamp,
    /// The sender's own key, by which a retry is recognised.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub client_msg_id: Option<String>,
}

/// Checks that this can be the content of a message.
///
/// # Errors
/// `invalid_payload` if nothing in it is visible, it is too long, or it does not address a picture.
pub fn check_content(kind: ChatKind, content: &str) -> Result<(), Failure> {
    let invalid = |message| Err(Failure::invalid("content", message));
    match kind {
        ChatKind::Image if !is_image(content) => {
            invalid("must be an https address or an opaque key of 1 to 2048 characters")
        }
        _ if is_blank(content) => invalid("must not be empty"),
        _ if content.contains('\0') => invalid("must not hold U+0000"),
        _ if content.len() > MAX_CONTENT_BYTES => invalid("is over 16 KiB"),
        _ if content.chars().count() > MAX_CONTENT_CHARS => invalid("is over 4000 characters"),
        _ => Ok(()),
    }
}

/// Checks that this can be a sender's own key of a message.
///
/// # Errors
/// `invalid_payload` if it is empty or too long.
pub fn check_client_msg_id(key: Option<&str>) -> Result<(), Failure> {
    let fits = |key: &str| {
        (1..=MAX_CLIENT_MSG_ID_CHARS).contains(&key.chars().count()) && !key.contains('\0')
    };
    if key.is_none_or(fits) {
        return Ok(());
    }
    Err(Failure::invalid("clientMsgId", "must be 1 to 64 characters"))
}
