//! `orderhub load` from outside: the program in a process of its own, against a hub in another one
//! and against servers that break their word.

#[path = "../common/launch.rs"]
mod launch;
mod lying_hub;
mod mistakes;
mod promises;
mod runs;
mod support;
#[path = "../common/tls.rs"]
mod tls;
mod tls_proxy;
