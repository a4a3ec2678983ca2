//! The limits that `/metrics` shows, one for each bounded resource.

use crate::actors::order_room::OrderRoom;
use crate::actors::store::{
    MAX_WAITING_BYTES, MAX_WAITING_MARKS, MAX_WAITING_MESSAGES, MAX_WAITING_POINTS,
    MAX_WAITING_POSITIONS, MAX_WAITING_READS,
};
use crate::config::Config;
use crate::metrics::Limit;
use transport::OutboxBudget;

/// The limits of a hub with these settings.
pub(super) fn limits(config: &Config) -> Vec<Limit> {
    let Config { server, limits, database, .. } = config;
    let rate = |rate| usize::try_from(rate).unwrap_or(usize::MAX);
    vec![
        ("connections", server.max_connections),
        ("connections_per_user", limits.max_connections_per_user),
        ("rooms_per_connection", limits.max_rooms_per_connection),
        ("resumable_sessions", server.max_connections),
        ("message_bytes", limits.max_message_bytes),
        ("events_per_second", rate(limits.events_per_second)),
        ("events_burst", rate(limits.events_burst)),
        ("chat_per_second", rate(limits.chat_per_second)),
        ("chat_burst", rate(limits.chat_burst)),
        ("outbox_bytes", OutboxBudget::DEFAULT_BYTES),
        ("outbox_bytes_per_connection", limits.outbox_bytes),
        ("outbox_messages_per_connection", limits.outbox_messages),
        ("room_queue_messages", OrderRoom::MAILBOX),
        ("store_queue_messages", MAX_WAITING_MESSAGES),
        ("store_queue_bytes", MAX_WAITING_BYTES),
        ("store_queue_positions", MAX_WAITING_POSITIONS),
        ("store_queue_points", MAX_WAITING_POINTS),
        ("store_queue_reads", MAX_WAITING_READS),
        ("store_queue_read_marks", MAX_WAITING_MARKS),
        ("database_connections", rate(database.pool_size)),
    ]
}
