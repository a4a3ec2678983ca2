//! The protocol between clients and the hub: events, codes and how they are written.
//!
//! Raw text becomes a [`client::ClientEvent`] here, once; the layers below see no JSON. The hub's
//! events are [`server::ServerEvent`]s, written by the [`codec::Codec`] of each session.
//!
//! Ids, times and whole numbers ([`ids`], [`time`], [`json_number`]) are here too, because events
//! consist of them. Nothing here does I/O.

#![forbid(unsafe_code)]

pub mod back_end;
pub mod chat;
pub mod client;
pub mod close;
pub mod codec;
pub mod envelope;
pub mod error;
pub mod events;
pub mod fixes;
pub mod ids;
mod image;
pub mod json;
pub mod json_number;
pub mod lenient;
pub mod location;
mod location_json;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod order;
pub mod request;
pub mod role;
pub mod server;
pub mod socketio;
pub mod text;
pub mod time;
pub mod trackers;
