//! The state of an HTTP connection. Its stream and the routes update it; its task enforces the
//! deadlines.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::limits::ConnectionSlot;

/// How many body bytes a connection reads ahead of its route.
pub(super) const READ_AHEAD: usize = 16 * 1024;

/// A slow reader gets one more second for this many bytes of an answer.
const SLOWEST_BYTES_PER_SECOND: u32 = 1024;

/// The timeouts of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a head, from its first byte.
    pub head: Duration,
    /// Between an answer and the next head.
    pub idle: Duration,
    /// For the peer to take the next bytes of an answer.
    pub send: Duration,
}

/// The phase of a connection. It serves one request at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HttpPhase {
    /// Waits for the next head.
    Head,
    /// A request is being answered.
    Request,
    /// The answer is complete and being sent.
    Answered,
    /// No further request is served.
    Closing,
}

/// The rest of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// This many bytes.
    Bytes(u64),
    /// A body whose end only its decoder finds.
    Open,
}

/// What a stream may read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// The next head.
    Head,
    /// This many bytes of a body.
    Body(usize),
    /// Nothing; it only checks for the end.
    Nothing,
    /// Nothing more, ever.
    End,
}

/// What happens to a connection that misses its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// It ends as if the peer had closed it: bytes being sent are still sent.
    Close,
    /// It is dropped.
    Abort,
}

/// A peer that takes an answer more slowly than it is written.
#[derive(Debug, Clone, Copy)]
struct WriteStall {
    since: Instant,
    /// How many bytes its system had received at `since`, modulo 2^32.
    from: u32,
    /// How many it has received since then.
    taken: u32,
}

/// The state of one HTTP connection, shared by its stream, its task and its current request.
pub struct HttpConnection {
    timeouts: Timeouts,
    phase: Cell<HttpPhase>,
    body: Cell<Body>,
    /// Body bytes that the route waits for.
    wanted: Cell<usize>,
    /// Whether the stream knows where requests end. After a chunked body it does not, because the
    /// parser may already have bytes of the next head.
    finds_request_end: Cell<bool>,
    /// The deadline of the current phase.
    deadline: Cell<Option<Instant>>,
    write_stall: Cell<Option<WriteStall>>,
    /// Whether the peer has closed its side.
    has_ended: Cell<bool>,
    /// Whether a head was longer than the limit.
    is_too_long: Cell<bool>,
    /// The connection's permits.
    pub(in crate::http) slot: RefCell<ConnectionSlot>,
    /// The socket, after the parser has released it.
    pub(super) released_socket: Cell<Option<TcpStream>>,
}

// === impl HttpConnection ===

impl HttpConnection {
    pub(super) fn new(slot: ConnectionSlot, timeouts: Timeouts, now: Instant) -> Self {
        Self {
            timeouts,
            phase: Cell::new(HttpPhase::Head),
            body: Cell::new(Body::Bytes(0)),
            wanted: Cell::new(0),
            finds_request_end: Cell::new(true),
            deadline: Cell::new(Some(now + timeouts.head)),
            write_stall: Cell::new(None),
            has_ended: Cell::new(false),
            is_too_long: Cell::new(false),
            slot: RefCell::new(slot),
            released_socket: Cell::new(None),
        }
    }

    // For the stream.

    pub(super) fn reading(&self) -> Reading {
        match (self.phase.get(), self.body.get()) {
            (HttpPhase::Head, _) => Reading::Head,
            (HttpPhase::Request, Body::Bytes(0)) | (HttpPhase::Answered, _) => Reading::Nothing,
            (HttpPhase::Request, body) => match (self.wanted.get(), body) {
                (0, _) => Reading::Nothing,
                (wanted, Body::Open) => Reading::Body(wanted),
                (wanted, Body::Bytes(left)) => {
                    Reading::Body(usize::try_from(left).unwrap_or(usize::MAX).min(wanted))
                }
            },
            (HttpPhase::Closing, _) => Reading::End,
        }
    }

    pub(super) fn finds_request_end(&self) -> bool {
        self.finds_request_end.get()
    }

    /// The first byte of a head has arrived.
    pub(super) fn head_began(&self, now: Instant) {
        self.deadline.set(Some(now + self.timeouts.head));
    }

