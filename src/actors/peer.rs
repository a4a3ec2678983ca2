//! A session as rooms see it: where its frames go, in which framing, and who hears of changes.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use actix::Message;

use super::alarms::Due as Alarmed;
use super::order_room::RoomHandle;
use super::reachable::Reachable;
use super::resumes::HandOver;
use crate::ids::{OrderId, SessionId};
use crate::metrics::Metrics;
use crate::permits::{Permit, Permits};
use crate::protocol::client::ClientEventName;
use crate::protocol::codec::Codec;
use crate::protocol::error::Failure;
use crate::protocol::server::{Left, LeftReason, Reply, ServerEvent};
use crate::session::resume::{Due, Pushes};
use crate::transport::{Closed, Frame, Outbox};

use super::shared::unavailable;
use super::supervisor::{EndSession, OrderNews};

/// What a room tells a session about its place there.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RoomNotice {
    /// For which session of the connection.
    pub session: SessionId,
    /// Which order.
    pub order: OrderId,
    /// Which of the ties that the session has had to it; news of an old one are no news.
    pub link: LinkId,
    /// What there is to say.
    pub news: News,
}

/// What became of a session's tie to a room.
pub enum News {
    /// The session is in: from now on it talks to the room directly.
    Entered(Arc<RoomHandle>),
    /// The session was not let in.
    Refused(Failure),
    /// The session has all that it had missed in the room.
    CaughtUp,
    /// The session was in, and is no longer; its client was told.
    Removed,
    /// A join was answered with a refusal, so it does not count.
    NotJoined,
    /// The room is gone without a word: it panicked, or could not keep the session.
    Lost,
}

/// A tie of a session to a room; never used twice in a session, so that what is said of one that
/// is over cannot be taken for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkId(pub u64);

/// What others may tell a session.
pub trait SessionAddress:
    Reachable<RoomNotice>
    + Reachable<OrderNews>
    + Reachable<EndSession>
    + Reachable<HandOver>
    + Reachable<Alarmed>
{
}

impl<T> SessionAddress for T where
    T: Reachable<RoomNotice>
        + Reachable<OrderNews>
        + Reachable<EndSession>
        + Reachable<HandOver>
        + Reachable<Alarmed>
{
}

/// The part of a session that rooms hold.
pub struct Peer {
    /// Which session.
    pub id: SessionId,
    /// Where its frames go.
    pub outbox: Outbox,
    /// How they are framed.
    pub codec: Codec,
    /// Who hears of its place in rooms, of orders that concern its user, and of its end.
    pub session: Arc<dyn SessionAddress>,
    /// Where refusals and events are counted.
    pub metrics: Arc<Metrics>,
    /// Snapshots and pages that may be on their way to it at once.
    pub under_way: Permits,
    /// Set when the session ends; its connection may go on with another one.
    pub departed: AtomicBool,
    /// The chat that was pushed to it, where its client can come back for what it has missed.
    pub pushes: Option<Box<Mutex<Pushes>>>,
    /// How many of them are kept, at most: as many as its outbox may hold.
    pub most_pushes: usize,
}

/// A session's place in a room, or its wish for one. Dropped without a word, it tells the
/// session that the room is lost: so nobody waits for a room that panicked.
pub struct Place {
    /// Whose place it is.
    pub peer: Arc<Peer>,
    /// In which room.
    pub order: OrderId,
    /// By which tie.
    pub link: LinkId,
    /// The last chat message that went into the session's outbox; the next room goes on there.
    pub progress: Arc<AtomicI64>,
    /// Its turn among the rooms that bring the session up to date, until this one has. Boxed: hardly
    /// any place has one.
    turn: Option<Box<Permit>>,
    settled: bool,
}

/// An event that waits for its outcome. Dropped without one, it answers `unavailable`: so no
/// client waits for ever.
pub struct Answer {
    peer: Arc<Peer>,
    event: ClientEventName,
    ack: Option<u64>,
    /// The tie for which it is a join that the session has counted.
    join: Option<(OrderId, LinkId)>,
    /// Its place among the large answers that are under way.
    place: Option<Permit>,
    given: bool,
}

/// What a client hears when it has left, by the room or, where that panics first, when this is
/// dropped: one who wants to leave is out in any case.
pub struct Farewell {
    order: OrderId,
    /// Taken when it is said.
    answer: Option<Answer>,
}

// === impl Peer ===

impl Peer {
    /// Sends an event to this session alone.
    ///
    /// # Errors
    /// [`Closed`] where the session has ended.
    pub fn tell(&self, event: &ServerEvent<'_>) -> Result<(), Closed> {
        self.metrics.events_out.inc(event.index());
        self.outbox.push(Frame::text(|buffer| self.codec.event(event, buffer)))
    }

    /// Whether nothing more is for it.
    pub fn has_ended(&self) -> bool {
        self.departed.load(Ordering::Acquire) || self.outbox.is_closed()
    }

