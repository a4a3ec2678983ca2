//! What a session keeps count of, without sockets: rates, strikes and deadlines.

pub mod deadlines;
pub mod rate;
