//! The writing half of a connection with what waits for it: writes until nothing waits or the peer
//! takes no more. Knows nothing of why a connection ends.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::task::{Context, Poll};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use smallvec::SmallVec;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use super::polling::Mailbox;
use super::queue::Queue;

/// Frames that one `writev` takes. More is rare in one turn, and the array lives on the stack.
const SLICES: usize = 64;

/// The most that one socket gets by a batch, in bytes and in frames: all of its sockets stay locked
/// until the last of them has its own.
const BATCHED_BYTES: usize = 4096;
const BATCHED_FRAMES: usize = 16;

/// The writing half of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) queue: Queue,
    /// The socket took no more, or no poll waits; whoever waits for it goes on when it does.
    pub(super) blocked: bool,
    sink: Sink,
    /// System calls so far, a batch counted as one for each of its sockets.
    #[cfg(test)]
    pub(super) writes: u32,
    /// Of them, batches.
    #[cfg(test)]
    pub(super) batched: u32,
    /// Whether the next write panics.
    #[cfg(test)]
    pub(super) sabotaged: bool,
    /// Whether the next batch panics.
    #[cfg(test)]
    pub(super) batch_sabotaged: bool,
}

/// Where frames go.
#[derive(Debug)]
pub(super) enum Sink {
    /// A WebSocket.
    Socket(Writer),
    /// What a client of long-polling asks for. Boxed: an idle WebSocket does not pay for it.
    Poll(Box<Mailbox>),
    /// Nowhere: the connection has ended. So a room's handle does not keep the socket.
    Gone,
}

/// The writing half of a socket.
#[derive(Debug)]
pub(super) struct Writer {
    half: OwnedWriteHalf,
    /// The descriptor of `half`, so that a write need not look for it in tokio's memory, which
    /// nothing else of a delivery touches. As good as the half, and never handed out.
    descriptor: RawFd,
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
    pub(super) fn new(sink: Sink, queue: Queue) -> Self {
        Self {
            queue,
            // A client of long-polling takes nothing before its first poll.
            blocked: matches!(sink, Sink::Poll(_)),
            sink,
            #[cfg(test)]
            writes: 0,
            #[cfg(test)]
            batched: 0,
            #[cfg(test)]
            sabotaged: false,
            #[cfg(test)]
            batch_sabotaged: false,
        }
    }

    /// Writes until nothing waits or the socket takes no more.
    pub(super) fn write(&mut self) -> Written {
        if matches!(self.sink, Sink::Poll(_)) {
            return self.write_body();
        }
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

    /// The socket, where it can be written and what waits may go by a batch.
    pub(super) fn ready(&self) -> Option<RawFd> {
        let is_little =
            (1..=BATCHED_BYTES).contains(&self.queue.bytes()) && self.queue.len() <= BATCHED_FRAMES;
        #[cfg(test)]
        if self.sabotaged {
            return None;
        }
        match &self.sink {
            Sink::Socket(socket) if !self.blocked && is_little => Some(socket.descriptor),
            _ => None,
        }
    }

    fn write_once(&mut self) -> io::Result<usize> {
        #[cfg(test)]
        {
            self.writes += 1;
            assert!(!self.sabotaged, "a write that a test made panic");
        }
        let Sink::Socket(socket) = &self.sink else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        if let Some(frame) = self.queue.only() {
            // The usual case goes by tokio's bookkeeping. What the socket does not take, tokio has to
            // know, and try itself.
            match send(socket.descriptor, frame, MsgFlags::empty()) {
                Err(Errno::EAGAIN) => socket.half.try_write(frame),
                sent => sent.map_err(io::Error::from),
            }
        } else {
            let slices: SmallVec<[_; SLICES]> = self.queue.slices().take(SLICES).collect();
            socket.half.try_write_vectored(&slices)
        }
    }

    /// Answers the poll that waits with what waits for it.
    fn write_body(&mut self) -> Written {
        let Sink::Poll(mailbox) = &mut self.sink else { return Written::Broken };
        mailbox.answer(&mut self.queue);
        self.blocked = !mailbox.is_polled();
        if self.queue.is_empty() {
            return Written::All;
        }
        self.queue.stamp(Instant::now());
        Written::Blocked
    }

    /// Whether the socket takes more; has the task woken when it does. A poll that comes goes on
    /// by itself.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.sink {
            Sink::Socket(socket) => socket.stream().poll_write_ready(cx),
            Sink::Poll(_) => Poll::Pending,
            Sink::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// What a client of long-polling left, where the connection is one.
    pub(super) fn mailbox(&mut self) -> Option<&mut Mailbox> {
        if let Sink::Poll(mailbox) = &mut self.sink { Some(mailbox) } else { None }
    }

    /// Whether the connection has ended.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.sink, Sink::Gone)
    }

    /// Goes on with another sink; the old one.
    pub(super) fn replace(&mut self, sink: Sink) -> Sink {
        self.blocked = matches!(sink, Sink::Poll(_));
        std::mem::replace(&mut self.sink, sink)
    }

    /// Tells the peer that nothing follows.
    pub(super) fn shut(&self) {
        if let Sink::Socket(socket) = &self.sink {
            let _ = SockRef::from(socket.stream()).shutdown(Shutdown::Write);
        }
    }

    /// Drops what waits and gives the socket back. What a client of long-polling had posted stays
    /// until the end is final: as what a broken socket had received, it may still be read.
    pub(super) fn cut(&mut self, is_final: bool) {
        self.queue = Queue::default();
        self.blocked = false;
        if let Sink::Poll(mailbox) = &mut self.sink
            && !is_final
        {
            mailbox.end();
            return;
        }
        if let Sink::Socket(socket) = self.replace(Sink::Gone) {
            // Both ways, so that the reading half sees its end as well.
            let _ = SockRef::from(socket.stream()).shutdown(Shutdown::Both);
            // Its drop would say the same a second time.
            socket.half.forget();
        }
    }
}

// === impl Writer ===

impl Writer {
    /// Gives the half back.
    pub(super) fn into_half(self) -> OwnedWriteHalf {
        self.half
    }

    fn stream(&self) -> &TcpStream {
        self.half.as_ref()
    }
}

impl From<OwnedWriteHalf> for Writer {
    fn from(half: OwnedWriteHalf) -> Self {
        let descriptor = AsRef::<TcpStream>::as_ref(&half).as_raw_fd();
        Self { half, descriptor }
    }
}
