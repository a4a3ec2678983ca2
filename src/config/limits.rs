//! Limits of one user and one connection.

use std::time::Duration;

use clap::Args;

use super::parse::{integer, millis};

/// What one user and one connection may cost.
#[derive(Debug, Clone, Args)]
pub struct LimitsConfig {
    /// Open connections of one user
    ///
    /// `MAX_CONNECTIONS_PER_USER`, default 100. One more closes the user's oldest (4409); at 1 a
    /// second device throws out the first.
    #[arg(long, env = "MAX_CONNECTIONS_PER_USER", value_name = "N")]
    #[arg(default_value = "100", value_parser = integer(1_usize, 1_000_000))]
    pub max_connections_per_user: usize,

    /// Orders that one connection may have joined
    ///
    /// `MAX_ROOMS_PER_CONNECTION`, default 50. Support and admins are not held to it.
    #[arg(long, env = "MAX_ROOMS_PER_CONNECTION", value_name = "N")]
    #[arg(default_value = "50", value_parser = integer(1_usize, 1_000_000))]
    pub max_rooms_per_connection: usize,

    /// The longest message from a client (bytes)
    ///
    /// `MAX_MESSAGE_BYTES`, bytes, default 65536; a longer one closes with 1009. What a large
    /// value allows, every connection may make the hub hold.
    #[arg(long, env = "MAX_MESSAGE_BYTES", value_name = "BYTES")]
    #[arg(default_value = "65536", value_parser = integer(1024_usize, 16 << 20))]
    pub max_message_bytes: usize,

    /// Events that a user may send, in the long run; 0 switches it off
    ///
    /// `EVENTS_PER_SECOND`, per user over all connections and posts by HTTP, default 20. 0: no
    /// limit, for joins neither. What comes faster waits its turn; `order:join` has its own rate.
    #[arg(long, env = "EVENTS_PER_SECOND", value_name = "N")]
    #[arg(default_value = "20", value_parser = integer(0_u32, 1_000_000))]
    pub events_per_second: u32,

    /// Events that a user may send at once
    ///
    /// `EVENTS_BURST`, default 40. At 1 each one waits for the one before.
    #[arg(long, env = "EVENTS_BURST", value_name = "N")]
    #[arg(default_value = "40", value_parser = integer(0_u32, 1_000_000))]
    pub events_burst: u32,

    /// Chat messages that a user may send, in the long run; 0 switches it off
    ///
    /// `CHAT_PER_SECOND`, per user over all connections and HTTP, default 5. 0: no limit but the one
    /// for all events.
    #[arg(long, env = "CHAT_PER_SECOND", value_name = "N")]
    #[arg(default_value = "5", value_parser = integer(0_u32, 1_000_000))]
    pub chat_per_second: u32,

    /// Chat messages that a user may send at once
    ///
    /// `CHAT_BURST`, default 10.
    #[arg(long, env = "CHAT_BURST", value_name = "N")]
    #[arg(default_value = "10", value_parser = integer(0_u32, 1_000_000))]
    pub chat_burst: u32,

    /// Joins that a user may send, in the long run; 0 switches it off
    ///
    /// `JOINS_PER_SECOND`, per user over all connections, default 20. What comes faster waits.
    #[arg(long, env = "JOINS_PER_SECOND", value_name = "N")]
    #[arg(default_value = "20", value_parser = integer(0_u32, 1_000_000))]
    pub joins_per_second: u32,

    /// Joins that a user may send at once
    ///
    /// `JOINS_BURST`, default 300: a support desk joins all of its orders when it starts.
    #[arg(long, env = "JOINS_BURST", value_name = "N")]
    #[arg(default_value = "300", value_parser = integer(0_u32, 1_000_000))]
    pub joins_burst: u32,

