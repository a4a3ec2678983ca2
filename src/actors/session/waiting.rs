//! Events that came faster than their user's rate: they wait, and are taken when it is their turn.
//!
//! What waits is bounded. Who sends more than that is refused, and cut in the end; a client that was
//! offline and sends all that it has kept stays below it, and loses nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Context;
use bytes::Bytes;

use super::Session;
use super::login::Login;
use super::pacing::{PAUSE, longer};
use crate::actors::peer::Answer;
use crate::actors::shared::too_fast;
use crate::ids::SessionId;
use crate::permits::Permit;
use crate::protocol::request::{Rejected, Request};
use crate::protocol::server::Reply;
use crate::protocol::socketio::Namespace;
use crate::protocol::socketio::auth::Auth;
use crate::session::backlog::{Backlog, Kept, Next, OVERHEAD, Place};
use crate::session::users::Kind;
use crate::transport::Hold;

/// What waits of a connection.
pub(super) struct Waiting {
    backlog: Backlog<Held>,
    /// Held once the client has sent enough for now, until nothing waits.
    enough: Option<Hold>,
    /// The namespace that the client leaves behind what waits.
    pub(super) leaving: Option<Namespace>,
    /// When there is something to do.
    pub(super) due: Instant,
    /// How long what waits is left alone while a login cannot take anything.
    pause: Duration,
}

/// What a client has sent.
pub(super) enum Event {
    /// An event of a login.
    Request(Request),
    /// What is no event, to be answered.
    Rejected(Rejected),
    /// It wants into a namespace.
    Connect(Result<Namespace, String>, Auth),
    /// A ping of a WebSocket.
    Ping(Bytes),
    /// A sign of life that was not asked for.
    Pong,
}

/// An event that waits.
struct Held {
    event: Event,
    /// Its share of the memory for what waits; none where that is used up.
    _share: Option<Permit>,
}

/// Whether it is an event's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    Later {
        /// Whether it was taken off the rate of events.
        is_paid: bool,
    },
}

// === impl Turn ===

impl Turn {
    pub(super) const NOT_YET: Self = Self::Later { is_paid: false };
}

// === impl Session ===

impl Session {
    /// Takes what costs an event, or keeps it until its turn.
    pub(super) fn when_it_may(
        &mut self,
        event: Event,
        session: Option<SessionId>,
        bytes: usize,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let login = self.logins.iter().find(|login| Some(login.peer.id) == session);
        let rates = login.map_or(&self.rates, |login| &login.rates);
        if self.waiting.is_none() && rates.take(Kind::Event, now).is_ok() {
            return self.take(event, session, now, ctx);
        }
        let place = Place { session, kind: Kind::Event, is_paid: false, position: None, bytes };
        self.keep_waiting(event, place, now, ctx);
    }

    /// Keeps an event until its turn.
    pub(super) fn keep_waiting(
        &mut self,
        event: Event,
        place: Place,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let share = self.shared.waiting_bytes.take_many(place.bytes + OVERHEAD);
        // What follows a CONNECT may be meant for the session that is to come.
        let is_enough = share.is_none() || matches!(event, Event::Connect(..));
        let session = place.session;
        let waiting = self.waiting.get_or_insert_with(|| Box::new(Waiting::new(now)));
        let kept = waiting.backlog.push(Held { event, _share: share }, place);
        if (is_enough || waiting.backlog.is_full()) && waiting.enough.is_none() {
            waiting.enough = Some(self.gate.hold());
        }
        match kept {
            Kept::Waits => {}
            Kept::Stale(held) => self.drop_stale(held.event, session),
            Kept::Full(held) => return self.refuse_waiting(held.event, session, now, ctx),
        }
        self.take_waiting(now, ctx);
    }

