//! What a room is, without sockets, actors or a database: who is here, what was said and in which
//! order it goes out, where the driver is, and who may do what.
//!
//! Everything here is plain data; time is an argument.

pub mod bans;
pub mod batch;
pub mod change;
pub mod delivery;
pub mod fix_times;
pub mod marks;
pub mod order;
pub mod policy;
pub mod ring;
pub mod roster;
pub mod track;
pub mod typing;
pub mod visibility;
