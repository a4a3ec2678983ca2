//! Webhooks: what is told, to which endpoints, and when a failed delivery is tried again. It does no
//! I/O but for reading the certificates that an entry of `WEBHOOKS_FILE` names.

pub mod address;
pub mod answers;
pub mod authorities;
pub mod endpoints;
pub mod event;
pub mod health;
pub mod momentary;
pub mod order_events;
pub mod outbox;
pub mod payload;
pub mod questions;
pub mod schedule;
pub mod unread;
