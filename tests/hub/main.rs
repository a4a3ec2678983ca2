//! The hub from outside: the built program in a process of its own, with real clients.

mod admin;
mod envelopes;
mod expiry;
mod frames;
mod history;
mod joins;
mod limits;
mod login;
mod ordering;
mod panics;
mod presence;
mod relay;
mod rights;
mod rooms;
mod support;
