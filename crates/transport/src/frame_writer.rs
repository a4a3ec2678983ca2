//! The writing half of a connection with its queue. It writes until the queue is empty or the peer
//! takes no more, and measures how fast the peer takes bytes. It does not know why a connection
//! ends.

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

/// The most bytes of one write. The kernel checks its limit of unsent bytes only between writes, so
/// with a slow peer all bytes of one write delay what is sent next.
const MAX_WRITE_BYTES: usize = 8 * 1024;

/// Flags of each send. On Linux each write becomes a record of its own: the kernel would append up
/// to 64 KiB to a waiting record without checking the limit of unsent bytes.
#[cfg(target_os = "linux")]
pub(super) const SEND_FLAGS: MsgFlags = MsgFlags::MSG_EOR;
/// Flags of each send.
#[cfg(not(target_os = "linux"))]
pub(super) const SEND_FLAGS: MsgFlags = MsgFlags::empty();

/// Frames that one `writev` takes. One turn rarely has more, and the array lives on the stack.
const SLICES: usize = 64;

/// The most bytes and frames that the ring sends to one socket. All sockets of a ring call stay
/// locked until the last is written.
const URING_MAX_BYTES: usize = 4096;
const URING_MAX_FRAMES: usize = 16;

/// The writing half of a connection.
#[derive(Debug)]
pub(super) struct FrameWriter {
    pub(super) queue: Queue,
    /// The socket takes no more, or no GET waits. The connection's task continues when that
    /// changes.
    pub(super) blocked: bool,
    sink: Sink,
    /// How fast the peer takes what waits; `None` while it takes everything.
    pace: Option<Box<Pace>>,
    /// System calls so far. A call of the ring counts once for each socket.
    #[cfg(test)]
    pub(super) writes: u32,
    /// How many of these were calls of the ring.
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
    /// The GETs of a client that polls. Boxed, so that an idle WebSocket does not pay for it.
    Poll(Box<PollState>),
    /// Nowhere: the connection has ended. A handle that a room still holds does not keep the
    /// socket.
    Gone,
}

/// The position of a ping in the bytes sent, and how far the peer was at the last check.
#[derive(Debug, Clone, Copy, Default)]
pub struct SentPing {
    /// The position of the ping's last byte.
    end: u32,
    /// How far the peer had received at the last check.
    reached: u32,
    /// Whether the ping was sent before frames that were pushed earlier.
    overtakes: bool,
}

