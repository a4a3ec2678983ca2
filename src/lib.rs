//! orderhub: a realtime hub for delivery apps.

pub mod ids;
pub mod metrics;
pub mod permits;
pub mod protocol;
pub mod room;
pub mod session;
pub mod time;
