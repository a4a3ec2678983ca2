//! Actors: what runs beside each other and is told, never called.
//!
//! A [`connection`] talks to rooms; the [`supervisor`] knows which room serves an order; an
//! [`order_room`] talks to its members and to the [`store`]. A lower actor never knows the address
//! of an upper one: it holds a `Recipient` of what it has to say, or an address that names
//! the messages and not the actor, where it is one of many holders ([`peer::ConnectionAddress`]).

mod alarms;
mod broadcast;
pub mod connection;
pub mod location_reply;
pub mod order_diff;
pub mod order_room;
pub mod peer;
mod reachable;
pub mod resumes;
pub mod shared;
pub mod store;
pub mod supervisor;
