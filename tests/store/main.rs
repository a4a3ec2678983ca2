//! The store, with the same tests on SQLite and, where `TEST_DATABASE_URL` names a PostgreSQL server
//! on which databases may be made, on PostgreSQL.

mod chat;
mod cluster;
mod connections;
mod fixture;
mod idempotency;
mod migrations;
mod orders;
mod outage;
#[path = "../common/postgres.rs"]
mod postgres;
mod read_marks;
mod reads;
mod resumes;
mod scale;
mod trail;
mod webhooks;
