//! The hub from outside: the built program in a process of its own, with real clients.

mod drain;
mod durability;
mod first_start;
mod outages;
mod relay;
#[allow(
    dead_code,
    unused_imports,
    reason = "a harness offers more than each change of the tests uses"
)]
mod support;
