//! What a session keeps count of, without sockets: the end of its token, and what it needs to be
//! taken up again.

pub mod resume;
pub mod token_expiry;
