//! What clients and the hub say to each other: events, codes and how they are written.

pub mod chat;
pub mod close;
pub mod error;
pub mod location;
pub mod role;
