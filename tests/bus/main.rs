//! The bus between nodes, on real servers of Redis: one alone, with users, with TLS, a cluster, and
//! Sentinels. Where there is no `redis-server` these tests say so and do nothing else.

mod cluster;
mod events;
mod outages;
mod overload;
#[path = "../common/redis_server.rs"]
mod redis_server;
mod refusals;
mod sentinel;
mod support;
