//! The state of a connection without sockets: its heartbeat, and its backlog of events.

pub mod backlog;
pub mod heartbeat;
