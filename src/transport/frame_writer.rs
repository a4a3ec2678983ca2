//! The writing half of a connection with what waits for it: writes until nothing waits or the peer
//! takes no more, and knows whether it is still taking. Knows nothing of why a connection ends.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use smallvec::SmallVec;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use super::acked::acked;
use super::frame::Frame;
use super::pace::Pace;
use super::polling::PollState;
use super::queue::Queue;

/// The most bytes of one write: where the peer is slow, all that is written stands before what comes
/// next, in the kernel, which looks at its limit between two writes only.
const MAX_WRITE_BYTES: usize = 8 * 1024;

/// How a socket is written. On Linux each write is a record of its own: what is appended to one that
/// waits in the kernel would not be held to its limit of unsent bytes, up to 64 KiB.
#[cfg(target_os = "linux")]
pub(super) const SEND_FLAGS: MsgFlags = MsgFlags::MSG_EOR;
/// How a socket is written.
#[cfg(not(target_os = "linux"))]
pub(super) const SEND_FLAGS: MsgFlags = MsgFlags::empty();

/// Frames that one `writev` takes. More is rare in one turn, and the array lives on the stack.
const SLICES: usize = 64;

/// The most that one socket gets by the ring, in bytes and in frames: all of its sockets stay locked
/// until the last of them has its own.
const URING_MAX_BYTES: usize = 4096;
const URING_MAX_FRAMES: usize = 16;

/// The writing half of a connection.
#[derive(Debug)]
pub(super) struct FrameWriter {
    pub(super) queue: Queue,
    /// The socket took no more, or no poll waits; whoever waits for it goes on when it does.
    pub(super) blocked: bool,
    sink: Sink,
    /// How fast the peer takes what waits; none while it takes everything.
    pace: Option<Box<Pace>>,
    /// System calls so far, a call of the ring counted as one for each socket.
    #[cfg(test)]
    pub(super) writes: u32,
    /// Of them, those by the ring.
    #[cfg(test)]
    pub(super) uring_writes: u32,
    /// Whether the next write panics.
    #[cfg(test)]
    pub(super) sabotaged: bool,
    /// Whether the next send by the ring panics.
    #[cfg(test)]
    pub(super) uring_sabotaged: bool,
}

/// Where frames go.
#[derive(Debug)]
pub(super) enum Sink {
    /// A WebSocket.
    Socket(SocketWriter),
    /// What a client of long-polling asks for. Boxed: an idle WebSocket does not pay for it.
    Poll(Box<PollState>),
    /// Nowhere: the connection has ended. So a room's handle does not keep the socket.
    Gone,
}

/// Where a ping stands in what its peer takes, and how far the peer was when that was looked at last.
#[derive(Debug, Clone, Copy, Default)]
pub struct PingMark {
    /// Where the ping ends.
    end: u32,
    /// How far the peer had come.
    reached: u32,
    /// Whether it was sent before something that was pushed earlier.
    overtakes: bool,
}

/// The writing half of a socket.
#[derive(Debug)]
pub(super) struct SocketWriter {
    half: OwnedWriteHalf,
    /// The descriptor of `half`, so that a write need not look for it in tokio's memory, which
    /// nothing else of a delivery touches. As good as the half, and never handed out.
    descriptor: RawFd,
    /// How many bytes the system was given to send, as it counts itself what has arrived; modulo
    /// 2^32, which is more than may ever be under way.
    position: u32,
}

/// How far a write came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteOutcome {
    /// Nothing waits.
    All,
    /// The socket takes no more.
    Blocked,
    /// The connection is broken.
    Broken,
}

// === impl FrameWriter ===

impl FrameWriter {
    pub(super) fn new(sink: Sink, queue: Queue) -> Self {
        Self {
            queue,
            // A client of long-polling takes nothing before its first poll.
            blocked: matches!(sink, Sink::Poll(_)),
            sink,
            pace: None,
            #[cfg(test)]
            writes: 0,
            #[cfg(test)]
            uring_writes: 0,
            #[cfg(test)]
            sabotaged: false,
            #[cfg(test)]
            uring_sabotaged: false,
        }
    }

