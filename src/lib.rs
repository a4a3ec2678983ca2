//! orderhub: a realtime hub for delivery apps.

pub mod actors;
pub mod auth;
pub mod cli;
pub mod config;
pub mod db;
pub mod http;
pub mod ids;
pub mod metrics;
pub mod permits;
pub mod protocol;
pub mod room;
pub mod server;
pub mod session;
pub mod time;
pub mod transport;
