//! The move of a connection from long-polling to a WebSocket.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::super::inbound::Inbound;
use super::super::message::Assembler;
use super::super::send_state::SendState;
use super::PollError;

/// A WebSocket's attempt to take over a connection; at most one at a time. A drop leaves the
/// connection polling.
#[derive(Debug)]
pub struct Probe {
    send_state: Arc<SendState>,
}

/// A WebSocket that was removed from its runtime, to move to the thread of the connection that
/// continues with it. There its readiness wakes the connection's task.
#[derive(Debug)]
pub(crate) struct UpgradedSocket {
    socket: std::net::TcpStream,
    /// The unfinished message, and bytes that were read and not yet taken.
    pub(crate) assembler: Assembler,
    pub(crate) pending: BytesMut,
}

// === impl Probe ===

impl Probe {
    pub(super) fn new(send_state: Arc<SendState>) -> Self {
        Self { send_state }
    }

    /// Answers the waiting GET with a noop, because a client moves only between two GETs. The
    /// caller repeats this until the client upgrades, because the client may just be sending its
    /// next GET.
    pub fn send_noop(&self) {
        self.send_state.send_noop();
    }

    /// Whether the connection has ended or moved meanwhile.
    pub fn is_over(&self) -> bool {
        self.send_state.has_left_polling()
    }

    /// Continues with the WebSocket whose receiving end is `inbound`. Posted packets come before
    /// its messages, and what waits in the outbox is sent on it. The outbox of the WebSocket itself
    /// must be empty.
    ///
    /// # Errors
    /// [`PollError::Ended`] where either connection has ended; the WebSocket is cut then.
    pub fn take_over(self, inbound: Inbound) -> Result<(), PollError> {
        let upgraded = inbound.into_upgraded_socket().ok_or(PollError::Ended)?;
        self.send_state.offer_upgrade(upgraded)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.send_state.end_probe();
    }
}

// === impl UpgradedSocket ===

impl UpgradedSocket {
    /// Removes a socket from its runtime.
    pub(crate) fn new(
        reader: OwnedReadHalf,
        writer: OwnedWriteHalf,
        assembler: Assembler,
        pending: BytesMut,
    ) -> Option<Self> {
        let socket = reader.reunite(writer).ok()?.into_std().ok()?;
        Some(Self { socket, assembler, pending })
    }

    /// Adds the socket to the runtime of this thread.
    pub(crate) fn into_split(self) -> Option<(OwnedReadHalf, OwnedWriteHalf)> {
        TcpStream::from_std(self.socket).ok().map(TcpStream::into_split)
    }
}
