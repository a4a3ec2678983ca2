//! orderhub: a realtime hub for delivery apps.
//!
//! A driver, a customer and support staff share one room per order. The hub relays positions,
//! stores chat before it relays it, and lets admins watch rooms. `docs/protocol.md` describes the
//! wire, `docs/socketio.md` the same for apps on Socket.IO, `docs/operations.md` the settings.
//! `docs/architecture.md` is the long form of this page.
//!
//! # Layout
//!
//! A module uses those below it and never one above; `tests/layers` watches that.
//!
//! | layer | modules |
//! |---|---|
//! | the program | [`cli`] |
//! | wiring, drain, routes; this hub among the nodes of its cluster | [`server`], [`http`], [`cluster`] |
//! | one client: a connection and its sessions | [`actors::connection`] |
//! | registry of rooms and sessions | [`actors::supervisor`] |
//! | rooms, sessions as rooms see them | [`actors::order_room`], [`actors::peer`] |
//! | the database's threads, session records for resume | [`actors::store`], [`actors::resumes`] |
//! | how nodes tell each other what happens, and what they tell of rooms | [`bus`], [`relay`] |
//! | decisions without I/O, tokens, queries | [`room`], [`connection`], [`session`], [`rate_limit`], [`auth`], [`db`] |
//! | settings, counters, bounds | [`config`], [`metrics`], [`permits`], [`process`] |
//! | frames in and out of a socket, or of polls and POSTs; an Engine.IO server | the crate [`transport`], [`transport::engineio`] |
//! | the protocol: events, both framings, ids, times | the crate [`protocol`],
//! [`protocol::socketio`] |
//!
//! The load generator is the crate [`load`]. It uses [`protocol`] and nothing of the hub.
//!
//! # The way of a message
//!
//! [`transport::Inbound`] gives whole messages to the connection actor, from a WebSocket or from
//! POSTs. [`protocol::envelope`] or [`protocol::socketio::reader`] turns each into a typed event of
//! one of the connection's sessions. The connection counts it against the user's rates and sends it
//! to the room, whose address it has kept since it entered. The room asks [`room::policy`], encodes
//! the event once per codec ([`protocol::codec`]) and pushes one shared frame into every member's
//! [`transport::Outbox`]. The thread that pushed writes the frame at the end of its turn, to the
//! socket or to the GET that waits. Chat goes through the store first: the store commits a message
//! before the room sends it to anyone.
//!
//! # Invariants
//!
//! - Acknowledged means committed. The numbers of an order's messages (`seq`) have no gaps.
//! - Only the room writes room events into an outbox, and chat leaves it strictly in order of
//!   `seq`.
//! - A snapshot ends at the `seq` before the next live message: no gap, no duplicate.
//! - There is one room per order: an idle room is removed only after every forwarded entry was
//!   handled.
//! - A room that panics restarts alone, and its members resume from the last `seq` in their
//!   outboxes. While the database is down they try again every second.
//! - Every queue has a bound, kept by permits. An actix mailbox alone bounds nothing.
//! - A slow reader gets fewer positions, then its connection is closed; it never delays other
//!   clients. A client that keeps up gets every position.
//! - Every event that asked for a reply gets one, even when a room or the database fails.
//! - `recovered` means that nothing was missed. An offset that is not in the push log resumes the
//!   rooms under a new `sid` and `pid`, and `recovered` is false.

#![forbid(unsafe_code)]

pub mod actors;
pub mod auth;
pub mod bus;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod connection;
pub mod db;
pub mod http;
pub mod log_once;
pub mod metrics;
#[cfg(test)]
#[path = "../tests/common/mutate.rs"]
mod mutate;
pub mod permits;
pub mod process;
pub mod rate_limit;
pub mod recent;
pub mod relay;
pub mod room;
pub mod server;
pub mod session;
pub mod webhooks;
