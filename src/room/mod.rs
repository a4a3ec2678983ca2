//! The logic of rooms, without sockets, actors or a database: who is here, the chat and the order
//! in which it is sent, where the driver is, and who may do what.
//!
//! Everything here is plain data; time is an argument.

pub mod bans;
pub mod change;
pub mod delivery;
pub mod driver_watch;
pub mod fix_times;
pub mod order;
pub mod order_diff;
pub mod policy;
pub mod posted_fixes;
pub mod read_marks;
pub mod recent_messages;
pub mod roster;
pub mod track;
pub mod typing;
pub mod visibility;