    /// The chat that was pushed to it, locked.
    pub fn pushes(&self) -> Option<MutexGuard<'_, Pushes>> {
        let pushes = self.pushes.as_ref()?;
        // A panic under the lock may cost a note; what is missing is then sent once more.
        Some(pushes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the session about its place in a room.
    fn notify(&self, order: OrderId, link: LinkId, news: News) {
        self.session.tell(RoomNotice { session: self.id, order, link, news });
    }

    /// Sends the outcome of an event, where the client is to hear of it. A session that has ended
    /// needs no answer.
    pub fn outcome(
        &self,
        event: Option<&str>,
        ack: Option<u64>,
        result: &Result<Reply<'_>, Failure>,
    ) {
        if let Err(failure) = result {
            self.metrics.rejected.inc(failure.code as usize);
        } else if ack.is_none() {
            return;
        }
        let frame = Frame::text(|buffer| {
            self.codec.outcome(event, ack, result, buffer);
        });
        self.outbox.push(frame).ok();
    }
}

// === impl Place ===

impl Place {
    /// A wish for a place.
    pub fn new(peer: Arc<Peer>, order: OrderId, link: LinkId, progress: Arc<AtomicI64>) -> Self {
        Self { peer, order, link, progress, turn: None, settled: false }
    }

    /// The same of a session that takes its rooms in turns.
    #[must_use]
    pub fn taking(mut self, turn: Option<Permit>) -> Self {
        self.turn = turn.map(Box::new);
        self
    }

    /// The session has all that it had missed here: it is the next room's turn.
    pub fn caught_up(&mut self) {
        if self.turn.take().is_some() {
            self.peer.notify(self.order.clone(), self.link, News::CaughtUp);
        }
    }

    /// The last chat message that went into the outbox.
    pub fn progress(&self) -> i64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Sends a chat message and notes that it was sent.
    ///
    /// Both under one lock, where the client can come back: rooms of several threads push to one
    /// client, and by the last message that it saw everything before must be known to be seen.
    ///
    /// # Errors
    /// [`Closed`] where the session has ended.
    pub fn push_chat(&self, outbox: &Outbox, frame: Frame, seq: i64) -> Result<(), Closed> {
        let pushes = self.peer.pushes();
        outbox.push(frame)?;
        self.progress.store(seq, Ordering::Relaxed);
        if let Some(mut pushes) = pushes {
            pushes.note(self.link.0, seq, self.peer.most_pushes);
        }
        Ok(())
    }

    /// The client is owed this, from before it goes into the outbox: should the connection be lost,
    /// what it did not get is sent again.
    pub fn owe(&self, due: Due) {
        if let Some(mut pushes) = self.peer.pushes() {
            pushes.owe(self.link.0, due);
        }
    }

    /// What was owed is in the outbox.
    pub fn paid(&self) {
        if let Some(mut pushes) = self.peer.pushes() {
            pushes.paid(self.link.0, Instant::now());
        }
    }

    /// What is owed and is not in the outbox.
    pub fn unpaid(&self) -> Due {
        self.peer.pushes().map(|pushes| pushes.unpaid(self.link.0)).unwrap_or_default()
    }

    /// Tells the session how it went; where that is an end, the place is given up.
    pub fn tell(&mut self, news: News) {
        if !matches!(news, News::Entered(_)) {
            self.settled = true;
            self.turn = None;
        }
        let (order, link) = (self.order.clone(), self.link);
        self.peer.notify(order, link, news);
    }

    /// Gives the place up without a word: the session knows.
    pub fn give_up(mut self) {
        self.settled = true;
        self.caught_up();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.settled {
            self.tell(News::Lost);
        }
    }
}

// === impl Answer ===

impl Answer {
    /// For an event of this session.
    pub fn new(peer: Arc<Peer>, event: ClientEventName, ack: Option<u64>) -> Self {
        Self { peer, event, ack, join: None, place: None, given: false }
    }

    /// The same for a large answer, which has a place until it is in the outbox.
    #[must_use]
    pub fn holding(mut self, place: Permit) -> Self {
        self.place = Some(place);
        self
    }

    /// The same for a join that its session has counted: a refusal takes it back.
    #[must_use]
    pub fn counted(mut self, order: OrderId, link: LinkId) -> Self {
        self.join = Some((order, link));
        self
    }

    /// Whether the client asked for a reply.
    pub fn is_wanted(&self) -> bool {
        self.ack.is_some()
    }

    /// It worked.
    pub fn ok(self, reply: Reply<'_>) {
        self.give(&Ok(reply));
    }

    /// It was refused.
    pub fn refuse(self, failure: Failure) {
        self.give(&Err(failure));
    }

    fn give(mut self, result: &Result<Reply<'_>, Failure>) {
        self.given = true;
        self.tell(result);
    }

    fn tell(&mut self, result: &Result<Reply<'_>, Failure>) {
        self.peer.outcome(Some(self.event.as_str()), self.ack, result);
        if let (Some((order, link)), Err(_)) = (self.join.take(), result) {
            self.peer.notify(order, link, News::NotJoined);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.given {
            self.tell(&Err(unavailable("the room was interrupted")));
        }
    }
}

// === impl Farewell ===

impl Farewell {
    /// For a leave that ends the last join.
    pub fn new(order: OrderId, answer: Answer) -> Self {
        Self { order, answer: Some(answer) }
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let Some(answer) = self.answer.take() else { return };
        if !answer.is_wanted() {
            let left = Left { order_id: &self.order, reason: LeftReason::Requested };
            // A session that has ended needs no farewell.
            answer.peer.tell(&ServerEvent::Left(left)).ok();
        }
        answer.ok(Reply::Left { remaining: 0 });
    }
}
