//! What a connection keeps count of, without sockets: its heartbeat, and events that wait for their rate.

pub mod backlog;
pub mod heartbeat;
