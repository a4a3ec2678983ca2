//! Events that came faster than their user's rate: they wait until the rate allows them.
//!
//! The backlog is bounded. A client that sends more is refused, and disconnected in the end. A
//! client that was offline and sends all that it kept stays below the bound, and loses nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Context;
use bytes::Bytes;

use super::Connection;
use super::pacing::{FIRST_RETRY, next_retry};
use super::session::Session;
use crate::actors::peer::Answer;
use crate::actors::shared::rate_limited;
use crate::connection::backlog::{EnqueueOutcome, EventBacklog, EventMeta, Next, OVERHEAD};
use crate::permits::Permit;
use crate::rate_limit::users::RateKind;
use protocol::client::Reply;
use protocol::events::location::Accepted;
use protocol::ids::SessionId;
use protocol::request::{Rejected, Request};
use protocol::socketio::Namespace;
use protocol::socketio::auth::Auth;
use transport::ReadPauseGuard;

/// The backlog of a connection.
pub(super) struct Backlog {
    events: EventBacklog<QueuedInput>,
    /// Pauses reading once the backlog is full, until it is empty.
    read_pause_when_full: Option<ReadPauseGuard>,
    /// The namespace that the client leaves after its waiting events.
    pub(super) leaving_namespace: Option<Namespace>,
    /// When to look at the backlog next.
    pub(super) due: Instant,
    /// How long to wait while a session is blocked.
    pause: Duration,
}

/// Input that counts against a rate.
pub(super) enum ClientInput {
    /// An event of a session.
    Request(Request),
    /// An invalid event, which is answered.
    Rejected(Rejected),
    /// A CONNECT to a namespace.
    Connect(Result<Namespace, String>, Auth),
    /// A WebSocket ping.
    Ping(Bytes),
    /// An unsolicited pong.
    Pong,
}

/// An event that waits.
struct QueuedInput {
    event: ClientInput,
    /// The permit of its memory. `None` where that is used up.
    _share: Option<Permit>,
}

/// Whether the rate allows an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RateCheck {
    Allowed,
    Limited {
        /// Whether it was already counted against the rate of events.
        event_counted: bool,
    },
}

// === impl RateCheck ===

impl RateCheck {
    pub(super) const LIMITED: Self = Self::Limited { event_counted: false };
}

// === impl Connection ===

impl Connection {
    /// Handles input that counts as an event, or queues it until its rate allows it.
    pub(super) fn check_event_rate(
        &mut self,
        event: ClientInput,
        session_id: Option<SessionId>,
        bytes: usize,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let rates = self.index_of(session_id).map_or(&self.rates, |at| &self.sessions[at].rates);
        if self.backlog.is_none() && rates.take(RateKind::Event, now).is_ok() {
            return self.handle_input(event, session_id, now, ctx);
        }
        let meta = EventMeta {
            session: session_id,
            kind: RateKind::Event,
            event_counted: false,
            position: None,
            bytes,
        };
        self.push_to_backlog(event, meta, now, ctx);
    }

    /// Queues an event until its rate allows it.
    pub(super) fn push_to_backlog(
        &mut self,
        event: ClientInput,
        meta: EventMeta,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let share = self.shared.backlog_bytes.take_many(meta.bytes + OVERHEAD);
        // The socket is not read once the shared memory is used up, nor behind a CONNECT: later input
        // may be for the new session.
        let pauses_reading = share.is_none() || matches!(event, ClientInput::Connect(..));
        let session_id = meta.session;
        let backlog = self.backlog.get_or_insert_with(|| Box::new(Backlog::new(now)));
        let outcome = backlog.events.push(QueuedInput { event, _share: share }, meta);
        if (pauses_reading || backlog.events.is_full()) && backlog.read_pause_when_full.is_none() {
            backlog.read_pause_when_full = Some(self.read_pause.pause());
        }
        match outcome {
            EnqueueOutcome::Queued => {}
            EnqueueOutcome::Stale(held) => self.drop_stale(held.event, session_id),
            EnqueueOutcome::Full(held) => {
                return self.refuse_overflow(held.event, session_id, now, ctx);
            }
        }
        self.run_backlog(now, ctx);
    }

    /// Handles waiting input if no session is blocked any more.
    pub(super) fn run_backlog_if_unblocked(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let is_blocked = self.sessions.iter().any(Session::is_blocked);
        if !is_blocked && !self.ended && self.backlog.is_some() {
            self.run_backlog(now, ctx);
        }
    }

