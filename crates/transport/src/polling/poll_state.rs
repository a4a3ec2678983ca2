//! The state that a client's long-polling requests and its connection actor share. The lock of the
//! sending side guards it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::header::OpCode;
use super::super::pace::fetch_time;
use super::super::queue::Queue;
use super::post::PostedPackets;
use super::probe::UpgradedSocket;
use protocol::close::CloseCode;
use protocol::socketio::{engine, payload};

/// The most packets of one answer: python-engineio refuses an answer that has more.
const MAX_PACKETS: usize = 16;
/// The most bytes of one answer, unless its first packet alone is larger. The rest waits for the
/// next GET.
const MAX_BODY: usize = 64 * 1024;
/// The same limit for a slow client, for which a ping behind more bytes would come too late.
const SLOW_BODY: usize = 8 * 1024;
/// The time in which a client should fetch an answer.
const FETCH_TIME: Duration = Duration::from_secs(8);
/// The smallest answer from which a client's speed is measured.
const RATE_SAMPLE_BYTES: usize = 2 * 1024;

/// The state of a connection by long-polling.
#[derive(Debug, Default)]
pub(crate) struct PollState {
    /// The GET that waits.
    pending_get: Option<oneshot::Sender<Bytes>>,
    /// Resolves when the next GET comes.
    next_get: Option<oneshot::Sender<()>>,
    /// Whether a POST is in progress, from its head until all its packets are taken.
    pub(super) post_in_progress: bool,
    /// The packets of a POST, until the connection's task takes them.
    pub(super) posted: Option<PostedPackets>,
    served: Served,
    /// How the client broke the protocol, until the connection's task takes it.
    failed: Option<CloseCode>,
    /// A second GET came while one waited.
    pub(super) overlapped: bool,
    /// Resolves when a GET has brought the end to a client that broke the protocol.
    told: Option<oneshot::Sender<()>>,
    /// The client's progress to a WebSocket.
    pub(super) upgrade: Upgrade,
    /// The WebSocket, until the connection's task takes it.
    pub(super) upgraded: Option<Box<UpgradedSocket>>,
    /// When the last answer was sent, and its bytes, until the client has fetched it.
    answered: Option<(Instant, usize)>,
    /// Whether the client is slow.
    slow: bool,
}

/// Which requests are served.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Served {
    #[default]
    All,
    /// The client broke the protocol: only GETs, until one has brought the last frames.
    Polls,
    Nothing,
}

/// A client's progress to a WebSocket.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upgrade {
    /// The client polls.
    #[default]
    None,
    /// A WebSocket probes.
    Probing,
    /// The client has moved.
    Done,
}

/// What the connection's task takes next.
#[derive(Debug)]
pub(crate) enum PollEvent {
    /// Packets of a POST.
    Packets(PostedPackets),
    /// The client broke the protocol.
    Failed(CloseCode),
    /// The client is gone.
    Ended,
    /// Nothing yet.
    None,
}

// === impl PollState ===

