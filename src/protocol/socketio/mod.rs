//! The Socket.IO framing: Engine.IO 4 packets, and Socket.IO 5 packets inside of them.
//!
//! Pure, byte for byte: what travels as WebSocket messages or in the bodies of long-polling is
//! read and written here, and nothing is known of sockets, sessions or rooms.

pub mod engine;
pub mod payload;
