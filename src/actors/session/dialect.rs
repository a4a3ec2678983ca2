//! How the messages of a connection are framed, and what only that framing needs.

use std::time::Instant;

use crate::protocol::socketio::reader::Reader;
use crate::transport::{Frame, Outbox};

/// The framing of one connection.
pub(super) enum Dialect {
    /// `{event, data, id?}`.
    Plain,
    /// Socket.IO.
    SocketIo(Box<SocketIo>),
}

/// A Socket.IO connection.
pub(super) struct SocketIo {
    pub(super) reader: Reader,
    /// The token of the request that opened it: it counts where CONNECT brings none.
    pub(super) offered: Option<Box<str>>,
    /// By when somebody must be in a namespace.
    pub(super) login_by: Instant,
}

impl Dialect {
    /// Asks the peer for a sign of life.
    pub(super) fn ping(&self, outbox: &Outbox) {
        match self {
            Self::Plain => outbox.ping(),
            Self::SocketIo(_) => outbox.ping_with(Frame::text(|out| out.push(b'2'))),
        }
    }

    /// When a connection that nobody uses ends.
    pub(super) fn login_by(&self) -> Option<Instant> {
        match self {
            Self::Plain => None,
            Self::SocketIo(io) => Some(io.login_by),
        }
    }
}
