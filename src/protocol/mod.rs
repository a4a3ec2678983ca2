//! The protocol between clients and the hub: events, codes and how they are written.
//!
//! Raw text becomes a [`client::ClientEvent`] here, once; the layers below see no JSON. The hub's
//! events are [`server::ServerEvent`]s, written by the [`codec::Codec`] of each session.

pub mod back_end;
pub mod chat;
pub mod client;
pub mod close;
pub mod codec;
pub mod envelope;
pub mod error;
pub mod fixes;
mod image;
pub mod json;
pub mod lenient;
pub mod location;
mod location_json;
pub mod order;
pub mod request;
pub mod role;
pub mod server;
pub mod socketio;
pub mod text;
pub mod trackers;
