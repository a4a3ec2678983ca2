//! The load generator: many clients in one thread, against any running orderhub.
//!
//! It is a client only. It knows the protocol and nothing of the hub's code, so it checks what the
//! protocol promises.
//!
//! [`scenario`] describes a run, [`tokens`] has its users, [`engine`] runs it, [`check`] verifies
//! the promises, [`measure`] counts and times, [`report`] presents the results.

#![forbid(unsafe_code)]

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
pub mod process;
pub mod report;
mod rng;
pub mod scenario;
pub mod seconds;
pub mod tls;
pub mod tokens;
pub mod track;

/// The role of drivers, who send positions.
const DRIVER: protocol::role::Role = protocol::role::Role::Driver;
