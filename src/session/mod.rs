//! The state of a session without sockets: the end of its token, and what is needed to resume it.

pub mod resume;
pub mod token_expiry;
