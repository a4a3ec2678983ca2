//! What a client of long-polling and its session leave for each other. Lives under the lock of the
//! line, and knows nothing of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::header::OpCode;
use super::super::pace::fetch_time;
use super::super::queue::Queue;
use super::post::Posted;
use super::probe::Heir;
use crate::protocol::close::CloseCode;
use crate::protocol::socketio::{engine, payload};

/// The most packets of one answer: python-engineio refuses an answer that has more.
const MAX_PACKETS: usize = 16;
/// The most bytes of one answer, unless its first packet alone is larger; the rest waits for the
/// next poll.
const MAX_BODY: usize = 64 * 1024;
/// The same for a client that is so slow that a ping would come too late behind more.
const SLOW_BODY: usize = 8 * 1024;
/// How long a client should have to fetch an answer.
const FETCH_TIME: Duration = Duration::from_secs(8);
/// The smallest answer that tells how fast a client is.
const TELLING: usize = 2 * 1024;

/// What is left for either side.
#[derive(Debug, Default)]
pub(in crate::transport) struct Mailbox {
    /// The GET that waits.
    waiter: Option<oneshot::Sender<Bytes>>,
    /// Who waits for the next GET to come.
    expecting: Option<oneshot::Sender<()>>,
    /// Whether a POST is under way, from its head until the session has taken all that it brought.
    pub(super) posting: bool,
    /// What a POST brought, until the session's task takes it.
    pub(super) posted: Option<Posted>,
    served: Served,
    /// How the client broke the protocol, until the session has heard.
    failed: Option<CloseCode>,
    /// A second GET came while one waited.
    pub(super) overlapped: bool,
    /// Told when a poll has brought the end to a client that broke the protocol.
    told: Option<oneshot::Sender<()>>,
    /// How far the client is on its way to a WebSocket.
    pub(super) upgrade: Upgrade,
    /// The WebSocket, until the session's task takes it.
    pub(super) heir: Option<Box<Heir>>,
    /// When the last answer was given, and its bytes.
    answered: Option<(Instant, usize)>,
    /// Whether the client is slow.
    slow: bool,
}

/// Which requests are served.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Served {
    #[default]
    All,
    /// The client broke the protocol: polls, until one has brought what its session says last.
    Polls,
    Nothing,
}

/// How far a client is on its way to a WebSocket.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upgrade {
    /// It polls.
    #[default]
    None,
    /// A WebSocket is tried.
    Probing,
    /// It has moved.
    Done,
}

/// What the session's task finds.
#[derive(Debug)]
pub(in crate::transport) enum Mail {
    /// Packets of a POST.
    Posted(Posted),
    /// The client broke the protocol.
    Failed(CloseCode),
    /// The client is gone.
    Ended,
    /// Nothing yet.
    None,
}

// === impl Mailbox ===

