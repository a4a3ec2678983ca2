//! The writing half of a socket with what waits for it: writes until nothing waits or the socket
//! takes no more. Knows nothing of why a connection ends.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::task::{Context, Poll};
use std::time::Instant;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use super::queue::Queue;

/// Frames that one `writev` takes. More is rare in one turn, and the array lives on the stack.
const SLICES: usize = 64;

/// The writing half of a socket.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) queue: Queue,
    /// The socket took no more; whoever waits for it goes on when it does.
    pub(super) blocked: bool,
    /// Taken when the connection ends, so that a room's handle does not keep the socket.
    socket: Option<OwnedWriteHalf>,
    /// System calls so far.
    #[cfg(test)]
    pub(super) writes: usize,
    /// Whether the next write panics.
    #[cfg(test)]
    pub(super) sabotaged: bool,
}

/// How far a write came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing waits.
    All,
    /// The socket takes no more.
    Blocked,
    /// The connection is broken.
    Broken,
}

// === impl Wire ===

impl Wire {
    pub(super) fn new(socket: OwnedWriteHalf, queue: Queue) -> Self {
        Self {
            queue,
            blocked: false,
            socket: Some(socket),
            #[cfg(test)]
            writes: 0,
            #[cfg(test)]
            sabotaged: false,
        }
    }

    /// Writes until nothing waits or the socket takes no more.
    pub(super) fn write(&mut self) -> Written {
        while !self.queue.is_empty() {
            match self.write_once() {
                Ok(count) if count > 0 => self.queue.advance(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    // The first look at the clock: a socket that takes everything costs none.
                    self.queue.stamp(Instant::now());
                    return Written::Blocked;
                }
                _ => return Written::Broken,
            }
        }
        self.blocked = false;
        Written::All
    }

    fn write_once(&mut self) -> io::Result<usize> {
        #[cfg(test)]
        {
            self.writes += 1;
            assert!(!self.sabotaged, "a write that a test made panic");
        }
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let mut slices = [IoSlice::new(&[]); SLICES];
        match self.queue.fill(&mut slices) {
            1 => socket.try_write(&slices[0]),
            count => socket.try_write_vectored(&slices[..count]),
        }
    }

    /// Whether the socket takes more; has the task woken when it does.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.socket {
            Some(socket) => AsRef::<TcpStream>::as_ref(socket).poll_write_ready(cx),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Tells the peer that nothing follows.
    pub(super) fn shut(&self) {
        if let Some(socket) = &self.socket {
            let _ = SockRef::from(socket.as_ref()).shutdown(Shutdown::Write);
        }
    }

    /// Drops what waits and gives the socket back.
    pub(super) fn cut(&mut self) {
        self.queue = Queue::default();
        self.blocked = false;
        if let Some(socket) = self.socket.take() {
            // Both ways, so that the reading half sees its end as well.
            let _ = SockRef::from(socket.as_ref()).shutdown(Shutdown::Both);
            // Its drop would say the same a second time.
            socket.forget();
        }
    }
}
