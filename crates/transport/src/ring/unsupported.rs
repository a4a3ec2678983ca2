//! A system, or a build, that cannot send to many sockets with one call: there is no ring.

use std::io;

use super::{MAX_SENDS, SocketWrite};

/// A ring that cannot be opened.
pub(crate) enum Ring {}

impl Ring {
    pub(crate) fn open() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn send_each(
        &mut self,
        _sends: &[SocketWrite<'_>],
        _taken: &mut [usize; MAX_SENDS],
    ) -> io::Result<()> {
        match *self {}
    }
}
