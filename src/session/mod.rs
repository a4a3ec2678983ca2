//! The state of a session without sockets: the end of its token, its recent refusals, the orders
//! that its user serves, the rooms in which it catches up, and what is needed to resume it.

pub mod catch_up_queue;
pub mod open_orders;
pub mod refusals;
pub mod resume;
pub mod token_expiry;
