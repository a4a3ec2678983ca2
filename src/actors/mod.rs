//! The actors of the hub: they run concurrently, and communicate only by messages.
//!
//! A [`connection`] sends to rooms; the [`supervisor`] knows which room serves an order; an
//! [`order_room`] sends to its members and to the [`store`]. A lower actor never knows the type of
//! an upper one: it holds a `Recipient`, or, where there are many holders, an address that names
//! the messages and not the actor (`Arc<dyn Reachable<…>>`).

mod alarms;
mod authentication;
mod broadcast;
pub mod cluster;
pub mod connection;
pub mod hooks;
pub mod order_room;
pub mod peer;
pub mod reachable;
pub mod resumes;
pub mod shared;
pub mod store;
pub mod supervisor;
pub mod webhooks;
