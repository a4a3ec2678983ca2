//! The framing of a connection's messages, and the state that only that framing needs.

use std::time::Instant;

use crate::auth::TokenProblem;
use crate::config::AddressGroup;
use crate::permits::{KeyedPermit, Permit};
use protocol::socketio::reader::PacketReader;
use transport::{Frame, Outbox, SentPing};

/// The framing of one connection.
pub(super) enum ConnectionFraming {
    /// `{event, data, id?}`.
    Plain,
    /// Socket.IO.
    SocketIo(Box<SocketIoState>),
}

/// A Socket.IO connection.
pub(super) struct SocketIoState {
    pub(super) reader: PacketReader,
    /// The token of the request that opened it: it counts where CONNECT brings none.
    pub(super) handshake_token: Result<Box<str>, TokenProblem>,
    /// By when a session must be in a namespace.
    pub(super) login_deadline: Instant,
    /// The permit of an unauthenticated connection, held until it has a session.
    pub(super) unauthenticated: Option<UnauthenticatedPermit>,
}

/// The permit of an unauthenticated connection.
#[derive(Debug)]
pub struct UnauthenticatedPermit {
    _permit: Permit,
    /// The permit of its address, where addresses are limited.
    _address: Option<KeyedPermit<AddressGroup>>,
}

// === impl UnauthenticatedPermit ===

impl UnauthenticatedPermit {
    /// A permit together with one of the client's address.
    pub fn new(permit: Permit, address: Option<KeyedPermit<AddressGroup>>) -> Self {
        Self { _permit: permit, _address: address }
    }
}

impl From<Permit> for UnauthenticatedPermit {
    /// For a client that had a valid token before.
    fn from(permit: Permit) -> Self {
        Self::new(permit, None)
    }
}

// === impl ConnectionFraming ===

impl ConnectionFraming {
    /// Sends a ping.
    pub(super) fn ping(&self, outbox: &Outbox) -> Option<SentPing> {
        match self {
            Self::Plain => outbox.ping(),
            Self::SocketIo(_) => outbox.ping_with(Frame::text(|out| out.push(b'2'))),
        }
    }

    /// Releases the permit of an unauthenticated connection: its token is valid.
    pub(super) fn mark_authenticated(&mut self) {
        if let Self::SocketIo(io) = self {
            io.unauthenticated = None;
        }
    }

    /// Notes that no session is in a namespace any more. The connection ends at `login_deadline`.
    pub(super) fn mark_unauthenticated(
        &mut self,
        login_deadline: Instant,
        unauthenticated: Permit,
    ) {
        if let Self::SocketIo(io) = self {
            io.login_deadline = login_deadline;
            io.unauthenticated = Some(unauthenticated.into());
        }
    }

    /// Extends the deadline for a client that sent its token and has to wait for the hub.
    pub(super) fn extend_login_deadline(&mut self, login_deadline: Instant) {
        if let Self::SocketIo(io) = self {
            io.login_deadline = io.login_deadline.max(login_deadline);
        }
    }

    /// When a connection without a session ends.
    pub(super) fn login_deadline(&self) -> Option<Instant> {
        match self {
            Self::Plain => None,
            Self::SocketIo(io) => Some(io.login_deadline),
        }
    }
}
