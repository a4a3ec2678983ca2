//! A running hub and its clients, for tests.

mod client;
mod process;
pub mod raw;

pub use client::{Client, Closed};
pub use process::{Hub, HubBuilder, SECRET, claims, token};
