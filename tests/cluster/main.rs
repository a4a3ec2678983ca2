//! Several hubs on one PostgreSQL and one Redis, each the built program in a process of its own. Where
//! there is no `TEST_DATABASE_URL` or no `redis-server`, these tests say so and do nothing else.

mod admin;
mod chat;
mod decisions;
mod loss;
#[expect(dead_code, reason = "it is shared with tests that need more of it")]
#[path = "../common/redis_server.rs"]
mod redis_server;
mod room;
mod rooms;
mod start;
#[allow(dead_code, unused_imports, reason = "it is shared with the tests of one hub")]
#[path = "../hub/support/mod.rs"]
mod support;
mod test_cluster;
