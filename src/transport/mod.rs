//! The transport: bounded frames in and out of a WebSocket's raw socket.
//!
//! [`accept`] takes over a socket whose upgrade was granted and gives its two ends. [`Inbound`] is
//! a stream of whole messages, polled by the task of the session that it belongs to. [`Outbox`] is
//! the handle that rooms on any thread hold: what they push is queued, and written by the pushing
//! thread itself at the end of its turn.
//!
//! ```text
//!            ┌─ Inbound ── frame ── message ──▶ Incoming        (the session's thread)
//! socket ────┤     │ keeps up: a blocked socket, deadlines, the linger of a close
//!            └─ SendState ◀── queue ◀── Outbox ◀── push              (any thread)
//!                 ▲ flusher: one write per socket and turn, many by one call
//! ```
//!
//! A client of long-polling ([`open_polling`]) has the same two ends: its GETs take the place of
//! the socket that is written, its POSTs of the one that is read, and a WebSocket may take both
//! places later.
//!
//! Invariants: what waits in an outbox is bounded in bytes, in frames and in time, and over all
//! outboxes by a [`OutboxBudget`]; a connection that says nothing and hears nothing owns no buffer; an
//! outbox outlives its connection only as a handle that refuses, never with the socket.

mod accept;
mod acked;
mod budget;
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

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;

pub use self::accept::{accept, switching_protocols};
pub use self::acked::acked;
pub use self::budget::OutboxBudget;
pub use self::frame::Frame;
pub use self::frame_writer::PingMark;
pub use self::inbound::Inbound;
pub use self::outbox::Outbox;
pub use self::polling::{PendingPoll, PollError, Polling, Post, Probe, open_polling};
pub use self::queue::LatestKey;
pub use self::read_pause::{ReadPause, ReadPauseGuard};
pub use self::ring::check_io_uring;
use crate::metrics::Metrics;
use crate::protocol::close::CloseCode;

/// What connections may do and how long they may take, shared by all of a hub.
#[derive(Debug, Clone)]
pub struct TransportOptions {
    /// The largest message from a client, in bytes of payload, inclusive: 1009 beyond.
    pub max_message_bytes: usize,
    /// The most fragments of one message from a client, inclusive: 1008 beyond.
    pub max_fragments: usize,
    /// Bytes that may wait for one socket, headers included; beyond, latest-wins frames are
    /// dropped, then the outbox gives up.
    pub outbox_bytes: usize,
    /// Frames that may wait for one socket. Beyond, latest-wins frames are dropped too, and the
    /// outbox gives up where it stays so for the send timeout, or holds four times as many.
    pub outbox_messages: usize,
    /// How long a reliable frame may wait for a socket that takes no more, or next to nothing, and
    /// how long the kernel keeps unacknowledged data (`TCP_USER_TIMEOUT`).
    pub send_timeout: Duration,
    /// How long a closing socket may take to send what waits, and its peer to answer.
    pub close_timeout: Duration,
    /// Whether a thread writes several sockets by one system call. Where it cannot
    /// ([`check_io_uring`]), it writes each on its own.
    pub io_uring: bool,
    /// The limit of all outboxes together.
    pub budget: Arc<OutboxBudget>,
    /// Where replaced frames and waiting bytes are counted.
    pub metrics: Arc<Metrics>,
}

impl TransportOptions {
    /// The most frames that an outbox holds, for a moment, which is meant to hold so many.
    pub fn max_frames(outbox_messages: usize) -> usize {
        outbox_messages.saturating_mul(MAX_OVERCROWDING)
    }

    /// The protocol's own limits (`docs/protocol.md`), with a budget of its own.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            max_message_bytes: 64 * 1024,
            max_fragments: 1024,
            outbox_bytes: 256 * 1024,
            outbox_messages: 512,
            send_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(5),
            io_uring: true,
            budget: Arc::new(OutboxBudget::default()),
            metrics,
        }
    }
}

/// How many times as many frames as it is meant to hold an outbox may hold for a moment.
const MAX_OVERCROWDING: usize = 4;

/// What comes out of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A text message, joined and valid.
    Text(ByteString),
    /// A binary message, joined.
    Binary(Bytes),
    /// A ping, to be answered with [`Outbox::pong`] and the same payload.
    Ping(Bytes),
    /// A pong; whatever it carries, the peer is alive.
    Pong,
    /// The peer's close frame, valid; to be answered with [`Outbox::answer_close`]. Nothing
    /// follows.
    Close(Option<u16>),
    /// The peer broke the protocol or a limit; to be answered with [`Outbox::finish`] and this
    /// code. Nothing follows.
    Failed(CloseCode),
    /// The outbox gave up; to be answered with [`Outbox::finish`] and 4008.
    Overrun(Overrun),
}

/// Why an outbox gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overrun {
    /// More bytes waited than one outbox may hold.
    Bytes,
    /// More frames waited than one outbox may hold.
    Messages,
    /// A reliable frame waited, and the peer did not take enough within the send timeout.
    Stalled,
    /// All outboxes together held too much, and this was among the largest.
    Node,
}

/// The outbox takes no more: the connection has ended, or is about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection is closed")]
pub struct Closed;

/// What waits in an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Frames, one of which may have left in part.
    pub frames: usize,
    /// Bytes, headers included.
    pub bytes: usize,
}
