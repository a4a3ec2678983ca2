//! The sending side of one socket: its queue under a lock, how far its connection has come, and
//! the writing itself. Rooms reach it through [`super::Outbox`], the connection's own task through
//! [`super::Inbound`], which keeps it up while the socket is blocked or closing.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::task::AtomicWaker;

use super::budget::Tenant;
use super::queue::{LatestKey, Queue};
use super::wire::{Sink, Wire, Written};
use super::{Closed, Overrun, TransportOptions};

/// The sending side of one socket. What a push touches stands together, first: most sockets are
/// cold when one comes.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Line {
    /// Whether a thread has this line on its list of those to flush. Set behind a push, cleared
    /// before the flush: a push in between is seen by it or lists the line again.
    pub(super) dirty: AtomicBool,
    /// Whether the connection's task has to look in: the socket is blocked, or the end began.
    /// Written under the lock.
    attention: AtomicBool,
    /// Whether pushes are refused. Written under the lock.
    closed: AtomicBool,
    /// Whether somebody has logged in.
    pub(super) vouched: AtomicBool,
    /// How many reasons the session has to want no more messages for now.
    pub(super) holds: AtomicU32,
    pub(super) options: Arc<TransportOptions>,
    state: Mutex<State>,
    /// What the node's budget counts of this line. Written under the lock.
    charged: AtomicUsize,
    /// The connection's task.
    pub(super) task: AtomicWaker,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct State {
    pub(super) wire: Wire,
    phase: Phase,
}

/// How far a connection has come. It only ever goes downwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Pushes are taken.
    Open,
    /// The outbox gave up; the session has to finish.
    Overrun { why: Overrun, told: bool },
    /// What waits must have left by then.
    Closing { by: Instant },
    /// A write failed. What the peer said before may still be read.
    Broken,
    /// Over.
    Gone,
}

/// What a line asks of the connection's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// Nothing.
    None,
    /// To come back when the socket takes more, which is arranged, or at the time given.
    Watch(Option<Instant>),
    /// To tell the session.
    Tell(Overrun),
    /// To go on with the WebSocket to which a client of long-polling has moved.
    Move,
    /// To swallow what still comes until the peer ends or the time is over; whether all is sent.
    Linger { by: Instant, sent: bool },
    /// To end.
    End,
}

// === impl State ===

impl State {
    /// Takes out what a batch has sent; whether that was all that there is to do.
    pub(super) fn advance(&mut self, sent: usize) -> bool {
        #[cfg(test)]
        {
            assert!(!self.wire.batch_sabotaged, "a batch that a test made panic");
            self.wire.writes += u32::from(sent > 0);
            self.wire.batched += u32::from(sent > 0);
        }
        self.wire.advance(sent);
        self.wire.queue.is_empty() && self.phase == Phase::Open
    }
}

// === impl Line ===

impl Line {
    pub(super) fn new(sink: Sink, queue: Queue, options: Arc<TransportOptions>) -> Self {
        Self {
            state: Mutex::new(State { wire: Wire::new(sink, queue), phase: Phase::Open }),
            dirty: AtomicBool::new(false),
            attention: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            vouched: AtomicBool::new(false),
            holds: AtomicU32::new(0),
            charged: AtomicUsize::new(0),
            task: AtomicWaker::new(),
            options,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether the end has begun in order and goes on by itself.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.lock().phase, Phase::Closing { .. })
    }

    /// Whether the session wants no more messages for now.
    pub(super) fn is_held(&self) -> bool {
        self.holds.load(Ordering::Acquire) > 0
    }

    pub(super) fn wants_attention(&self) -> bool {
        self.attention.load(Ordering::Acquire)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock ends this connection (the flusher aborts it), and an abort
        // replaces whatever was left half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues by `add`, within the limits. Says whether the line must be flushed.
    pub(super) fn push(
        self: &Arc<Self>,
        reliable: bool,
        add: impl FnOnce(&mut State),
    ) -> Result<bool, Closed> {
        if self.is_closed() {
            return Err(Closed);
        }
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return Err(Closed);
        }
        let timed = state.wire.blocked && state.wire.queue.waiting_since().is_some();
        add(&mut state);
        let mut within = self.fit(&mut state);
        if !within && !state.wire.blocked {
            // Nobody is slow yet: it is only that the turn has not ended.
            self.write(&mut state);
            within = self.fit(&mut state);
        }
        let crowd = if within { None } else { self.crowding(&state) };
        if !within
            && reliable
            && let Some(overrun) = crowd
        {
            self.give_up(&mut state, overrun);
        } else if !within && reliable && state.wire.crowd(true) {
            // From now on it has a deadline.
            self.call();
        } else if reliable && state.wire.blocked && !timed {
            // The first frame that has a deadline: the connection's task must hear of it.
            self.call();
        }
        self.settle_and_enforce(state)
    }