    /// Handles waiting input, as far as the rates allow.
    pub(super) fn run_backlog(&mut self, now: Instant, ctx: &mut Context<Self>) {
        while let Some(backlog) = &mut self.backlog {
            let (sessions, own) = (&self.sessions, &self.rates);
            let rates_of = |session_id| {
                let session = sessions.iter().find(|session| Some(session.peer.id) == session_id);
                &**session.map_or(own, |session| &session.rates)
            };
            if sessions.iter().any(Session::is_blocked) {
                // New input meanwhile is no reason to check earlier.
                if backlog.due <= now {
                    backlog.due = now + backlog.pause;
                    backlog.pause = next_retry(backlog.pause);
                }
                return self.arm();
            }
            backlog.pause = FIRST_RETRY;
            match backlog.events.next(rates_of, now) {
                Next::Take(held, session_id) => self.handle_input(held.event, session_id, now, ctx),
                Next::At(due) => {
                    backlog.due = due;
                    return self.arm();
                }
                Next::Empty => {
                    let leaving_namespace =
                        self.backlog.take().and_then(|backlog| backlog.leaving_namespace);
                    if leaving_namespace.is_some() {
                        self.end_namespace_session(leaving_namespace, now, ctx);
                    }
                }
            }
        }
    }

    /// Ends the session of a namespace after all that the client sent before.
    pub(super) fn disconnect_namespace(
        &mut self,
        namespace: Option<Namespace>,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let Some(backlog) = self.backlog.as_mut().filter(|_| namespace.is_some()) else {
            return self.end_namespace_session(namespace, now, ctx);
        };
        backlog.leaving_namespace = namespace;
        // Later input may be for the next session.
        backlog.read_pause_when_full.get_or_insert_with(|| self.read_pause.pause());
    }

    /// Handles input that the rate allows.
    fn handle_input(
        &mut self,
        event: ClientInput,
        session_id: Option<SessionId>,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        match (event, self.index_of(session_id)) {
            (ClientInput::Request(request), Some(index)) => {
                self.handle_request(index, request, now, ctx);
            }
            (ClientInput::Rejected(rejected), Some(index)) => {
                self.answer_rejected(index, &rejected, now, ctx);
            }
            (ClientInput::Connect(namespace, auth), _) => self.connect(namespace, auth, now, ctx),
            (ClientInput::Ping(payload), _) => self.outbox.pong(payload),
            // The client has left the namespace meanwhile.
            (ClientInput::Pong | ClientInput::Request(_) | ClientInput::Rejected(_), _) => {}
        }
    }

    /// Drops a position that a newer one of the same burst replaces, as a room drops a stale one.
    fn drop_stale(&mut self, event: ClientInput, session_id: Option<SessionId>) {
        self.shared.metrics.locations_dropped.inc();
        if let Some(answer) = self.answer_to(&event, session_id) {
            answer.ok(Reply::Location(Accepted { accepted: 0, rejected: &[] }));
        }
    }

    /// Refuses input beyond the bound of the backlog.
    fn refuse_overflow(
        &mut self,
        event: ClientInput,
        session_id: Option<SessionId>,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let due = self.backlog.as_ref().map_or(now, |backlog| backlog.due);
        let failure = rate_limited("too many events", due.saturating_duration_since(now));
        if let Some(answer) = self.answer_to(&event, session_id) {
            answer.refuse(failure);
        } else if let ClientInput::Rejected(rejected) = &event {
            if let Some(index) = self.index_of(session_id) {
                let peer = &self.sessions[index].peer;
                peer.outcome(rejected.event.as_deref(), rejected.ack, &Err(failure));
            }
        } else if let ClientInput::Connect(namespace, _) = &event {
            let name = namespace.as_ref().map_or_else(String::as_str, |known| known.as_str());
            self.reject_connect(name, &failure);
        }
        self.count_refused(now, ctx);
    }

    /// The answer for an event, while its session lasts.
    fn answer_to(&self, event: &ClientInput, session_id: Option<SessionId>) -> Option<Answer> {
        let ClientInput::Request(request) = event else { return None };
        let session = &self.sessions[self.index_of(session_id)?];
        Some(Answer::new(Arc::clone(&session.peer), request.event.name(), request.ack))
    }
}

// === impl Backlog ===

impl Backlog {
    fn new(now: Instant) -> Self {
        Self {
            events: EventBacklog::default(),
            read_pause_when_full: None,
            leaving_namespace: None,
            due: now,
            pause: FIRST_RETRY,
        }
    }
}
