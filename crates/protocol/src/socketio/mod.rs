//! The Socket.IO framing: Engine.IO 4 packets, and Socket.IO 5 packets inside of them.
//!
//! Pure parsing and writing, byte for byte: WebSocket messages and bodies of long-polling are read
//! and written here, without knowledge of sockets, sessions or rooms. A connection passes what its
//! client sends to a [`reader::PacketReader`].

pub mod args;
pub mod auth;
pub mod decoder;
pub mod encode;
pub mod engine;
mod event;
pub mod malformed;
pub mod offset;
pub mod packet;
pub mod payload;
mod placeholders;
pub mod reader;
pub mod write;

use serde::{Deserialize, Serialize};

/// A namespace that the hub serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Namespace {
    /// `/`
    #[serde(rename = "/")]
    Root,
    /// `/events`, the namespace of the gateway that the hub replaces.
    #[serde(rename = "/events")]
    Events,
}

impl Namespace {
    /// The namespace of that name, which begins with a slash.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Events, Self::Root].into_iter().find(|namespace| namespace.as_str() == name)
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "/",
            Self::Events => "/events",
        }
    }

    /// The namespace in a packet, between the type and the rest.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Events => "/events,",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_namespaces_are_known_by_their_exact_names() {
        for namespace in [Namespace::Root, Namespace::Events] {
            assert_eq!(Namespace::from_name(namespace.as_str()), Some(namespace));
        }
        for other in ["", "events", "/Events", "/events/", "/events?token=x", "/event"] {
            assert_eq!(Namespace::from_name(other), None, "{other}");
        }
    }
}
