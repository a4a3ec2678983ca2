//! What a session keeps count of, without sockets: rates, strikes and deadlines.

pub mod expiry;
pub mod heartbeat;
pub mod rate;
