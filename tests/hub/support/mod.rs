//! A running hub and its clients, for tests.

mod client;
mod databases;
pub mod hooks;
pub mod keys;
mod packet;
pub mod polling;
#[path = "../../common/postgres.rs"]
mod postgres;
#[path = "../../common/postgres_server.rs"]
pub mod postgres_server;
mod process;
pub mod raw;
pub mod receiver;
pub mod socketio;
#[path = "../../common/tls.rs"]
pub mod tls;

use std::time::Instant;

pub use client::{Client, Closed, TIMEOUT};
pub use databases::{Database, each_database};
pub use packet::{Kind, Packet};
pub use process::{Hub, HubBuilder, SECRET, StartingHub, claims, token};

/// Waits until `true`, at most [`TIMEOUT`].
pub async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !reached().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
