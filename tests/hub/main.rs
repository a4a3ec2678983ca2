//! The hub from outside: the built program in a process of its own, with real clients.

mod admin;
mod api_orders;
mod api_races;
mod api_rights;
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
mod ordering;
mod outages;
mod panics;
mod presence;
mod relay;
mod rights;
mod rooms;
mod support;
