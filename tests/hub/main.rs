//! The hub from outside: the built program in a process of its own, with real clients.

mod history;
mod relay;
mod rights;
mod rooms;
mod support;
