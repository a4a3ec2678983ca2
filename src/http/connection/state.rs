//! What an HTTP connection is doing: kept by its stream, told by the routes, timed by its task.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::admission::Admitted;

/// The body bytes that a connection reads ahead of the route that takes them.
pub(super) const READ_AHEAD: usize = 16 * 1024;

/// One second more for so many bytes that a slow reader takes of an answer.
const SLOWEST_BYTES_PER_SECOND: u32 = 1024;

/// How long a connection may take for what.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// For a head, from its first byte.
    pub head: Duration,
    /// Between an answer and the next head.
    pub idle: Duration,
    /// For the peer to take the next bytes of an answer.
    pub send: Duration,
}

/// Where a connection is in its requests. One request is served at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The next head is waited for.
    Head,
    /// A request is being answered.
    Request,
    /// The answer is made, and on its way to the peer.
    Answered,
    /// There will be no further request.
    Closing,
}

/// What is still to come of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Bytes(u64),
    /// A body whose end only its reader finds.
    Open,
}

/// What a stream may read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// The next head.
    Head,
    /// So many bytes of a body.
    Body(usize),
    /// Nothing: only the end is looked for.
    Nothing,
    /// Nothing any more.
    End,
}

/// What becomes of a connection whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// It ends as if the peer had ended it: what is under way to the peer leaves.
    Close,
    /// It is dropped.
    Abort,
}

/// A peer that does not take an answer as fast as it is written.
#[derive(Debug, Clone, Copy)]
struct Behind {
    since: Instant,
    /// How many bytes its system had received then, modulo 2^32.
    from: u32,
    /// How many it has received since.
    taken: u32,
}

/// One HTTP connection, shared by its stream, its task and the request that it serves.
pub struct Connection {
    times: Times,
    phase: Cell<Phase>,
    body: Cell<Body>,
    /// Body bytes that the route waits for.
    wanted: Cell<usize>,
    /// Whether the stream finds the ends of requests. Behind a chunked body it does not: bytes of
    /// the next head may be with the parser already.
    is_exact: Cell<bool>,
    /// When what is waited for must be there.
    deadline: Cell<Option<Instant>>,
    behind: Cell<Option<Behind>>,
    /// Whether the peer has ended its side.
    has_ended: Cell<bool>,
    /// Whether a head was longer than any that is read.
    is_too_long: Cell<bool>,
    /// Its place among the connections, which is bounded by address and user.
    pub(in crate::http) admitted: RefCell<Admitted>,
    /// The socket, once the parser is through with it.
    pub(super) left: Cell<Option<TcpStream>>,
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(admitted: Admitted, times: Times, now: Instant) -> Self {
        Self {
            times,
            phase: Cell::new(Phase::Head),
            body: Cell::new(Body::Bytes(0)),
            wanted: Cell::new(0),
            is_exact: Cell::new(true),
            deadline: Cell::new(Some(now + times.head)),
            behind: Cell::new(None),
            has_ended: Cell::new(false),
            is_too_long: Cell::new(false),
            admitted: RefCell::new(admitted),
            left: Cell::new(None),
        }
    }

    // What the stream tells and asks.

    pub(super) fn reading(&self) -> Reading {
        match (self.phase.get(), self.body.get()) {
            (Phase::Head, _) => Reading::Head,
            (Phase::Request, Body::Bytes(0)) | (Phase::Answered, _) => Reading::Nothing,
            (Phase::Request, body) => match (self.wanted.get(), body) {
                (0, _) => Reading::Nothing,
                (wanted, Body::Open) => Reading::Body(wanted),
                (wanted, Body::Bytes(left)) => {
                    Reading::Body(usize::try_from(left).unwrap_or(usize::MAX).min(wanted))
                }
            },
            (Phase::Closing, _) => Reading::End,
        }
    }

    pub(super) fn is_exact(&self) -> bool {
        self.is_exact.get()
    }

    /// The first byte of a head has come.
    pub(super) fn head_began(&self, now: Instant) {
        self.deadline.set(Some(now + self.times.head));
    }

    /// A head is longer than any that is read.
    pub(super) fn head_too_long(&self, now: Instant) {
        self.is_too_long.set(true);
        self.close(now);
    }

    pub(super) fn is_too_long(&self) -> bool {
        self.is_too_long.get()
    }