impl Mailbox {
    /// Lets a GET wait; none where one waits already.
    pub(super) fn wait(&mut self) -> Option<oneshot::Receiver<Bytes>> {
        if self.is_polled() {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.waiter = Some(sender);
        self.has_fetched(Instant::now());
        if let Some(expecting) = self.expecting.take() {
            // Whoever waited may have gone on without it.
            let _ = expecting.send(());
        }
        Some(receiver)
    }

    /// Resolves when a GET comes; none where one waits already.
    pub(super) fn expect(&mut self) -> Option<oneshot::Receiver<()>> {
        if self.is_polled() {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.expecting = Some(sender);
        Some(receiver)
    }

    /// Whether a GET waits.
    pub(in crate::transport) fn is_polled(&self) -> bool {
        self.waiter.is_some()
    }

    /// Answers the GET that waits with as much of the queue as one answer holds.
    pub(in crate::transport) fn answer(&mut self, queue: &mut Queue, now: Instant) {
        let most = if self.slow { SLOW_BODY } else { MAX_BODY };
        if self.is_polled()
            && let Some(body) = body(queue, most)
        {
            self.answered = Some((now, body.len()));
            self.say(body);
        }
    }

    /// By when the client must have fetched the last answer; none where it has. It is not to be taken
    /// for gone before, however slow its line is: what is told to it meanwhile waits.
    pub(in crate::transport) fn fetched_by(&self) -> Option<Instant> {
        self.answered.map(|(at, bytes)| at + fetch_time(bytes))
    }

    /// The client asks for more.
    fn has_fetched(&mut self, now: Instant) {
        if let Some((at, bytes)) = self.answered.take()
            && bytes >= TELLING
        {
            let in_time = FETCH_TIME * u32::try_from(bytes / TELLING).unwrap_or(u32::MAX);
            let all = u32::try_from(MAX_BODY / TELLING).unwrap_or(u32::MAX);
            // At this rate the largest answer would take longer than it should.
            self.slow = now.saturating_duration_since(at) > in_time / all;
        }
    }

    /// Ends the GET that waits with nothing.
    pub(super) fn nudge(&mut self) {
        self.say(Bytes::from_static(engine::NOOP.as_bytes()));
    }

    fn say(&mut self, body: Bytes) {
        if let Some(waiter) = self.waiter.take() {
            // A GET that has gone away says so itself.
            let _ = waiter.send(body);
            if let Some(told) = self.told.take() {
                // Whoever waited may have gone on without it.
                let _ = told.send(());
            }
        }
    }

    /// What the session's task takes next. Only a POST that was whole counts: what was left of it
    /// comes even before the failure of a later request.
    pub(in crate::transport) fn take(&mut self) -> Mail {
        if let Some(posted) = self.posted.take() {
            return Mail::Posted(posted);
        }
        match self.failed.take() {
            Some(code) => Mail::Failed(code),
            None if self.has_ended() => Mail::Ended,
            None => Mail::None,
        }
    }

    /// Whether requests are no longer served.
    pub(super) fn has_ended(&self) -> bool {
        self.served == Served::Nothing
    }

    /// Whether the client broke the protocol.
    pub(super) fn has_failed(&self) -> bool {
        self.served == Served::Polls
    }

    /// The client broke the protocol: the session hears of it, and what that says last is all that is
    /// served. Resolves when a poll has brought it.
    pub(super) fn fail(&mut self, code: CloseCode) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        if self.served == Served::All {
            self.served = Served::Polls;
            self.failed = Some(code);
            self.told = Some(sender);
        }
        receiver
    }

    /// The session says nothing more. Two GETs at once are the one mistake after which the first one is
    /// to hear of the end even so (the official suite of Engine.IO asks for it).
    pub(in crate::transport) fn fall_silent(&mut self) {
        if self.overlapped {
            self.say(Bytes::from_static(engine::CLOSE.as_bytes()));
        }
    }

    /// The client said that it ends the session.
    pub(super) fn leave(&mut self) {
        self.nudge();
        self.served = Served::Nothing;
    }

    /// The client is gone, or must go.
    pub(in crate::transport) fn end(&mut self) {
        self.waiter = None;
        self.told = None;
        self.expecting = None;
        self.heir = None;
        self.served = Served::Nothing;
    }

    /// Whether nobody will hear what is said last.
    pub(in crate::transport) fn is_deaf(&self, given_up: bool) -> bool {
        self.has_ended() || given_up && !self.is_polled()
    }

    /// Whether a WebSocket is here to go on with.
    pub(in crate::transport) fn has_moved(&self) -> bool {
        self.heir.is_some()
    }
}

/// The body of an answer: packets from the front of the queue. What only a WebSocket has is left
/// out, so there may be nothing to say.
fn body(queue: &mut Queue, most: usize) -> Option<Bytes> {
    let mut body = Vec::new();
    let mut packets = 0;
    while packets < MAX_PACKETS
        && let Some(frame) = queue.front()
    {
        let data = frame.payload();
        let opcode = frame.opcode();
        let length = match opcode {
            Some(OpCode::Text) => data.len(),
            Some(OpCode::Binary) => 1 + payload::encoded_length(data.len()),
            Some(OpCode::Close) => engine::CLOSE.len(),
            _ => 0,
        };
        if !body.is_empty() && body.len() + 1 + length > most {
            break;
        }
        // The end has an answer of its own: stock clients act on it before they hand on what came
        // with it, and what the hub says last would come to an app that believes to be cut off.
        if !body.is_empty() && opcode == Some(OpCode::Close) {
            break;
        }
        packets += usize::from(length > 0);
        match opcode {
            Some(OpCode::Text) => payload::write_text(data, &mut body),
            Some(OpCode::Binary) => payload::write_binary(data, &mut body),
            Some(OpCode::Close) => payload::write_text(engine::CLOSE.as_bytes(), &mut body),
            _ => {}
        }
        queue.pop();
    }
    (!body.is_empty()).then(|| body.into())
}
