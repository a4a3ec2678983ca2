//! The transport: bounded frames in and out of a WebSocket's raw socket.
//!
//! [`upgrade_service`] routes requests for a WebSocket through an application. [`RawSocket::accept`]
//! makes the two ends of a connection from a socket whose upgrade was granted. [`Inbound`] is a
//! stream of whole messages; the task of the connection actor polls it. [`Outbox`] is a handle that
//! rooms on any thread hold. A push queues a frame. The thread that pushed writes it at the end of
//! its turn.
//!
//! ```text
//!            ┌─ Inbound ── frame ── message ──▶ Incoming        (the connection's thread)
//! socket ────┤     │ keeps up: a blocked socket, deadlines, the linger of a close
//!            └─ SendState ◀── queue ◀── Outbox ◀── push              (any thread)
//!                 ▲ flusher: one write per socket and turn, many by one call
//! ```
//!
//! A client that uses long-polling ([`open_polling`]) has the same two ends. Its GETs replace the
//! socket that is written, its POSTs replace the socket that is read. A WebSocket may replace both
//! later.
//!
//! Invariants:
//!
//! - The waiting frames of an outbox are bounded in bytes, in number and in time. An
//!   [`OutboxBudget`] bounds the bytes of all outboxes together.
//! - A connection that neither sends nor receives owns no buffer.
//! - An outbox that outlives its connection refuses every push, and does not keep the socket open.

#![cfg_attr(not(feature = "io-uring"), forbid(unsafe_code))]

mod accept;
mod acked;
mod budget;
#[cfg(test)]
#[path = "../../../tests/common/cases.rs"]
mod cases;
pub mod engineio;
mod flusher;
mod frame;
mod frame_writer;
mod header;
mod inbound;
mod inline_deque;
mod message;
mod outbox;
mod pace;
mod polling;
mod queue;
mod read_pause;
mod reader;
mod ring;
mod send_state;
#[cfg(test)]
mod tests;
mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

pub use self::accept::accept;
pub use self::acked::acked;
pub use self::budget::OutboxBudget;
pub use self::frame::Frame;
pub use self::frame_writer::SentPing;
pub use self::inbound::Inbound;
pub use self::outbox::Outbox;
pub use self::polling::{PendingPoll, PollError, Polling, Post, Probe, open_polling};
pub use self::queue::LatestKey;
pub use self::read_pause::{ReadPause, ReadPauseGuard};
pub use self::ring::check_io_uring;
pub use self::upgrade::{Accepted, RawSocket, handshake, lingering_close, upgrade_service};
use protocol::close::CloseCode;

/// Limits and timeouts, shared by all connections of a hub.
#[derive(Debug, Clone)]
pub struct TransportOptions {
    /// Bytes of payload of the largest message that a client may send, inclusive. Beyond it the
    /// connection is closed with 1009.
    pub max_message_bytes: usize,
    /// The most fragments of one message from a client, inclusive. Beyond it the connection is
    /// closed with 1008.
    pub max_fragments: usize,
    /// Bytes that may wait for one socket, headers included. Beyond it the outbox drops latest-wins
    /// frames; where that is not enough, it overruns.
    pub outbox_bytes: usize,
    /// Frames that may wait for one socket. Beyond it the outbox drops latest-wins frames. It
    /// overruns when it stays above for the send timeout, or holds four times as many.
    pub outbox_messages: usize,
    /// How long a reliable frame may wait while the socket takes nothing or too little, and how
    /// long the kernel keeps unacknowledged data (`TCP_USER_TIMEOUT`).
    pub send_timeout: Duration,
    /// How long a closing connection may take to send what waits, and its peer to close too.
    pub close_timeout: Duration,
    /// Whether a thread writes several sockets with one system call. Where the system cannot
    /// ([`check_io_uring`]), each socket gets a system call of its own.
    pub io_uring: bool,
    /// The byte limit of all outboxes together.
    pub budget: Arc<OutboxBudget>,
    /// What all outboxes count.
    pub metrics: TransportMetrics,
}

/// The counts of all outboxes; a clone shares them.
#[derive(Debug, Clone, Default)]
pub struct TransportMetrics {
    /// Waiting frames that were replaced by a newer one of the same key, or dropped at a limit.
    pub conflated: Counter,
    /// Bytes that wait for blocked sockets.
    pub outbox_bytes: Gauge,
}

impl TransportOptions {
    /// The most frames that an outbox with this limit may hold for a moment.
    pub fn max_frames(outbox_messages: usize) -> usize {
        outbox_messages.saturating_mul(MAX_OVERCROWDING)
    }
}

impl Default for TransportOptions {
    /// The limits of the protocol (`docs/protocol.md`), with a new budget and new counts.
    fn default() -> Self {
        Self {
            max_message_bytes: 64 * 1024,
            max_fragments: 1024,
            outbox_bytes: 256 * 1024,
            outbox_messages: 512,
            send_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(5),
            io_uring: true,
            budget: Arc::new(OutboxBudget::default()),
            metrics: TransportMetrics::default(),
        }
    }
}

/// An outbox may hold this many times its limit of frames for a moment.
const MAX_OVERCROWDING: usize = 4;

/// What a connection received, or why it has to close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A whole text message; valid UTF-8.
    Text(ByteString),
    /// A whole binary message.
    Binary(Bytes),
    /// A ping. The receiver answers with [`Outbox::pong`] and the same payload.
    Ping(Bytes),
    /// A pong. Any payload shows that the peer is alive.
    Pong,
    /// The peer's valid close frame. The receiver answers with [`Outbox::answer_close`]. Nothing
    /// follows.
    Close(Option<u16>),
    /// The peer broke the protocol or a limit. The receiver answers with [`Outbox::finish`] and
    /// this code. Nothing follows.
    Failed(CloseCode),
    /// The outbox overran. The receiver answers with [`Outbox::finish`] and 4008.
    Overrun(Overrun),
}

/// Which limit an outbox exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overrun {
    /// More bytes waited than one outbox may hold.
    Bytes,
    /// More frames waited than one outbox may hold.
    Messages,
    /// A reliable frame waited, and the peer took too little within the send timeout.
    Stalled,
    /// All outboxes together exceeded their limit, and this one was among the largest.
    Node,
}

/// The outbox refuses frames: the connection has ended or is ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection is closed")]
pub struct Closed;

/// How much waits in an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Waiting frames. The first may be partly sent.
    pub frames: usize,
    /// Waiting bytes, headers included.
    pub bytes: usize,
}
