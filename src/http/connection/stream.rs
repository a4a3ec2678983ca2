//! The socket of an HTTP connection, as its parser sees it: one head at a time, and bodies as they
//! are requested.
//!
//! The parser of actix reads everything that comes: 128 KiB of a head, of a body that no route
//! reads, or of pipelined requests. This stream passes on a head when it is complete and not too
//! long, a body while a route reads it, and the next head when the answer is sent.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::head::{self, MAX_HEAD, ParsedHead};
use super::state::{Body, HttpConnection, Reading};
use transport::acked;

/// The first read of a head: most heads are shorter.
const FIRST_READ: usize = 1024;
const NEXT_READ: usize = 4096;

/// The kernel's send buffer for a large answer, the same as for a WebSocket: by default the kernel
/// buffers megabytes.
const SEND_BUFFER: usize = 128 * 1024;
/// Below this many unsent bytes the kernel accepts more, so that a slow reader's progress shows.
#[cfg(target_os = "linux")]
const NOTSENT_LOWAT: u32 = 16 * 1024;
/// Answers up to this size always fit the kernel's buffer.
const SMALL_ANSWER: usize = 8 * 1024;

/// The socket of an HTTP connection.
pub struct HttpStream {
    /// `None` after it was handed over.
    stream: Option<TcpStream>,
    connection: Rc<HttpConnection>,
    /// Bytes that were read and not handed over yet.
    buffer: BytesMut,
    /// How many of these bytes are for the parser now.
    due: usize,
    /// How many of these bytes were searched for the end of a head.
    searched: usize,
    /// Bytes of a head, and of empty lines before it, since the last request.
    passed: usize,
    /// Bytes given to the kernel to send, modulo 2^32. Used where the kernel does not tell how many
    /// have arrived.
    written: u32,
    /// Whether the kernel's send buffer is bounded.
    is_bounded: bool,
    /// Whether the peer has sent bytes before their turn.
    is_ahead: bool,
}

// === impl HttpStream ===

impl HttpStream {
    pub(super) fn new(stream: TcpStream, connection: Rc<HttpConnection>) -> Self {
        Self {
            stream: Some(stream),
            connection,
            buffer: BytesMut::new(),
            due: 0,
            searched: 0,
            passed: 0,
            written: 0,
            is_bounded: false,
            is_ahead: false,
        }
    }

    /// The state that the routes share with this stream.
    pub fn connection(&self) -> &Rc<HttpConnection> {
        &self.connection
    }

    /// The socket, and bytes after the request. `None` if it was handed over before.
    pub(super) fn into_parts(mut self) -> Option<(TcpStream, BytesMut)> {
        let stream = self.stream.take()?;
        Some((stream, std::mem::take(&mut self.buffer)))
    }

    /// Resolves when the first head is complete; false if the peer closed before.
    pub(super) fn poll_first_head(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            if self.due > 0 {
                return Poll::Ready(true);
            }
            if self.connection.reading() != Reading::Head {
                return Poll::Ready(false);
            }
            match ready!(self.poll_head(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(false),
                Ok(_) => {}
            }
        }
    }