    /// Logins of a user, in the long run; 0 switches it off
    ///
    /// `LOGINS_PER_SECOND`, per user, with good tokens only, default 5: connections, namespaces of
    /// Socket.IO and `auth:refresh`. Beyond it 429, or `rate_limited`. 0: no limit.
    #[arg(long, env = "LOGINS_PER_SECOND", value_name = "N")]
    #[arg(default_value = "5", value_parser = integer(0_u32, 1_000_000))]
    pub logins_per_second: u32,

    /// Logins of a user at once
    ///
    /// `LOGINS_BURST`, default 200: twice `MAX_CONNECTIONS_PER_USER`. With fewer than a user has
    /// connections some are refused when all come back together.
    #[arg(long, env = "LOGINS_BURST", value_name = "N")]
    #[arg(default_value = "200", value_parser = integer(0_u32, 1_000_000))]
    pub logins_burst: u32,

    /// Reads of a user by HTTP, in the long run; 0 switches it off
    ///
    /// `READS_PER_SECOND`, per user, default 20: orders, chat and trails. Back ends (service tokens,
    /// API keys) and admins are not held to it. Beyond it 429. 0: no limit.
    #[arg(long, env = "READS_PER_SECOND", value_name = "N")]
    #[arg(default_value = "20", value_parser = integer(0_u32, 1_000_000))]
    pub reads_per_second: u32,

    /// Reads of a user by HTTP at once
    ///
    /// `READS_BURST`, default 300; four of a user run at a time, the others wait for them.
    #[arg(long, env = "READS_BURST", value_name = "N")]
    #[arg(default_value = "300", value_parser = integer(0_u32, 1_000_000))]
    pub reads_burst: u32,

    /// What may wait for a slow reader (bytes)
    ///
    /// `OUTBOX_BYTES`, bytes, default 262144. Beyond it old positions are dropped and a reader
    /// that owes more is closed (4008). Times the number of connections it is the hub's worst
    /// case of memory.
    #[arg(long, env = "OUTBOX_BYTES", value_name = "BYTES")]
    #[arg(default_value = "262144", value_parser = integer(4096_usize, 1 << 30))]
    pub outbox_bytes: usize,

    /// What may wait for a slow reader (messages)
    ///
    /// `OUTBOX_MESSAGES`, default 512; as `OUTBOX_BYTES`, but up to four times as many may wait for
    /// the time of `SEND_TIMEOUT_MS`: rooms may be faster than a line for a moment.
    #[arg(long, env = "OUTBOX_MESSAGES", value_name = "N")]
    #[arg(default_value = "512", value_parser = integer(8_usize, 1_000_000))]
    pub outbox_messages: usize,

    /// From ping to ping (milliseconds)
    ///
    /// `PING_INTERVAL_MS`, milliseconds, default 25000. Longer than the idle timeout of a proxy
    /// in between, and the proxy cuts quiet connections; short ones drain phones.
    #[arg(long = "ping-interval-ms", env = "PING_INTERVAL_MS", value_name = "MS")]
    #[arg(default_value = "25000", value_parser = millis(10, 3_600_000))]
    pub ping_interval: Duration,

    /// A peer that has not answered a ping for so long is gone (milliseconds)
    ///
    /// `PONG_TIMEOUT_MS`, milliseconds, default 20000, at most `PING_INTERVAL_MS`. Short ones
    /// close phones that are in a tunnel.
    #[arg(long = "pong-timeout-ms", env = "PONG_TIMEOUT_MS", value_name = "MS")]
    #[arg(default_value = "20000", value_parser = millis(10, 3_600_000))]
    pub pong_timeout: Duration,

    /// A peer that takes nothing for so long is gone (milliseconds)
    ///
    /// `SEND_TIMEOUT_MS`, milliseconds, default 20000 (4008, and `TCP_USER_TIMEOUT`). Less than 256
    /// bytes a second are as nothing.
    #[arg(long = "send-timeout-ms", env = "SEND_TIMEOUT_MS", value_name = "MS")]
    #[arg(default_value = "20000", value_parser = millis(100, 3_600_000))]
    pub send_timeout: Duration,
}
