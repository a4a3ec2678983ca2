//! The hub from outside: the built program in a process of its own, with real clients.

mod envelopes;
mod expiry;
mod frames;
mod joins;
mod limits;
mod login;
mod relay;
mod support;