    /// A head is longer than the limit.
    pub(super) fn head_too_long(&self, now: Instant) {
        self.is_too_long.set(true);
        self.close(now);
    }

    pub(super) fn is_too_long(&self) -> bool {
        self.is_too_long.get()
    }

    /// A head is complete and goes to the parser.
    pub(super) fn head_ended(&self, body: Body) {
        self.deadline.set(None);
        self.phase.set(HttpPhase::Request);
        self.body.set(body);
        self.wanted.set(0);
        self.finds_request_end.set(body != Body::Open);
    }

    /// Bytes of a body were read.
    pub(super) fn read(&self, count: usize) {
        self.wanted.set(self.wanted.get().saturating_sub(count));
        if let Body::Bytes(left) = self.body.get() {
            self.body.set(Body::Bytes(left.saturating_sub(count as u64)));
        }
    }

    pub(super) fn peer_ended(&self) {
        self.has_ended.set(true);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    /// Serves no further request. Bytes being sent are still sent.
    pub(super) fn close(&self, now: Instant) {
        if self.phase.get() != HttpPhase::Closing {
            self.phase.set(HttpPhase::Closing);
            self.deadline.set(Some(now + self.timeouts.send));
        }
    }

    /// The peer takes no more of an answer for now. `received` is how many bytes its system has
    /// received, modulo 2^32. The bytes written do not show how fast the peer reads, because
    /// network buffers fill at once.
    pub(super) fn blocked(&self, now: Instant, received: u32) {
        let mut write_stall =
            self.write_stall.get().unwrap_or(WriteStall { since: now, from: received, taken: 0 });
        write_stall.taken = received.wrapping_sub(write_stall.from);
        self.write_stall.set(Some(write_stall));
    }

    /// The peer has taken all bytes. True when the connection waits for the next head from now on.
    pub(super) fn flushed(&self, now: Instant) -> bool {
        self.write_stall.set(None);
        if self.phase.get() != HttpPhase::Answered {
            return false;
        }
        self.phase.set(HttpPhase::Head);
        self.deadline.set(Some(now + self.timeouts.idle));
        true
    }

    // For the routes.

    /// A request reached the routes. After a body without a length, only this shows that its head
    /// came.
    pub(in crate::http) fn request_began(&self, has_body: bool) {
        self.deadline.set(None);
        if self.phase.get() == HttpPhase::Request && self.finds_request_end.get() {
            return;
        }
        self.phase.set(HttpPhase::Request);
        self.wanted.set(0);
        self.body.set(if has_body { Body::Open } else { Body::Bytes(0) });
    }

    /// The route waits for more of the body. True when the stream has to be polled for it.
    pub(in crate::http) fn request_more_body(&self) -> bool {
        self.wanted.replace(READ_AHEAD) == 0
    }

    /// The route has read the body to its end.
    pub(in crate::http) fn body_ended(&self) {
        self.body.set(Body::Bytes(0));
    }

    /// Whether the request's body is read to its end.
    pub(in crate::http) fn is_body_read(&self) -> bool {
        self.body.get() == Body::Bytes(0)
    }

    /// The answer is complete. A connection with an unread body serves no further request.
    pub(in crate::http) fn response_ready(&self, now: Instant) {
        if self.is_body_read() {
            self.phase.set(HttpPhase::Answered);
        } else {
            self.close(now);
        }
    }

    // For the connection's task.

    /// By when the connection must make progress.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let written = self.write_stall.get().map(|write_stall| {
            let seconds = write_stall.taken / SLOWEST_BYTES_PER_SECOND;
            write_stall.since + self.timeouts.send + Duration::from_secs(seconds.into())
        });
        match self.phase.get() {
            // The written bytes decide: a slow reader may still be taking its answer.
            HttpPhase::Closing if written.is_some() => written,
            _ => self.deadline.get().into_iter().chain(written).min(),
        }
    }

    /// The deadline has passed.
    pub(super) fn expire(&self, now: Instant) -> Expired {
        if self.write_stall.get().is_some() || self.phase.get() == HttpPhase::Closing {
            return Expired::Abort;
        }
        self.close(now);
        Expired::Close
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(5),
        send: Duration::from_secs(20),
    };

    fn at(start: Instant, secs: u64) -> Instant {
        start + Duration::from_secs(secs)
    }

    #[test]
    fn requests_follow_each_other_and_each_has_its_time() {
        let start = Instant::now();
        let connection = HttpConnection::new(ConnectionSlot::default(), TIMEOUTS, start);
        assert_eq!(connection.reading(), Reading::Head);
        assert_eq!(connection.deadline(), Some(at(start, 10)));
        connection.head_ended(Body::Bytes(0));
        connection.request_began(false);
        assert_eq!((connection.reading(), connection.deadline()), (Reading::Nothing, None));
        assert!(!connection.flushed(at(start, 1)), "the answer is not there yet");
        connection.response_ready(at(start, 2));
        assert_eq!(connection.reading(), Reading::Nothing, "not before it has left");
        assert!(connection.flushed(at(start, 3)));
        assert_eq!(connection.reading(), Reading::Head);
        assert_eq!(connection.deadline(), Some(at(start, 8)));
        connection.head_began(at(start, 4));
        assert_eq!(connection.deadline(), Some(at(start, 14)));
        assert_eq!(connection.expire(at(start, 14)), Expired::Close);
        assert_eq!(connection.reading(), Reading::End);
        assert_eq!(connection.expire(at(start, 34)), Expired::Abort);
    }

    #[test]
    fn a_body_is_read_as_it_is_wanted_and_never_beyond_its_end() {
        let start = Instant::now();
        let connection = HttpConnection::new(ConnectionSlot::default(), TIMEOUTS, start);
        connection.head_ended(Body::Bytes(20_000));
        connection.request_began(true);
        assert_eq!(connection.reading(), Reading::Nothing);
        assert!(connection.request_more_body() && !connection.request_more_body());
        assert_eq!(connection.reading(), Reading::Body(READ_AHEAD));
        connection.read(READ_AHEAD);
        assert_eq!(connection.reading(), Reading::Nothing);
        assert!(connection.request_more_body() && !connection.is_body_read());
        assert_eq!(connection.reading(), Reading::Body(20_000 - READ_AHEAD));
        connection.read(20_000 - READ_AHEAD);
        assert!(connection.is_body_read());
        assert_eq!(connection.reading(), Reading::Nothing);
    }

    #[test]
    fn a_connection_with_an_unread_body_serves_no_further_request() {
        let start = Instant::now();
        for body in [Body::Bytes(1), Body::Open] {
            let connection = HttpConnection::new(ConnectionSlot::default(), TIMEOUTS, start);
            connection.head_ended(body);
            connection.request_began(true);
            connection.response_ready(start);
            assert_eq!(connection.reading(), Reading::End);
            assert!(!connection.flushed(start));
        }
    }

    #[test]
    fn behind_a_body_without_a_length_the_routes_tell_of_the_next_request() {
        let start = Instant::now();
        let connection = HttpConnection::new(ConnectionSlot::default(), TIMEOUTS, start);
        connection.head_ended(Body::Open);
        connection.request_began(true);
        connection.body_ended();
        connection.response_ready(start);
        assert!(!connection.finds_request_end());
        connection.request_began(false);
        assert_eq!((connection.reading(), connection.is_body_read()), (Reading::Nothing, true));
    }

    #[test]
    fn a_reader_has_its_time_from_when_it_is_behind_and_more_for_what_it_takes() {
        let start = Instant::now();
        let connection = HttpConnection::new(ConnectionSlot::default(), TIMEOUTS, start);
        connection.head_ended(Body::Bytes(0));
        assert_eq!(connection.deadline(), None, "it is not behind");
        connection.blocked(start, u32::MAX);
        connection.blocked(at(start, 1), u32::MAX);
        assert_eq!(connection.deadline(), Some(at(start, 20)));
        connection.blocked(at(start, 20), 10 * 1024 - 1);
        assert_eq!(connection.deadline(), Some(at(start, 30)));
        assert_eq!(connection.expire(at(start, 30)), Expired::Abort);
        connection.flushed(at(start, 31));
        assert_eq!(connection.deadline(), None);
    }
}