    /// Ends a change under the lock, and has the budget look where something waits.
    pub(super) fn settle_and_enforce(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
    ) -> Result<bool, Closed> {
        self.charge(&mut state);
        let (blocked, open) = (state.wire.blocked, state.phase == Phase::Open);
        let flush = !blocked && !state.wire.queue.is_empty();
        drop(state);
        if blocked {
            self.options.budget.enforce();
        }
        if open { Ok(flush) } else { Err(Closed) }
    }

    /// Drops the waiting latest-wins frame of a key.
    pub(super) fn forget(self: &Arc<Self>, key: LatestKey) {
        let mut state = self.lock();
        state.wire.queue.forget(key);
        self.charge(&mut state);
    }

    /// Drops latest-wins frames, the oldest first, until the limits are kept; says whether they
    /// are.
    fn fit(&self, state: &mut State) -> bool {
        loop {
            let within = state.wire.queue.bytes() <= self.options.outbox_bytes
                && state.wire.queue.len() <= self.options.outbox_messages;
            // Before the socket was tried nothing has to go.
            if within || !state.wire.blocked {
                return within;
            }
            if !state.wire.queue.drop_oldest_latest() {
                return false;
            }
            self.options.metrics.conflated.inc();
        }
    }

    /// What there is too much of, at once. Too many frames alone are so for a moment where rooms are
    /// faster than the line for a turn.
    fn crowding(&self, state: &State) -> Option<Overrun> {
        let (bytes, frames) = (state.wire.queue.bytes(), state.wire.queue.len());
        if bytes > self.options.outbox_bytes {
            return Some(Overrun::Bytes);
        }
        let most = TransportOptions::most_frames(self.options.outbox_messages);
        (frames > most).then_some(Overrun::Messages)
    }

    /// Writes what waits, unless the socket is known to take no more.
    pub(super) fn flush(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.wire.blocked {
            return;
        }
        self.write(&mut state);
        let _ = self.settle_and_enforce(state);
    }

    /// Locks the line where nobody else does and where what waits may go by a batch, and says to
    /// which socket.
    pub(super) fn lock_for_batch(&self) -> Option<(MutexGuard<'_, State>, RawFd)> {
        // Never waits: several are held at once, and another thread may hold one and want another.
        let state = self.state.try_lock().ok()?;
        let socket = state.wire.ready()?;
        Some((state, socket))
    }

    /// Writes until nothing waits or the peer takes no more.
    pub(super) fn write(&self, state: &mut State) {
        let was_blocked = state.wire.blocked;
        let written = state.wire.write(self.options.send_timeout);
        if state.wire.queue.len() <= self.options.outbox_messages {
            state.wire.crowd(false);
        }
        match written {
            // All that was to be said has left: the peer reads it, then the end. Where the peer has
            // ended already, this was what the task waited for.
            Written::All if matches!(state.phase, Phase::Closing { .. }) => {
                state.wire.shut();
                self.call();
            }
            Written::All => {}
            Written::Blocked if was_blocked => {}
            Written::Blocked => self.call(),
            Written::Broken => self.break_off(state),
        }
    }

    /// Begins the end: `last` adds what is still to be said; a peer that is `given_up` as dead is
    /// told only where it costs no waiting for it. Only the first one counts.
    pub(super) fn close(self: &Arc<Self>, given_up: bool, last: impl FnOnce(&mut Queue)) -> bool {
        let mut state = self.lock();
        match state.phase {
            Phase::Open | Phase::Overrun { .. } => {}
            Phase::Broken => {
                // Nobody is left to hear it, and after this the session waits only for the end.
                self.end(&mut state, Phase::Gone);
                return false;
            }
            Phase::Closing { .. } | Phase::Gone => return false,
        }
        let now = Instant::now();
        last(&mut state.wire.queue);
        if state.wire.mailbox().is_some_and(|mailbox| mailbox.is_deaf(given_up)) {
            state.wire.queue = Queue::default();
        }
        if state.wire.queue.is_empty()
            && let Some(mailbox) = state.wire.mailbox()
        {
            mailbox.fall_silent();
        }
        state.phase = Phase::Closing { by: now + self.options.linger };
        self.closed.store(true, Ordering::Release);
        self.call();
        let _ = self.settle_and_enforce(state);
        true
    }

    /// Ends at once: nothing more is sent.
    pub(super) fn abort(self: &Arc<Self>) {
        let mut state = self.lock();
        self.end(&mut state, Phase::Gone);
        self.charge(&mut state);
    }

