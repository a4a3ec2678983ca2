//! The events of clients, and the replies to them: one line each.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::Failure;
use crate::events::chat::{Chat, Stored};
use crate::events::history::{History, HistoryPage};
use crate::events::join::{Join, Snapshot};
use crate::events::leave::{Leave, Remaining};
use crate::events::location::{Accepted, Location};
use crate::events::ping::Ping;
use crate::events::receipt::Receipt;
use crate::events::refresh::{Refresh, Refreshed};
use crate::events::typing::Typing;
use crate::events::{ClientData, Done};
use crate::ids::OrderId;
#[cfg(feature = "openapi")]
use crate::openapi::{DescribedEvent, DescribedType};

macro_rules! client_events {
    (<$a:lifetime> $($(#[doc = $about:literal])* $name:literal $event:ident($data:ty) -> $reply:ty,)*) => {
        /// An event of a client.
        #[derive(Debug, Clone)]
        pub enum ClientEvent {
            $($(#[doc = $about])* $event($data),)*
        }

        /// The name of an event of a client.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ClientEventName {
            $(#[doc = concat!("`", $name, "`")] $event,)*
        }

        /// The reply to an event that succeeded, beside `ok`.
        #[derive(Debug, Clone, Serialize)]
        #[serde(untagged)]
        pub enum Reply<$a> {
            $(#[doc = concat!("`", $name, "`")] $event($reply),)*
        }

        impl ClientEventName {
            /// The names of all events, in the order of their discriminants.
            pub const NAMES: &[&str] = &[$($name),*];

            /// The event of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$event),)*
                    _ => None,
                }
            }
        }

        impl ClientEvent {
            /// Reads the data of an event.
            ///
            /// # Errors
            /// See [`ClientData::read`].
            pub fn read(name: ClientEventName, data: Option<&RawValue>) -> Result<Self, Failure> {
                match name {
                    $(ClientEventName::$event => ClientData::read(data).map(Self::$event),)*
                }
            }

            /// See [`ClientData::order`].
            pub fn order(&self) -> Option<&OrderId> {
                match self {
                    $(Self::$event(data) => data.order(),)*
                }
            }

            /// The event's name.
            pub fn name(&self) -> ClientEventName {
                match self {
                    $(Self::$event(_) => ClientEventName::$event,)*
                }
            }
        }

        #[cfg(feature = "openapi")]
        impl<$a> Reply<$a> {
            /// What all events of clients are, with their replies.
            pub fn describe_events() -> Vec<DescribedEvent> {
                vec![$(DescribedEvent {
                    name: $name,
                    about: concat!($($about),*),
                    data: DescribedType::of::<$data>(),
                    reply: Some(DescribedType::of::<$reply>()),
                },)*]
            }
        }
    };
}

client_events! { <'a>
    /// Enter a room.
    "order:join" Join(Join) -> &'a Snapshot<'a>,
    /// Undo one join, or all.
    "order:leave" Leave(Leave) -> Remaining,
    /// Where the driver is.
    "driver:location" Location(Location) -> Accepted<'a>,
    /// Post a message.
    "chat:message" Chat(Chat) -> Stored<'a>,
    /// Read earlier messages.
    "chat:history" History(History) -> HistoryPage<'a>,
    /// A device of the user has the messages.
    "chat:delivered" Delivered(Receipt) -> Done,
    /// The user has read the messages.
    "chat:read" Read(Receipt) -> Done,
    /// The user starts or stops typing.
    "chat:typing" Typing(Typing) -> Done,
    /// Continue with a new token.
    "auth:refresh" Refresh(Refresh) -> Refreshed,
    /// Any data, which comes back as `pong`.
    "ping" Ping(Ping) -> Done,
}

// === impl ClientEventName ===

impl ClientEventName {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
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
