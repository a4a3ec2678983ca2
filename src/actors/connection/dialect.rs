//! How the messages of a connection are framed, and what only that framing needs.

use std::time::Instant;

use crate::auth::TokenProblem;
use crate::config::AddressGroup;
use crate::permits::{KeyedPermit, Permit};
use crate::protocol::socketio::reader::PacketReader;
use crate::transport::{Frame, Outbox, PingMark};

/// The framing of one connection.
pub(super) enum Dialect {
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
    /// By when somebody must be in a namespace.
    pub(super) login_deadline: Instant,
    /// Its place among the connections that nobody uses, while nobody does.
    pub(super) unauthenticated: Option<UnauthenticatedPermit>,
}

/// A place among the connections in which nobody has logged in.
#[derive(Debug)]
pub struct UnauthenticatedPermit {
    _permit: Permit,
    /// Its part of what its address may have, where that is limited.
    _address: Option<KeyedPermit<AddressGroup>>,
}

// === impl UnauthenticatedPermit ===

impl UnauthenticatedPermit {
    /// With a part of what an address may have.
    pub fn new(permit: Permit, address: Option<KeyedPermit<AddressGroup>>) -> Self {
        Self { _permit: permit, _address: address }
    }
}

impl From<Permit> for UnauthenticatedPermit {
    /// Of a client that had a good token before.
    fn from(permit: Permit) -> Self {
        Self::new(permit, None)
    }
}

// === impl Dialect ===

impl Dialect {
    /// Asks the peer for a sign of life.
    pub(super) fn ping(&self, outbox: &Outbox) -> Option<PingMark> {
        match self {
            Self::Plain => outbox.ping(),
            Self::SocketIo(_) => outbox.ping_with(Frame::text(|out| out.push(b'2'))),
        }
    }

    /// Somebody is in a namespace.
    pub(super) fn mark_authenticated(&mut self) {
        if let Self::SocketIo(io) = self {
            io.unauthenticated = None;
        }
    }

    /// Nobody is in a namespace any more; it ends at `login_deadline`.
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

    /// The client said who it is, and has to wait: it is not to blame for the time.
    pub(super) fn extend_login_deadline(&mut self, login_deadline: Instant) {
        if let Self::SocketIo(io) = self {
            io.login_deadline = io.login_deadline.max(login_deadline);
        }
    }

    /// When a connection that nobody uses ends.
    pub(super) fn login_deadline(&self) -> Option<Instant> {
        match self {
            Self::Plain => None,
            Self::SocketIo(io) => Some(io.login_deadline),
        }
    }
}
