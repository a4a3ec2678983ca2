//! What a session keeps count of, without sockets: rates, strikes, events that wait for their turn,
//! deadlines, and what it needs to be taken up again.

pub mod backlog;
pub mod expiry;
pub mod heartbeat;
pub mod rate;
pub mod resume;
pub mod users;
