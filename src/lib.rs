//! orderhub: a realtime hub for delivery apps.
//!
//! A driver, a customer and support staff share one room per order. Positions are relayed, chat is
//! stored and then relayed, admins look on. `docs/protocol.md` is the wire, `docs/socketio.md` the
//! same for apps on Socket.IO, `docs/operations.md` the settings, `docs/architecture.md` the long
//! form of this page.
//!
//! # Layout
//!
//! A module uses those below it and never one above; `tests/layers` watches that.
//!
//! | layer | modules |
//! |---|---|
//! | the program | [`cli`] |
//! | wiring, drain, routes, an Engine.IO server | [`server`], [`http`], [`http::engineio`] |
//! | one client: a connection and its logins | [`actors::connection`] |
//! | a client, for load | [`load`] |
//! | registry and rooms | [`actors::supervisor`], [`actors::order_room`] |
//! | the database's threads, sessions to be taken up again | [`actors::store`], [`actors::resumes`] |
//! | frames in and out of a socket, or of polls and POSTs | [`transport`] |
//! | decisions without I/O, tokens, queries | [`room`], [`connection`], [`session`], [`rate_limit`], [`auth`], [`db`] |
//! | words of the wire in both framings, settings | [`protocol`], [`protocol::socketio`], [`config`] |
//! | names, clock, counters, bounds | [`ids`], [`time`], [`metrics`], [`permits`], [`process`], [`json_number`] |
//!
//! # The way of a message
//!
//! [`transport::Inbound`] gives whole messages to the session's actor, from a WebSocket or from POSTs.
//! [`protocol::envelope`] or [`protocol::socketio::reader`] makes each a typed event of one of the
//! connection's logins. The session takes it off its rates and sends it to the room, whose address it
//! has kept since it was let in. The room asks [`room::policy`], encodes once per codec
//! ([`protocol::codec`]) and pushes one shared frame into every member's [`transport::Outbox`]. The
//! thread that pushed writes it, at the end of its turn, to the socket or to the poll that waits. Chat
//! makes a detour: it is committed by the store before anybody hears of it.
//!
//! # Invariants
//!
//! - Acknowledged means committed. Numbers of messages (`seq`) are dense per order.
//! - Only the room writes room events into an outbox, and chat leaves it strictly in order of `seq`.
//! - A snapshot ends at the number that the next live message follows: no gap, nothing twice.
//! - There is one room per order: only a room that has seen every join forwarded to it is forgotten.
//! - A panic costs one room a moment; its members go back in where their outboxes stand, and try
//!   again every second while the database is down.
//! - Every queue has a bound, and its bound is a permit: no actix mailbox is one.
//! - A slow reader gets fewer positions, then is closed; it never costs the others anything. One
//!   that keeps up gets every position.
//! - Every event that asked for a reply gets one, also where a room or the database fails.
//! - Who is said to be recovered has everything: the order of a session's chat pushes is that of its
//!   outbox, and what cannot be placed in it is a new session.

pub mod actors;
pub mod auth;
pub mod cli;
pub mod config;
pub mod connection;
pub mod db;
pub mod http;
pub mod ids;
pub mod json_number;
pub mod load;
pub mod log_once;
pub mod metrics;
#[cfg(test)]
#[path = "../tests/common/mutate.rs"]
mod mutate;
pub mod permits;
pub mod process;
pub mod protocol;
pub mod rate_limit;
pub mod recent;
pub mod room;
pub mod server;
pub mod session;
pub mod time;
pub mod transport;
