//! orderhub: a realtime hub for delivery apps.

pub mod actors;
pub mod db;
pub mod ids;
pub mod metrics;
pub mod protocol;
pub mod time;
pub mod transport;
