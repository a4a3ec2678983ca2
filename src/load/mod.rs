//! The load generator: many clients in one thread, against any running orderhub.
//!
//! A client only. It knows the words of the wire and nothing of the hub behind them, so that what
//! it checks is what the protocol promises and not what the code does.
//!
//! [`scenario`] says what happens, [`tokens`] who takes part, [`engine`] makes it happen, [`check`]
//! holds it against the promises, [`measure`] counts and times, [`report`] tells.

pub mod address;
pub mod check;
mod client_message;
mod connection;
pub mod engine;
mod frame;
mod hub_message;
pub mod hub_usage;
pub mod limits;
pub mod machine;
pub mod measure;
mod own_cpu;
pub mod probe;
pub mod report;
mod rng;
pub mod scenario;
pub mod seconds;
pub mod tls;
pub mod tokens;
pub mod track;

/// The role that has positions.
const DRIVER: crate::protocol::role::Role = crate::protocol::role::Role::Driver;
