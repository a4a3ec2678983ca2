//! The events of the hub: one line each.

use crate::events::HubData;
use crate::events::assignment::Assignment;
use crate::events::back_end::BackEndPush;
use crate::events::chat::ChatPush;
use crate::events::connected::Connected;
use crate::events::exception::Exception;
use crate::events::join::Snapshot;
use crate::events::leave::Left;
use crate::events::location::LocationUpdate;
use crate::events::order_status::StatusChange;
use crate::events::ping::Pong;
use crate::events::presence::Presence;
use crate::events::receipt::ReceiptUpdate;
use crate::events::refresh::Expiring;
use crate::events::session_end::SessionEnd;
use crate::events::typing::TypingUpdate;
#[cfg(feature = "openapi")]
use crate::openapi::{DescribedEvent, DescribedType};

macro_rules! hub_events {
    (<$a:lifetime> $($(#[doc = $about:literal])* $name:literal $event:ident($data:ty),)*) => {
        /// An event of the hub.
        #[derive(Debug, Clone)]
        pub enum ServerEvent<$a> {
            $($(#[doc = $about])* $event($data),)*
        }

        enum Index {
            $($event,)*
        }

        impl ServerEvent<'_> {
            /// The names of all events, in the order of [`Self::index`]; `back_end` stands for all
            /// events of back ends.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The event's index in [`Self::NAMES`].
            pub fn index(&self) -> usize {
                match self {
                    $(Self::$event(_) => Index::$event as usize,)*
                }
            }

            /// Writes the event's data.
            pub fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$event(data) => data.write(out),)*
                }
            }
        }

        #[cfg(feature = "openapi")]
        impl<$a> ServerEvent<$a> {
            /// What all events of the hub are.
            pub fn describe() -> Vec<DescribedEvent> {
                vec![$(DescribedEvent {
                    name: $name,
                    about: concat!($($about),*),
                    data: DescribedType::of::<$data>(),
                    reply: None,
                },)*]
            }
        }
    };
}

hub_events! { <'a>
    /// The first event of a plain connection.
    "connected" Connected(Connected<'a>),
    /// The snapshot, if the join asked for no reply.
    "order:joined" Joined(&'a Snapshot<'a>),
    /// The session is no longer in the room.
    "order:left" Left(Left<'a>),
    /// A position of the driver.
    "location:updated" Location(LocationUpdate<'a>),
    /// A stored message.
    "chat:message" Chat(ChatPush<'a>),
    /// A user came in with the first connection.
    "presence:joined" PresenceJoined(Presence<'a>),
    /// A user left with the last connection.
    "presence:left" PresenceLeft(Presence<'a>),
    /// The order has another status.
    "order:status" Status(StatusChange<'a>),
    /// The order has a driver, or another one.
    "order:assigned" Assigned(Assignment<'a>),
    /// A user is no longer the order's driver.
    "order:unassigned" Unassigned(Assignment<'a>),
    /// The token ends soon.
    "auth:expiring" Expiring(Expiring),
    /// The connection ends now.
    "session:end" SessionEnd(SessionEnd<'a>),
    /// An event was refused that asked for no reply.
    "exception" Exception(Exception<'a>),
    /// The reply to `ping`: its data.
    "pong" Pong(Pong<'a>),
    /// An event of a back end, which has its own name on the wire.
    "back_end" BackEnd(BackEndPush<'a>),
    /// A device of a user has received chat.
    "chat:delivered" Delivered(ReceiptUpdate<'a>),
    /// A user has read chat.
    "chat:read" Read(ReceiptUpdate<'a>),
    /// A user has started or stopped typing.
    "chat:typing" Typing(TypingUpdate<'a>),
}

// === impl ServerEvent ===

impl<'a> ServerEvent<'a> {
    /// The number of a chat message in its room; none for other events.
    pub fn chat_seq(&self) -> Option<i64> {
        match self {
            Self::Chat(push) => Some(push.seq),
            _ => None,
        }
    }

    /// The name on the wire.
    pub fn name(&self) -> &'a str {
        match self {
            Self::BackEnd(push) => push.name,
            event => Self::NAMES[event.index()],
        }
    }
}