/// The writing half of a socket.
#[derive(Debug)]
pub(super) struct SocketWriter {
    half: OwnedWriteHalf,
    /// The descriptor of `half`. Reading it here avoids a look into tokio's memory, which a
    /// delivery does not touch otherwise. Valid as long as the half, and never given out.
    descriptor: RawFd,
    /// The position up to which the system was given bytes to send, in the count of [`acked`]:
    /// modulo 2^32, which is more than can be in flight.
    position: u32,
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteOutcome {
    /// The queue is empty.
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
            // A client that polls takes nothing before its first GET.
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

    /// Writes until nothing waits or the socket takes no more. The peer must take enough within
    /// `timeout`.
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
                    // The first read of the clock: a socket that takes everything costs none.
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

    /// When the connection is given up if the peer goes on taking too little; `None` where neither
    /// a reliable frame nor too many frames wait.
    pub(super) fn send_deadline(&self, timeout: Duration) -> Option<Instant> {
        let waiting = self.queue.waiting_since().map(|since| match &self.sink {
            Sink::Poll(poll_state) => poll_state.fetch_deadline().map_or(since, |by| by.max(since)),
            _ => self.pace.as_ref().map_or(since, |pace| pace.since().max(since)),
        });
        let crowded = self.pace.as_ref().and_then(|pace| pace.crowded);
        waiting.into_iter().chain(crowded).min().map(|since| since + timeout)
    }

    /// Checks whether the peer has taken enough since the last check.
    pub(super) fn update_pace(&mut self, now: Instant, timeout: Duration) {
        let taken = self.taken();
        self.pace_from(now, taken).observe(now, taken, timeout);
    }

    /// The pace of a peer. Measuring starts now where there is no pace yet.
    fn pace_from(&mut self, now: Instant, taken: u32) -> &mut Pace {
        self.pace.get_or_insert_with(|| Box::new(Pace::new(now, taken)))
    }

    /// The bytes that the peer has taken, modulo 2^32.
    fn taken(&self) -> u32 {
        if let Sink::Socket(socket) = &self.sink { socket.reached() } else { 0 }
    }

    /// Notes whether the queue holds more frames than its limit. Returns whether that has just
    /// begun.
    pub(super) fn set_overcrowded(&mut self, is_crowded: bool) -> bool {
        if !is_crowded {
            if let Some(pace) = &mut self.pace {
                pace.crowded = None;
            }
            return false;
        }
        if self.pace.as_ref().is_some_and(|pace| pace.crowded.is_some()) {
            return false;
        }
        let now = Instant::now();
        let taken = self.taken();
        self.pace_from(now, taken).crowded = Some(now);
        true
    }

    /// Removes the first `count` bytes from the queue.
    pub(super) fn advance(&mut self, count: usize) {
        self.queue.advance(count);
        if let Sink::Socket(socket) = &mut self.sink {
            socket.position = socket.position.wrapping_add(modulo(count));
        }
    }

    /// Adds a ping unless one waits. If the socket takes no more, the ping goes before all waiting
    /// frames.
    pub(super) fn push_ping(&mut self, frame: Frame) -> Option<SentPing> {
        let overtakes = self.blocked && !self.queue.is_empty();
        let until = self.queue.push_ping(frame, self.blocked)?;
        let Sink::Socket(socket) = &self.sink else {
            return Some(SentPing { overtakes, ..SentPing::default() });
        };
        let end = socket.position.wrapping_add(modulo(until));
        Some(SentPing { end, reached: socket.reached(), overtakes })
    }

    /// Whether the peer has not reached the ping yet, and has come nearer to it since the last
    /// check.
    pub(super) fn is_still_receiving(&self, ping: &mut SentPing, now: Instant) -> bool {
        match &self.sink {
            Sink::Poll(poll_state) => poll_state.fetch_deadline().is_some_and(|by| now < by),
            Sink::Socket(socket) => {
                let before = std::mem::replace(&mut ping.reached, socket.reached());
                let (moved, left) =
                    (ping.reached.wrapping_sub(before), ping.end.wrapping_sub(ping.reached));
                // A position already passed is, modulo 2^32, far ahead.
                moved > 0 && left > 0 && left <= u32::MAX / 2
            }
            Sink::Gone => false,
        }
    }

    /// The socket, if it can be written and the ring may send what waits.
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
            // The usual case bypasses tokio's readiness. If the socket takes nothing, tokio must
            // know that and try itself.
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

    /// Answers the waiting GET with what waits in the queue.
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

    /// Polls until the socket takes more, and registers the task for that. A new GET writes by
    /// itself.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.sink {
            Sink::Socket(socket) => socket.stream().poll_write_ready(cx),
            Sink::Poll(_) => Poll::Pending,
            Sink::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// The state of long-polling, where the client polls.
    pub(super) fn poll_state(&mut self) -> Option<&mut PollState> {
        if let Sink::Poll(poll_state) = &mut self.sink { Some(poll_state) } else { None }
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.sink, Sink::Gone)
    }

    /// Replaces the sink; returns the old one.
    pub(super) fn replace(&mut self, sink: Sink) -> Sink {
        self.blocked = matches!(sink, Sink::Poll(_));
        self.pace = None;
        std::mem::replace(&mut self.sink, sink)
    }

    /// Closes the writing direction of the socket.
    pub(super) fn shutdown_write(&self) {
        if let Sink::Socket(socket) = &self.sink {
            let _ = SockRef::from(socket.stream()).shutdown(Shutdown::Write);
        }
    }

    /// Drops what waits and releases the socket. Packets that a polling client posted stay until
    /// the end is final: they may still be read, like bytes that a broken socket has received.
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
            // Both directions, so that the reading half also ends.
            let _ = SockRef::from(socket.stream()).shutdown(Shutdown::Both);
            // The half's drop would shut down a second time.
            socket.half.forget();
        }
    }
}

// === impl SocketWriter ===

impl SocketWriter {
    /// How much the peer has received of all bytes given to the system. Where the system does not
    /// count that, all bytes given.
    fn reached(&self) -> u32 {
        acked(self.stream()).unwrap_or(self.position)
    }

    /// Sends through tokio's readiness.
    fn try_send(&self, send: impl Fn(SockRef<'_>) -> io::Result<usize>) -> io::Result<usize> {
        let stream = self.stream();
        stream.try_io(Interest::WRITABLE, || send(SockRef::from(stream)))
    }

    /// Returns the tokio half.
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
        // Ignores what was sent on the socket before and has not arrived, which is next to nothing.
        let position = acked(stream).unwrap_or(0);
        Self { half, descriptor, position }
    }
}

// === impl SentPing ===

impl SentPing {
    /// Whether the ping was sent before frames that were pushed earlier. Then its pong does not
    /// prove that these have arrived.
    pub fn overtakes(&self) -> bool {
        self.overtakes
    }
}

/// A number of bytes modulo 2^32.
#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
fn modulo(bytes: usize) -> u32 {
    bytes as u32
}
