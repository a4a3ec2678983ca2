//! The move of a session from long-polling to a WebSocket.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::super::inbound::Inbound;
use super::super::message::Assembler;
use super::super::send_state::SendState;
use super::PollError;

/// A WebSocket's attempt to take a connection over; at most one at a time. Dropped, it leaves the
/// session polling.
#[derive(Debug)]
pub struct Probe {
    send_state: Arc<SendState>,
}

/// A WebSocket out of its runtime, on its way to the thread of the session that goes on with it:
/// there its readiness must wake the session's task.
#[derive(Debug)]
pub(in crate::transport) struct UpgradedSocket {
    socket: std::net::TcpStream,
    /// A message under way, and what was read and not yet taken.
    pub(in crate::transport) assembler: Assembler,
    pub(in crate::transport) pending: BytesMut,
}

// === impl Probe ===

impl Probe {
    pub(super) fn new(send_state: Arc<SendState>) -> Self {
        Self { send_state }
    }

    /// Ends the GET that waits, where one does: a client moves only between two polls. To be
    /// called again and again while the client makes up its mind, because it may just be sending
    /// the next one.
    pub fn send_noop(&self) {
        self.send_state.send_noop();
    }

    /// Whether the session has ended meanwhile.
    pub fn is_over(&self) -> bool {
        self.send_state.has_left_polling()
    }

    /// Goes on with the WebSocket whose end this is: what was posted comes before what it brings,
    /// and what waits in the outbox follows on it. What it has of an outbox of its own must have
    /// been sent.
    ///
    /// # Errors
    /// [`PollError::Ended`] where either of the two has ended; the WebSocket is cut then.
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
    /// Takes a socket out of its runtime.
    pub(in crate::transport) fn new(
        reader: OwnedReadHalf,
        writer: OwnedWriteHalf,
        assembler: Assembler,
        pending: BytesMut,
    ) -> Option<Self> {
        let socket = reader.reunite(writer).ok()?.into_std().ok()?;
        Some(Self { socket, assembler, pending })
    }

    /// Puts the socket into the runtime of this thread.
    pub(in crate::transport) fn into_split(self) -> Option<(OwnedReadHalf, OwnedWriteHalf)> {
        TcpStream::from_std(self.socket).ok().map(TcpStream::into_split)
    }
}