    /// Writes until nothing waits or the socket takes no more. Within `timeout` it has to take enough.
    pub(super) fn write(&mut self, timeout: Duration) -> WriteOutcome {
        if matches!(self.sink, Sink::Poll(_)) {
            return self.write_body();
        }
        while !self.queue.is_empty() {
            match self.write_once() {
                Ok(count) if count > 0 => self.advance(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    // The first look at the clock: a socket that takes everything costs none.
                    let now = Instant::now();
                    self.queue.stamp(now);
                    self.update_pace(now, timeout);
                    return WriteOutcome::Blocked;
                }
                _ => return WriteOutcome::Broken,
            }
        }
        self.blocked = false;
        self.pace = None;
        WriteOutcome::All
    }

    /// Until when what waits may wait, where that is limited: too many frames, or one that must
    /// arrive, while the peer does not take enough.
    pub(super) fn send_deadline(&self, timeout: Duration) -> Option<Instant> {
        let waiting = self.queue.waiting_since().map(|since| match &self.sink {
            Sink::Poll(poll_state) => poll_state.fetch_deadline().map_or(since, |by| by.max(since)),
            _ => self.pace.as_ref().map_or(since, |pace| pace.since().max(since)),
        });
        let crowded = self.pace.as_ref().and_then(|pace| pace.crowded);
        waiting.into_iter().chain(crowded).min().map(|since| since + timeout)
    }

    /// Looks whether the peer has taken enough since it was looked at before.
    pub(super) fn update_pace(&mut self, now: Instant, timeout: Duration) {
        let taken = self.taken();
        self.pace_from(now, taken).observe(now, taken, timeout);
    }

    /// The pace of a peer; where it has none yet, from now on.
    fn pace_from(&mut self, now: Instant, taken: u32) -> &mut Pace {
        self.pace.get_or_insert_with(|| Box::new(Pace::new(now, taken)))
    }

    /// How many bytes the peer has taken, modulo 2^32.
    fn taken(&self) -> u32 {
        if let Sink::Socket(socket) = &self.sink { socket.reached() } else { 0 }
    }

    /// Notes that more frames wait than should, or no longer; says whether they just begin to.
    pub(super) fn set_overcrowded(&mut self, is_crowded: bool) -> bool {
        if !is_crowded {
            if let Some(pace) = &mut self.pace {
                pace.crowded = None;
            }
            return false;
        }
        let now = Instant::now();
        let taken = self.taken();
        let pace = self.pace_from(now, taken);
        let begins = pace.crowded.is_none();
        pace.crowded.get_or_insert(now);
        begins
    }

    /// Takes out what was written.
    pub(super) fn advance(&mut self, count: usize) {
        self.queue.advance(count);
        if let Sink::Socket(socket) = &mut self.sink {
            socket.position = socket.position.wrapping_add(modulo(count));
        }
    }

    /// Adds a ping, unless one waits; before all that waits for a socket that takes no more.
    pub(super) fn push_ping(&mut self, frame: Frame) -> Option<PingMark> {
        let overtakes = self.blocked && !self.queue.is_empty();
        let until = self.queue.push_ping(frame, self.blocked)?;
        let Sink::Socket(socket) = &self.sink else {
            return Some(PingMark { overtakes, ..PingMark::default() });
        };
        let end = socket.position.wrapping_add(modulo(until));
        Some(PingMark { end, reached: socket.reached(), overtakes })
    }

    /// Whether the peer is still on its way to a ping, and has come nearer to it since this was asked
    /// before.
    pub(super) fn is_still_receiving(&self, ping: &mut PingMark, now: Instant) -> bool {
        match &self.sink {
            Sink::Poll(poll_state) => poll_state.fetch_deadline().is_some_and(|by| now < by),
            Sink::Socket(socket) => {
                let before = std::mem::replace(&mut ping.reached, socket.reached());
                let (moved, left) =
                    (ping.reached.wrapping_sub(before), ping.end.wrapping_sub(ping.reached));
                // What lies behind is, modulo 2^32, far ahead.
                moved > 0 && left > 0 && left <= u32::MAX / 2
            }
            Sink::Gone => false,
        }
    }