impl PollState {
    /// Registers a GET that waits; `None` where one waits already.
    pub(super) fn begin_get(&mut self) -> Option<oneshot::Receiver<Bytes>> {
        if self.has_pending_get() {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.pending_get = Some(sender);
        self.note_fetched(Instant::now());
        if let Some(next_get) = self.next_get.take() {
            // The receiver may have stopped waiting.
            let _ = next_get.send(());
        }
        Some(receiver)
    }

    /// Resolves when a GET comes; `None` where one waits already.
    pub(super) fn await_next_get(&mut self) -> Option<oneshot::Receiver<()>> {
        if self.has_pending_get() {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.next_get = Some(sender);
        Some(receiver)
    }

    pub(crate) fn has_pending_get(&self) -> bool {
        self.pending_get.is_some()
    }

    /// Answers the waiting GET with as much of the queue as one answer may hold.
    pub(crate) fn answer(&mut self, queue: &mut Queue, now: Instant) {
        let most = if self.slow { SLOW_BODY } else { MAX_BODY };
        if self.has_pending_get()
            && let Some(body) = body(queue, most)
        {
            self.answered = Some((now, body.len()));
            self.answer_get(body);
        }
    }

    /// By when the client must have fetched the last answer; `None` where it has. Until then a slow
    /// client does not count as lost, and frames wait.
    pub(crate) fn fetch_deadline(&self) -> Option<Instant> {
        self.answered.map(|(at, bytes)| at + fetch_time(bytes))
    }

    /// Notes that the client has fetched the last answer, since it asks for more.
    fn note_fetched(&mut self, now: Instant) {
        if let Some((at, bytes)) = self.answered.take()
            && bytes >= RATE_SAMPLE_BYTES
        {
            let in_time = FETCH_TIME * u32::try_from(bytes / RATE_SAMPLE_BYTES).unwrap_or(u32::MAX);
            let all = u32::try_from(MAX_BODY / RATE_SAMPLE_BYTES).unwrap_or(u32::MAX);
            // At this rate the largest answer would take longer than `FETCH_TIME`.
            self.slow = now.saturating_duration_since(at) > in_time / all;
        }
    }

    /// Answers the waiting GET with a noop.
    pub(super) fn send_noop(&mut self) {
        self.answer_get(Bytes::from_static(engine::NOOP.as_bytes()));
    }

    fn answer_get(&mut self, body: Bytes) {
        if let Some(pending_get) = self.pending_get.take() {
            // A dropped GET reports that itself.
            let _ = pending_get.send(body);
            if let Some(told) = self.told.take() {
                // The receiver may have stopped waiting.
                let _ = told.send(());
            }
        }
    }

    /// What the connection's task takes next. Packets of a complete POST come even before the
    /// failure of a later request.
    pub(crate) fn take(&mut self) -> PollEvent {
        if let Some(posted) = self.posted.take() {
            return PollEvent::Packets(posted);
        }
        match self.failed.take() {
            Some(code) => PollEvent::Failed(code),
            None if self.has_ended() => PollEvent::Ended,
            None => PollEvent::None,
        }
    }

    /// Whether requests are refused.
    pub(super) fn has_ended(&self) -> bool {
        self.served == Served::Nothing
    }

    /// Whether the client broke the protocol.
    pub(super) fn has_failed(&self) -> bool {
        self.served == Served::Polls
    }

    /// Notes that the client broke the protocol. The connection actor gets the code; only GETs are
    /// served, until one has brought the last frames. The returned receiver resolves then.
    pub(super) fn fail(&mut self, code: CloseCode) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        if self.served == Served::All {
            self.served = Served::Polls;
            self.failed = Some(code);
            self.told = Some(sender);
        }
        receiver
    }

    /// Nothing more will be sent. Two GETs at once are the only mistake after which the first GET
    /// is still answered with the end (the official test suite of Engine.IO requires that).
    pub(crate) fn fall_silent(&mut self) {
        if self.overlapped {
            self.answer_get(Bytes::from_static(engine::CLOSE.as_bytes()));
        }
    }

    /// The client sent a close packet.
    pub(super) fn client_closed(&mut self) {
        self.send_noop();
        self.served = Served::Nothing;
    }

    /// Ends the connection: no request is served any more.
    pub(crate) fn end(&mut self) {
        self.pending_get = None;
        self.told = None;
        self.next_get = None;
        self.upgraded = None;
        self.served = Served::Nothing;
    }

    /// Whether the last frames cannot reach the client any more.
    pub(crate) fn is_unreachable(&self, given_up: bool) -> bool {
        self.has_ended() || given_up && !self.has_pending_get()
    }

    /// Whether a WebSocket is ready to continue with.
    pub(crate) fn has_upgraded_socket(&self) -> bool {
        self.upgraded.is_some()
    }
}

/// The body of an answer: packets from the front of the queue. Frames that only a WebSocket has are
/// left out, so there may be no body.
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
        // The end gets an answer of its own. Stock clients act on it before they deliver packets
        // that came with it, and the app would get the last packets after it saw the disconnect.
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
