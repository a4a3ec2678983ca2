//! What a session keeps count of, without sockets: rates, strikes, deadlines, and what it needs to
//! be taken up again.

pub mod expiry;
pub mod heartbeat;
pub mod rate;
pub mod resume;