    /// The socket, where it can be written and what waits may go by the ring.
    pub(super) fn uring_socket(&self) -> Option<RawFd> {
        let is_little = (1..=URING_MAX_BYTES).contains(&self.queue.bytes())
            && self.queue.len() <= URING_MAX_FRAMES;
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
        let flags = SEND_FLAGS.bits();
        if let Some(frame) = self.queue.single_frame() {
            let frame = &frame[..frame.len().min(MAX_WRITE_BYTES)];
            // The usual case goes by tokio's bookkeeping. What the socket does not take, tokio has to
            // know, and try itself.
            match send(socket.descriptor, frame, SEND_FLAGS) {
                Err(Errno::EAGAIN) => socket.try_send(|to| to.send_with_flags(frame, flags)),
                sent => sent.map_err(io::Error::from),
            }
        } else {
            let slices: SmallVec<[_; SLICES]> =
                self.queue.first_bytes(MAX_WRITE_BYTES).take(SLICES).collect();
            socket.try_send(|to| to.send_vectored_with_flags(&slices, flags))
        }
    }

    /// Answers the poll that waits with what waits for it.
    fn write_body(&mut self) -> WriteOutcome {
        let Sink::Poll(poll_state) = &mut self.sink else { return WriteOutcome::Broken };
        poll_state.answer(&mut self.queue, Instant::now());
        self.blocked = !poll_state.has_pending_get();
        if self.queue.is_empty() {
            return WriteOutcome::All;
        }
        self.queue.stamp(Instant::now());
        WriteOutcome::Blocked
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
    pub(super) fn poll_state(&mut self) -> Option<&mut PollState> {
        if let Sink::Poll(poll_state) = &mut self.sink { Some(poll_state) } else { None }
    }

    /// Whether the connection has ended.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.sink, Sink::Gone)
    }

    /// Goes on with another sink; the old one.
    pub(super) fn replace(&mut self, sink: Sink) -> Sink {
        self.blocked = matches!(sink, Sink::Poll(_));
        self.pace = None;
        std::mem::replace(&mut self.sink, sink)
    }

    /// Tells the peer that nothing follows.
    pub(super) fn shutdown_write(&self) {
        if let Sink::Socket(socket) = &self.sink {
            let _ = SockRef::from(socket.stream()).shutdown(Shutdown::Write);
        }
    }

    /// Drops what waits and gives the socket back. What a client of long-polling had posted stays
    /// until the end is final: as what a broken socket had received, it may still be read.
    pub(super) fn close_sink(&mut self, is_final: bool) {
        self.queue = Queue::default();
        self.blocked = false;
        if let Sink::Poll(poll_state) = &mut self.sink
            && !is_final
        {
            poll_state.end();
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

// === impl SocketWriter ===

impl SocketWriter {
    /// How much the peer has received of all that the system was given to send; where that is not
    /// told, how much that was.
    fn reached(&self) -> u32 {
        acked(self.stream()).unwrap_or(self.position)
    }

    /// Sends by tokio's bookkeeping.
    fn try_send(&self, send: impl Fn(SockRef<'_>) -> io::Result<usize>) -> io::Result<usize> {
        let stream = self.stream();
        stream.try_io(Interest::WRITABLE, || send(SockRef::from(stream)))
    }

    /// Gives the half back.
    pub(super) fn into_half(self) -> OwnedWriteHalf {
        self.half
    }

    fn stream(&self) -> &TcpStream {
        self.half.as_ref()
    }
}

impl From<OwnedWriteHalf> for SocketWriter {
    fn from(half: OwnedWriteHalf) -> Self {
        let stream: &TcpStream = half.as_ref();
        let descriptor = stream.as_raw_fd();
        // What was sent on the socket before and has not arrived is left out, which is next to nothing.
        let position = acked(stream).unwrap_or(0);
        Self { half, descriptor, position }
    }
}

// === impl PingMark ===

impl PingMark {
    /// Whether the ping was sent before something that was pushed earlier: then its pong does not say
    /// that all of that has arrived.
    pub fn overtakes(&self) -> bool {
        self.overtakes
    }
}

/// A number of bytes modulo 2^32.
#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
fn modulo(bytes: usize) -> u32 {
    bytes as u32
}