    /// A head is whole, and goes to the parser.
    pub(super) fn head_ended(&self, body: Body) {
        self.deadline.set(None);
        self.phase.set(Phase::Request);
        self.body.set(body);
        self.wanted.set(0);
        self.is_exact.set(body != Body::Open);
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

    /// No further request is served; what is under way still leaves.
    pub(super) fn close(&self, now: Instant) {
        if self.phase.get() != Phase::Closing {
            self.phase.set(Phase::Closing);
            self.deadline.set(Some(now + self.times.send));
        }
    }

    /// The peer takes no more of an answer for now; so many bytes its system has `received` in all,
    /// modulo 2^32. A queue on the way is filled at once, so what was written does not say how fast
    /// it reads.
    pub(super) fn blocked(&self, now: Instant, received: u32) {
        let mut behind =
            self.behind.get().unwrap_or(Behind { since: now, from: received, taken: 0 });
        behind.taken = received.wrapping_sub(behind.from);
        self.behind.set(Some(behind));
    }

    /// The peer has taken all that there was. True where the next head is waited for from now on.
    pub(super) fn flushed(&self, now: Instant) -> bool {
        self.behind.set(None);
        if self.phase.get() != Phase::Answered {
            return false;
        }
        self.phase.set(Phase::Head);
        self.deadline.set(Some(now + self.times.idle));
        true
    }

    // What the routes tell.

    /// A request reached the routes. Behind a body without a length this is how its head is seen.
    pub(in crate::http) fn begun(&self, has_body: bool) {
        self.deadline.set(None);
        if self.phase.get() == Phase::Request && self.is_exact.get() {
            return;
        }
        self.phase.set(Phase::Request);
        self.wanted.set(0);
        self.body.set(if has_body { Body::Open } else { Body::Bytes(0) });
    }

    /// The route waits for more of the body. True where the stream has to be asked for it.
    pub(in crate::http) fn want_more(&self) -> bool {
        self.wanted.replace(READ_AHEAD) == 0
    }

    /// The route has read the body to its end.
    pub(in crate::http) fn body_ended(&self) {
        self.body.set(Body::Bytes(0));
    }

    /// Whether nothing more of the request's body is to come.
    pub(in crate::http) fn is_read(&self) -> bool {
        self.body.get() == Body::Bytes(0)
    }

    /// The answer is made. A connection with an unread body behind it serves no further request.
    pub(in crate::http) fn answered(&self, now: Instant) {
        if self.is_read() {
            self.phase.set(Phase::Answered);
        } else {
            self.close(now);
        }
    }

    // What its task asks.

    /// When the connection must have got further.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let written = self.behind.get().map(|behind| {
            let seconds = behind.taken / SLOWEST_BYTES_PER_SECOND;
            behind.since + self.times.send + Duration::from_secs(seconds.into())
        });
        match self.phase.get() {
            // What is written decides: a slow reader may still be taking its answer.
            Phase::Closing if written.is_some() => written,
            _ => self.deadline.get().into_iter().chain(written).min(),
        }
    }

    /// The deadline has passed.
    pub(super) fn expire(&self, now: Instant) -> Expired {
        if self.behind.get().is_some() || self.phase.get() == Phase::Closing {
            return Expired::Abort;
        }
        self.close(now);
        Expired::Close
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
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
        let connection = Connection::new(Admitted::default(), TIMES, start);
        assert_eq!(connection.reading(), Reading::Head);
        assert_eq!(connection.deadline(), Some(at(start, 10)));
        connection.head_ended(Body::Bytes(0));
        connection.begun(false);
        assert_eq!((connection.reading(), connection.deadline()), (Reading::Nothing, None));
        assert!(!connection.flushed(at(start, 1)), "the answer is not there yet");
        connection.answered(at(start, 2));
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
        let connection = Connection::new(Admitted::default(), TIMES, start);
        connection.head_ended(Body::Bytes(20_000));
        connection.begun(true);
        assert_eq!(connection.reading(), Reading::Nothing);
        assert!(connection.want_more() && !connection.want_more());
        assert_eq!(connection.reading(), Reading::Body(READ_AHEAD));
        connection.read(READ_AHEAD);
        assert_eq!(connection.reading(), Reading::Nothing);
        assert!(connection.want_more() && !connection.is_read());
        assert_eq!(connection.reading(), Reading::Body(20_000 - READ_AHEAD));
        connection.read(20_000 - READ_AHEAD);
        assert!(connection.is_read());
        assert_eq!(connection.reading(), Reading::Nothing);
    }

    #[test]
    fn a_connection_with_an_unread_body_serves_no_further_request() {
        let start = Instant::now();
        for body in [Body::Bytes(1), Body::Open] {
            let connection = Connection::new(Admitted::default(), TIMES, start);
            connection.head_ended(body);
            connection.begun(true);
            connection.answered(start);
            assert_eq!(connection.reading(), Reading::End);
            assert!(!connection.flushed(start));
        }
    }

    #[test]
    fn behind_a_body_without_a_length_the_routes_tell_of_the_next_request() {
        let start = Instant::now();
        let connection = Connection::new(Admitted::default(), TIMES, start);
        connection.head_ended(Body::Open);
        connection.begun(true);
        connection.body_ended();
        connection.answered(start);
        assert!(!connection.is_exact());
        connection.begun(false);
        assert_eq!((connection.reading(), connection.is_read()), (Reading::Nothing, true));
    }

    #[test]
    fn a_reader_has_its_time_from_when_it_is_behind_and_more_for_what_it_takes() {
        let start = Instant::now();
        let connection = Connection::new(Admitted::default(), TIMES, start);
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
