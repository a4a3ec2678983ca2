//! The hub from outside: the built program in a process of its own, with real clients.

mod durability;
mod outages;
mod relay;
mod support;
