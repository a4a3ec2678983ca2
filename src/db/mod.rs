//! The database: connections, migrations and queries, one file per table. Queries apply no business
//! rules.

pub mod bans;
pub mod cluster;
pub mod cluster_log;
pub mod commit_batch;
pub mod connection;
pub mod error_class;
pub mod file_guard;
pub mod idempotency;
pub mod instance_lock;
mod last_positions;
pub mod messages;
pub mod migrate;
pub mod nodes;
pub mod order_changes;
pub mod orders;
pub mod participants;
pub mod pool;
pub mod pooler;
pub mod read_marks;
pub mod resumes;
pub mod revocations;
pub mod schema;
pub mod trail;
pub mod unread;
pub mod webhooks;