    /// Reads a head until bytes are due for the parser; 0 at the end.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            if let Some(parsed) = head::parse_head(&mut self.buffer, &mut self.searched) {
                self.searched = 0;
                return Poll::Ready(Ok(self.take_head(parsed)));
            }
            let room = if self.buffer.is_empty() { FIRST_READ } else { NEXT_READ };
            let room = room.min(MAX_HEAD + 1 - self.buffer.len().min(MAX_HEAD));
            let count = ready!(self.poll_fill(cx, room))?;
            if count == 0 {
                self.connection.peer_ended();
                return Poll::Ready(Ok(0));
            }
            // Once per head: empty lines before it are not kept, and must not restart the timeout.
            if self.passed == 0 {
                self.connection.head_began(Instant::now());
            }
            self.passed += count;
        }
    }

    fn take_head(&mut self, parsed: ParsedHead) -> usize {
        self.passed = 0;
        match parsed {
            ParsedHead::Whole { length, body } => {
                self.due = length;
                self.connection.head_ended(body);
            }
            // The parser answers with the right error.
            ParsedHead::Unreadable => {
                self.due = self.buffer.len();
                self.connection.head_ended(Body::Bytes(0));
            }
            ParsedHead::TooLong => {
                self.buffer.clear();
                self.say(HEAD_TOO_LONG_RESPONSE);
                self.connection.head_too_long(Instant::now());
            }
        }
        self.due
    }

    /// Sends an answer in place of the parser, as far as the kernel takes it at once.
    pub(super) fn say(&self, answer: &[u8]) {
        let Some(stream) = &self.stream else { return };
        if let Err(error) = SockRef::from(stream).send(answer) {
            log::debug!("a client was not told why it is refused: {error}");
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Reads into the buffer.
    fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(0)) };
        let held = self.buffer.len();
        self.buffer.resize(held + room, 0);
        let mut space = ReadBuf::new(&mut self.buffer[held..]);
        let polled = Pin::new(stream).poll_read(cx, &mut space);
        let count = space.filled().len();
        self.buffer.truncate(held + count);
        polled.map_ok(|()| count)
    }

    /// Hands over at most `most` bytes of the buffer.
    fn hand_over(&mut self, most: usize, space: &mut ReadBuf<'_>) -> usize {
        let count = most.min(self.buffer.len()).min(space.remaining());
        space.put_slice(&self.buffer[..count]);
        self.buffer.advance(count);
        if self.buffer.is_empty() {
            // An idle connection holds no memory.
            self.buffer = BytesMut::new();
        }
        count
    }

    /// Reads at most `most` bytes directly, without the buffer.
    fn poll_past_buffer(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        if !self.buffer.is_empty() {
            return Poll::Ready(Ok(self.hand_over(most, space)));
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(0)) };
        let most = most.min(space.remaining());
        let mut part = ReadBuf::new(space.initialize_unfilled_to(most));
        ready!(Pin::new(stream).poll_read(cx, &mut part))?;
        let count = part.filled().len();
        space.advance(count);
        if count == 0 {
            self.connection.peer_ended();
        }
        Poll::Ready(Ok(count))
    }

    /// Passes on a head as it comes, because the parser may already have its beginning.
    fn poll_pass(&mut self, cx: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = MAX_HEAD.saturating_sub(self.passed);
        if room == 0 {
            self.say(HEAD_TOO_LONG_RESPONSE);
            self.connection.head_too_long(Instant::now());
            return Poll::Ready(Ok(()));
        }
        let count = ready!(self.poll_past_buffer(cx, room, space))?;
        if self.passed == 0 && count > 0 {
            self.connection.head_began(Instant::now());
        }
        self.passed += count;
        Poll::Ready(Ok(()))
    }

    /// Checks whether the peer has closed its side, and reads nothing.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(())) };
        if self.is_ahead || !self.buffer.is_empty() {
            return Poll::Pending;
        }
        let mut byte = [0];
        self.is_ahead = ready!(stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)))? > 0;
        if self.is_ahead {
            return Poll::Pending;
        }
        self.connection.peer_ended();
        Poll::Ready(Ok(()))
    }

    /// Bounds the kernel's buffer for an answer.
    fn limit_send_buffer(&mut self) {
        let Some(stream) = self.stream.as_ref().filter(|_| !self.is_bounded) else { return };
        self.is_bounded = true;
        let socket = SockRef::from(stream);
        let bounded = socket.set_send_buffer_size(SEND_BUFFER);
        #[cfg(target_os = "linux")]
        let bounded = bounded.and_then(|()| socket.set_tcp_notsent_lowat(NOTSENT_LOWAT));
        if let Err(error) = bounded {
            // The peer is gone; the next write reports that.
            log::debug!("a socket's buffer cannot be bounded: {error}");
        }
    }
}

/// The answer to a head that is longer than the limit.
const HEAD_TOO_LONG_RESPONSE: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\n\
    content-type: application/problem+json\r\ncontent-length: 149\r\nconnection: close\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"Request Header Fields Too Large\",\"status\":431,\
    \"code\":\"bad_envelope\",\"detail\":\"the head of the request is over 16 KiB\"}";

impl AsyncRead for HttpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.due > 0 {
                this.due -= this.hand_over(this.due, space);
                return Poll::Ready(Ok(()));
            }
            match this.connection.reading() {
                Reading::Head if this.connection.finds_request_end() => {
                    if ready!(this.poll_head(cx))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Reading::Head => return this.poll_pass(cx, space),
                Reading::Body(most) => {
                    let count = ready!(this.poll_past_buffer(cx, most, space))?;
                    this.connection.read(count);
                    this.is_ahead = false;
                    return Poll::Ready(Ok(()));
                }
                Reading::Nothing => return this.poll_end(cx),
                Reading::End => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.len() > SMALL_ANSWER {
            this.limit_send_buffer();
        }
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let polled = Pin::new(&mut *stream).poll_write(cx, bytes);
        match &polled {
            Poll::Ready(Ok(count)) => {
                let count = u32::try_from(*count).unwrap_or(u32::MAX);
                this.written = this.written.wrapping_add(count);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let received = acked(stream).unwrap_or(this.written);
                this.connection.blocked(Instant::now(), received);
            }
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // The parser flushes when it has written everything.
        if this.connection.flushed(Instant::now()) {
            this.passed = 0;
            if std::mem::take(&mut this.is_ahead) || !this.buffer.is_empty() {
                cx.waker().wake_by_ref();
            }
        }
        match &mut this.stream {
            Some(stream) => Pin::new(stream).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for HttpStream {
    fn drop(&mut self) {
        // The connection's task makes sure that the peer can read the last answer.
        self.connection.released_socket.set(self.stream.take());
    }
}
