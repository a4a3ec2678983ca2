//! A running hub and its clients, for tests.

pub mod address;
pub mod api_keys;
pub mod back_end;
mod client;
mod databases;
pub mod fixes;
pub mod hooks;
pub mod keys;
#[path = "../../common/launch.rs"]
mod launch;
pub mod orders_table;
mod packet;
pub mod polling;
#[path = "../../common/postgres.rs"]
mod postgres;
#[path = "../../common/postgres_server.rs"]
pub mod postgres_server;
mod process;
pub mod raw;
pub mod receiver;
pub mod resume;
pub mod rooms;
pub mod socketio;
#[path = "../../common/tls.rs"]
pub mod tls;

use std::time::Instant;

use protocol::time::Timestamp;

pub use client::{Client, Closed, TIMEOUT};
pub use databases::{Database, each_database};
pub use launch::SECRET;
pub use packet::{Kind, Packet};
pub use process::{Hub, HubBuilder, StartingHub, claims, token};

/// Waits until `true`, at most [`TIMEOUT`].
pub async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !reached().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    Timestamp::now().as_millis() / 1000
}
