//! The hub from outside: the built program in a process of its own, with real clients.

mod admin;
mod drain;
mod durability;
mod envelopes;
mod expiry;
mod first_start;
mod frames;
mod history;
mod joins;
mod limits;
mod login;
mod namespaces;
mod ordering;
mod outages;
mod panics;
mod presence;
mod relay;
mod resume;
mod rights;
mod rooms;
mod socketio;
mod socketio_ends;
mod socketio_login;
mod support;