    /// What the connection's task has to do now. Goes on writing if the socket takes more, and
    /// has the task woken when it does.
    pub(super) fn attend(self: &Arc<Self>, cx: &mut Context<'_>) -> Duty {
        let mut state = self.lock();
        while state.wire.blocked {
            match state.wire.poll_ready(cx) {
                Poll::Ready(Ok(())) => self.write(&mut state),
                Poll::Ready(Err(_)) => self.break_off(&mut state),
                Poll::Pending => break,
            }
        }
        self.charge(&mut state);
        if state.wire.mailbox().is_some_and(|mailbox| mailbox.has_moved()) {
            return Duty::Move;
        }
        match state.phase {
            Phase::Open | Phase::Overrun { told: true, .. } if state.wire.blocked => {
                let open = state.phase == Phase::Open;
                Duty::Watch(state.wire.due(self.options.send_timeout).filter(|_| open))
            }
            Phase::Open | Phase::Broken | Phase::Overrun { told: true, .. } => {
                self.attention.store(false, Ordering::Release);
                Duty::None
            }
            Phase::Overrun { why, told: false } => {
                state.phase = Phase::Overrun { why, told: true };
                Duty::Tell(why)
            }
            Phase::Closing { by } => Duty::Linger { by, sent: state.wire.queue.is_empty() },
            Phase::Gone => Duty::End,
        }
    }

    /// Acts on a deadline that has come.
    pub(super) fn expire(self: &Arc<Self>, now: Instant) {
        let mut state = self.lock();
        match state.phase {
            Phase::Open => {
                let due = state.wire.due(self.options.send_timeout).filter(|_| state.wire.blocked);
                if due.is_some_and(|due| due <= now) {
                    let too_many = state.wire.queue.len() > self.options.outbox_messages;
                    let why = if too_many { Overrun::Messages } else { Overrun::Stalled };
                    self.give_up(&mut state, why);
                }
            }
            Phase::Closing { by } if by <= now => self.end(&mut state, Phase::Gone),
            _ => {}
        }
        self.charge(&mut state);
    }

    /// Has the connection's task look in.
    pub(super) fn call(&self) {
        self.attention.store(true, Ordering::Release);
        self.task.wake();
    }

    fn give_up(&self, state: &mut State, why: Overrun) {
        state.wire.queue.keep_started();
        state.phase = Phase::Overrun { why, told: false };
        self.closed.store(true, Ordering::Release);
        self.call();
    }

    /// Ends because the peer is gone.
    pub(super) fn break_off(&self, state: &mut State) {
        // A session that had begun to close has nothing more to hear from this peer.
        let closing = matches!(state.phase, Phase::Closing { .. });
        self.end(state, if closing { Phase::Gone } else { Phase::Broken });
    }

    fn end(&self, state: &mut State, phase: Phase) {
        state.wire.cut(phase == Phase::Gone);
        if state.phase != Phase::Gone {
            state.phase = phase;
        }
        self.closed.store(true, Ordering::Release);
        self.call();
    }

    /// Gives up the sink of a connection whose socket another one goes on with; none where it has
    /// ended, or has not sent all yet.
    pub(super) fn release(&self) -> Option<Sink> {
        let mut state = self.lock();
        if state.phase != Phase::Open || !state.wire.queue.is_empty() {
            return None;
        }
        state.phase = Phase::Gone;
        self.closed.store(true, Ordering::Release);
        Some(state.wire.replace(Sink::Gone))
    }

    /// Brings the node's budget and the gauge up to what waits now.
    pub(super) fn charge(self: &Arc<Self>, state: &mut State) {
        let now = if state.wire.blocked { state.wire.queue.bytes() } else { 0 };
        let before = self.charged.load(Ordering::Relaxed);
        if before == now {
            return;
        }
        self.charged.store(now, Ordering::Relaxed);
        let budget = &self.options.budget;
        if before == 0 {
            let weak: Weak<Self> = Arc::downgrade(self);
            budget.enter(Arc::as_ptr(self).addr(), weak);
        } else if now == 0 {
            budget.leave(Arc::as_ptr(self).addr());
        }
        budget.charge(before, now);
        self.options.metrics.outbox_bytes.inc_by(signed(now) - signed(before));
    }
}

impl Tenant for Line {
    fn charged(&self) -> usize {
        self.charged.load(Ordering::Relaxed)
    }

    fn evict(self: Arc<Self>) {
        let mut state = self.lock();
        match state.phase {
            Phase::Open => self.give_up(&mut state, Overrun::Node),
            Phase::Closing { .. } => self.end(&mut state, Phase::Gone),
            _ => {}
        }
        self.charge(&mut state);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let charged = *self.charged.get_mut();
        if charged > 0 {
            self.options.budget.leave(std::ptr::from_ref(self).addr());
            self.options.budget.charge(charged, 0);
            self.options.metrics.outbox_bytes.inc_by(-signed(charged));
        }
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