    /// Takes what waits, as far as it may now.
    pub(super) fn take_waiting(&mut self, now: Instant, ctx: &mut Context<Self>) {
        while let Some(waiting) = &mut self.waiting {
            let (logins, own) = (&self.logins, &self.rates);
            let rates_of = |session| {
                let login = logins.iter().find(|login| Some(login.peer.id) == session);
                &**login.map_or(own, |login| &login.rates)
            };
            if logins.iter().any(Login::is_held_up) {
                // What comes meanwhile is no reason to look.
                if waiting.due <= now {
                    waiting.due = now + waiting.pause;
                    waiting.pause = longer(waiting.pause);
                }
                return self.arm();
            }
            waiting.pause = PAUSE;
            match waiting.backlog.next(rates_of, now) {
                Next::Take(held, session) => self.take(held.event, session, now, ctx),
                Next::At(due) => {
                    waiting.due = due;
                    return self.arm();
                }
                Next::Empty => {
                    let leaving = self.waiting.take().and_then(|waiting| waiting.leaving);
                    if leaving.is_some() {
                        self.log_out(leaving, now, ctx);
                    }
                }
            }
        }
    }

    /// A client leaves a namespace: behind all that it sent before.
    pub(super) fn leave(
        &mut self,
        namespace: Option<Namespace>,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let Some(waiting) = self.waiting.as_mut().filter(|_| namespace.is_some()) else {
            return self.log_out(namespace, now, ctx);
        };
        waiting.leaving = namespace;
        // What follows may be meant for the session that is to come.
        waiting.enough.get_or_insert_with(|| self.gate.hold());
    }

    /// Takes what a client has sent, whose turn it is.
    fn take(
        &mut self,
        event: Event,
        session: Option<SessionId>,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let index = self.logins.iter().position(|login| Some(login.peer.id) == session);
        match (event, index) {
            (Event::Request(request), Some(index)) => self.take_request(index, request, now, ctx),
            (Event::Rejected(rejected), Some(index)) => {
                self.take_rejected(index, &rejected, now, ctx);
            }
            (Event::Connect(namespace, auth), _) => self.connect(namespace, auth, now, ctx),
            (Event::Ping(payload), _) => self.outbox.pong(payload),
            // Its client has left the namespace meanwhile.
            (Event::Pong | Event::Request(_) | Event::Rejected(_), _) => {}
        }
    }

    /// A newer position of the same burst came, or had come: as to its room, it is stale.
    fn drop_stale(&mut self, event: Event, session: Option<SessionId>) {
        self.shared.metrics.locations_dropped.inc();
        if let Some(answer) = self.answer_to(&event, session) {
            answer.ok(Reply::Accepted { accepted: 0, rejected: &[] });
        }
    }

    /// More has come than may wait.
    fn refuse_waiting(
        &mut self,
        event: Event,
        session: Option<SessionId>,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let due = self.waiting.as_ref().map_or(now, |waiting| waiting.due);
        let failure = too_fast("too many events", due.saturating_duration_since(now));
        if let Some(answer) = self.answer_to(&event, session) {
            answer.refuse(failure);
        } else if let Event::Rejected(rejected) = &event {
            let login = self.logins.iter().find(|login| Some(login.peer.id) == session);
            let result = Err(failure);
            if let Some(login) = login {
                login.peer.outcome(rejected.event.as_deref(), rejected.ack, &result);
            }
        } else if let Event::Connect(namespace, _) = &event {
            let name = namespace.as_ref().map_or_else(String::as_str, |known| known.as_str());
            self.refuse_login(name, &failure);
        }
        self.flooded(now, ctx);
    }

    /// How an event is answered, while its login lasts.
    fn answer_to(&self, event: &Event, session: Option<SessionId>) -> Option<Answer> {
        let Event::Request(request) = event else { return None };
        let login = self.logins.iter().find(|login| Some(login.peer.id) == session)?;
        Some(Answer::new(Arc::clone(&login.peer), request.event.name(), request.ack))
    }
}

// === impl Waiting ===

impl Waiting {
    fn new(now: Instant) -> Self {
        Self { backlog: Backlog::default(), enough: None, leaving: None, due: now, pause: PAUSE }
    }
}
