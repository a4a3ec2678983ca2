//! The sending side of one socket: its queue under a lock, how far its connection has come, and
//! the writing itself. Rooms reach it through [`super::Outbox`], the connection's own task through
//! [`super::Inbound`], which keeps it up while the socket is blocked or closing.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::task::AtomicWaker;

use super::budget::BudgetMember;
use super::frame_writer::{FrameWriter, Sink, WriteOutcome};
use super::queue::{LatestKey, Queue};
use super::{Closed, Overrun, TransportOptions};

/// The sending side of one socket. What a push touches stands together, first: most sockets are
/// cold when one comes.
#[repr(C)]
#[derive(Debug)]
pub(super) struct SendState {
    /// Whether a thread has this on its list of those to flush. Set behind a push, cleared
    /// before the flush: a push in between is seen by it or lists this again.
    pub(super) dirty: AtomicBool,
    /// Whether the connection's task has to look in: the socket is blocked, or the end began.
    /// Written under the lock.
    attention: AtomicBool,
    /// Whether pushes are refused. Written under the lock.
    closed: AtomicBool,
    /// Whether somebody has logged in.
    pub(super) authenticated: AtomicBool,
    /// How many reasons the session has to want no more messages for now.
    pub(super) pauses: AtomicU32,
    pub(super) options: Arc<TransportOptions>,
    state: Mutex<SendInner>,
    /// What the node's budget counts of this outbox. Written under the lock.
    charged: AtomicUsize,
    /// The connection's task.
    pub(super) task: AtomicWaker,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct SendInner {
    pub(super) writer: FrameWriter,
    phase: SendPhase,
}

/// How far a connection has come. It only ever goes downwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SendPhase {
    /// Pushes are taken.
    Open,
    /// The outbox gave up; the session has to finish.
    Overrun { why: Overrun, reported: bool },
    /// What waits must have left by then.
    Closing { by: Instant },
    /// A write failed. What the peer said before may still be read.
    Broken,
    /// Over.
    Gone,
}

/// What the sending side asks of the connection's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendAction {
    /// Nothing.
    None,
    /// To come back when the socket takes more, which is arranged, or at the time given.
    AwaitWritable(Option<Instant>),
    /// To tell the session.
    ReportOverrun(Overrun),
    /// To go on with the WebSocket to which a client of long-polling has moved.
    SwitchToSocket,
    /// To swallow what still comes until the peer ends or the time is over; whether all is sent.
    AwaitClose { by: Instant, sent: bool },
    /// To end.
    End,
}

// === impl SendInner ===

impl SendInner {
    /// Takes out what the ring has sent; whether that was all that there is to do.
    pub(super) fn advance(&mut self, sent: usize) -> bool {
        #[cfg(test)]
        {
            assert!(!self.writer.uring_sabotaged, "a send by the ring that a test made panic");
            self.writer.writes += u32::from(sent > 0);
            self.writer.uring_writes += u32::from(sent > 0);
        }
        self.writer.advance(sent);
        self.writer.queue.is_empty() && self.phase == SendPhase::Open
    }
}

// === impl SendState ===

impl SendState {
    pub(super) fn new(sink: Sink, queue: Queue, options: Arc<TransportOptions>) -> Self {
        Self {
            state: Mutex::new(SendInner {
                writer: FrameWriter::new(sink, queue),
                phase: SendPhase::Open,
            }),
            dirty: AtomicBool::new(false),
            attention: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            authenticated: AtomicBool::new(false),
            pauses: AtomicU32::new(0),
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
        matches!(self.lock().phase, SendPhase::Closing { .. })
    }

    /// Whether the session wants no more messages for now.
    pub(super) fn is_read_paused(&self) -> bool {
        self.pauses.load(Ordering::Acquire) > 0
    }

    pub(super) fn wants_attention(&self) -> bool {
        self.attention.load(Ordering::Acquire)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SendInner> {
        // A panic under the lock ends this connection (the flusher aborts it), and an abort
        // replaces whatever was left half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues by `add`, within the limits. Says whether this must be flushed.
    pub(super) fn push(
        self: &Arc<Self>,
        reliable: bool,
        add: impl FnOnce(&mut SendInner),
    ) -> Result<bool, Closed> {
        if self.is_closed() {
            return Err(Closed);
        }
        let mut state = self.lock();
        if state.phase != SendPhase::Open {
            return Err(Closed);
        }
        let timed = state.writer.blocked && state.writer.queue.waiting_since().is_some();
        add(&mut state);
        let mut within = self.drop_latest_to_fit(&mut state);
        if !within && !state.writer.blocked {
            // Nobody is slow yet: it is only that the turn has not ended.
            self.write(&mut state);
            within = self.drop_latest_to_fit(&mut state);
        }
        let exceeded = if within { None } else { self.exceeded_limit(&state) };
        if !within
            && reliable
            && let Some(overrun) = exceeded
        {
            self.give_up(&mut state, overrun);
        } else if !within && reliable && state.writer.set_overcrowded(true) {
            // From now on it has a deadline.
            self.wake_task();
        } else if reliable && state.writer.blocked && !timed {
            // The first frame that has a deadline: the connection's task must hear of it.
            self.wake_task();
        }
        self.charge_and_enforce(state)
    }

    /// Ends a change under the lock, and has the budget look where something waits.
    pub(super) fn charge_and_enforce(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, SendInner>,
    ) -> Result<bool, Closed> {
        self.charge(&mut state);
        let (blocked, open) = (state.writer.blocked, state.phase == SendPhase::Open);
        let flush = !blocked && !state.writer.queue.is_empty();
        drop(state);
        if blocked {
            self.options.budget.enforce();
        }
        if open { Ok(flush) } else { Err(Closed) }
    }

    /// Drops the waiting latest-wins frame of a key.
    pub(super) fn discard_latest(self: &Arc<Self>, key: LatestKey) {
        let mut state = self.lock();
        state.writer.queue.discard_latest(key);
        self.charge(&mut state);
    }

    /// Drops latest-wins frames, the oldest first, until the limits are kept; says whether they
    /// are.
    fn drop_latest_to_fit(&self, state: &mut SendInner) -> bool {
        loop {
            let within = state.writer.queue.bytes() <= self.options.outbox_bytes
                && state.writer.queue.len() <= self.options.outbox_messages;
            // Before the socket was tried nothing has to go.
            if within || !state.writer.blocked {
                return within;
            }
            if !state.writer.queue.drop_oldest_latest() {
                return false;
            }
            self.options.metrics.conflated.inc();
        }
    }

    /// What there is too much of, at once. Too many frames alone are so for a moment where rooms are
    /// faster than the socket for a turn.
    fn exceeded_limit(&self, state: &SendInner) -> Option<Overrun> {
        let (bytes, frames) = (state.writer.queue.bytes(), state.writer.queue.len());
        if bytes > self.options.outbox_bytes {
            return Some(Overrun::Bytes);
        }
        let most = TransportOptions::max_frames(self.options.outbox_messages);
        (frames > most).then_some(Overrun::Messages)
    }

    /// Writes what waits, unless the socket is known to take no more.
    pub(super) fn flush(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.writer.blocked {
            return;
        }
        self.write(&mut state);
        let _ = self.charge_and_enforce(state);
    }

    /// Locks this where nobody else does and where what waits may go by the ring, and says to
    /// which socket.
    pub(super) fn try_lock_for_uring(&self) -> Option<(MutexGuard<'_, SendInner>, RawFd)> {
        // Never waits: several are held at once, and another thread may hold one and want another.
        let state = self.state.try_lock().ok()?;
        let socket = state.writer.uring_socket()?;
        Some((state, socket))
    }

    /// Writes until nothing waits or the peer takes no more.
    pub(super) fn write(&self, state: &mut SendInner) {
        let was_blocked = state.writer.blocked;
        let written = state.writer.write(self.options.send_timeout);
        if state.writer.queue.len() <= self.options.outbox_messages {
            state.writer.set_overcrowded(false);
        }
        match written {
            // All that was to be said has left: the peer reads it, then the end. Where the peer has
            // ended already, this was what the task waited for.
            WriteOutcome::All if matches!(state.phase, SendPhase::Closing { .. }) => {
                state.writer.shutdown_write();
                self.wake_task();
            }
            WriteOutcome::All => {}
            WriteOutcome::Blocked if was_blocked => {}
            WriteOutcome::Blocked => self.wake_task(),
            WriteOutcome::Broken => self.mark_broken(state),
        }
    }

    /// Begins the end: `last` adds what is still to be said; a peer that is `given_up` as dead is
    /// told only where it costs no waiting for it. Only the first one counts.
    pub(super) fn close(self: &Arc<Self>, given_up: bool, last: impl FnOnce(&mut Queue)) -> bool {
        let mut state = self.lock();
        match state.phase {
            SendPhase::Open | SendPhase::Overrun { .. } => {}
            SendPhase::Broken => {
                // Nobody is left to hear it, and after this the session waits only for the end.
                self.end(&mut state, SendPhase::Gone);
                return false;
            }
            SendPhase::Closing { .. } | SendPhase::Gone => return false,
        }
        let now = Instant::now();
        last(&mut state.writer.queue);
        if state.writer.poll_state().is_some_and(|poll_state| poll_state.is_unreachable(given_up)) {
            state.writer.queue = Queue::default();
        }
        if state.writer.queue.is_empty()
            && let Some(poll_state) = state.writer.poll_state()
        {
            poll_state.fall_silent();
        }
        state.phase = SendPhase::Closing { by: now + self.options.close_timeout };
        self.closed.store(true, Ordering::Release);
        self.wake_task();
        let _ = self.charge_and_enforce(state);
        true
    }

    /// Ends at once: nothing more is sent.
    pub(super) fn abort(self: &Arc<Self>) {
        let mut state = self.lock();
        self.end(&mut state, SendPhase::Gone);
        self.charge(&mut state);
    }

    /// What the connection's task has to do now. Goes on writing if the socket takes more, and
    /// has the task woken when it does.
    pub(super) fn drive(self: &Arc<Self>, cx: &mut Context<'_>) -> SendAction {
        let mut state = self.lock();
        while state.writer.blocked {
            match state.writer.poll_ready(cx) {
                Poll::Ready(Ok(())) => self.write(&mut state),
                Poll::Ready(Err(_)) => self.mark_broken(&mut state),
                Poll::Pending => break,
            }
        }
        self.charge(&mut state);
        if state.writer.poll_state().is_some_and(|poll_state| poll_state.has_upgraded_socket()) {
            return SendAction::SwitchToSocket;
        }
        match state.phase {
            SendPhase::Open | SendPhase::Overrun { reported: true, .. } if state.writer.blocked => {
                let open = state.phase == SendPhase::Open;
                SendAction::AwaitWritable(
                    state.writer.send_deadline(self.options.send_timeout).filter(|_| open),
                )
            }
            SendPhase::Open | SendPhase::Broken | SendPhase::Overrun { reported: true, .. } => {
                self.attention.store(false, Ordering::Release);
                SendAction::None
            }
            SendPhase::Overrun { why, reported: false } => {
                state.phase = SendPhase::Overrun { why, reported: true };
                SendAction::ReportOverrun(why)
            }
            SendPhase::Closing { by } => {
                SendAction::AwaitClose { by, sent: state.writer.queue.is_empty() }
            }
            SendPhase::Gone => SendAction::End,
        }
    }

    /// Acts on a deadline that has come.
    pub(super) fn expire(self: &Arc<Self>, now: Instant) {
        let mut state = self.lock();
        match state.phase {
            SendPhase::Open => {
                if state.writer.blocked {
                    state.writer.update_pace(now, self.options.send_timeout);
                }
                let due = state
                    .writer
                    .send_deadline(self.options.send_timeout)
                    .filter(|_| state.writer.blocked);
                if due.is_some_and(|due| due <= now) {
                    let too_many = state.writer.queue.len() > self.options.outbox_messages;
                    let why = if too_many { Overrun::Messages } else { Overrun::Stalled };
                    self.give_up(&mut state, why);
                }
            }
            SendPhase::Closing { by } if by <= now => self.end(&mut state, SendPhase::Gone),
            _ => {}
        }
        self.charge(&mut state);
    }

    /// Has the connection's task look in.
    pub(super) fn wake_task(&self) {
        self.attention.store(true, Ordering::Release);
        self.task.wake();
    }

    fn give_up(&self, state: &mut SendInner, why: Overrun) {
        state.writer.queue.drop_unstarted();
        state.phase = SendPhase::Overrun { why, reported: false };
        self.closed.store(true, Ordering::Release);
        self.wake_task();
    }

    /// Ends because the peer is gone.
    pub(super) fn mark_broken(&self, state: &mut SendInner) {
        // A session that had begun to close has nothing more to hear from this peer.
        let closing = matches!(state.phase, SendPhase::Closing { .. });
        self.end(state, if closing { SendPhase::Gone } else { SendPhase::Broken });
    }

    fn end(&self, state: &mut SendInner, phase: SendPhase) {
        state.writer.close_sink(phase == SendPhase::Gone);
        if state.phase != SendPhase::Gone {
            state.phase = phase;
        }
        self.closed.store(true, Ordering::Release);
        self.wake_task();
    }

    /// Gives up the sink of a connection whose socket another one goes on with; none where it has
    /// ended, or has not sent all yet.
    pub(super) fn take_sink(&self) -> Option<Sink> {
        let mut state = self.lock();
        if state.phase != SendPhase::Open || !state.writer.queue.is_empty() {
            return None;
        }
        state.phase = SendPhase::Gone;
        self.closed.store(true, Ordering::Release);
        Some(state.writer.replace(Sink::Gone))
    }

    /// Brings the node's budget and the gauge up to what waits now.
    pub(super) fn charge(self: &Arc<Self>, state: &mut SendInner) {
        let now = if state.writer.blocked { state.writer.queue.bytes() } else { 0 };
        let before = self.charged.load(Ordering::Relaxed);
        if before == now {
            return;
        }
        self.charged.store(now, Ordering::Relaxed);
        let budget = &self.options.budget;
        if before == 0 {
            let weak: Weak<Self> = Arc::downgrade(self);
            budget.register(Arc::as_ptr(self).addr(), weak);
        } else if now == 0 {
            budget.unregister(Arc::as_ptr(self).addr());
        }
        budget.charge(before, now);
        self.options.metrics.outbox_bytes.inc_by(signed(now) - signed(before));
    }
}

impl BudgetMember for SendState {
    fn charged(&self) -> usize {
        self.charged.load(Ordering::Relaxed)
    }

    fn evict(self: Arc<Self>) {
        let mut state = self.lock();
        match state.phase {
            SendPhase::Open => self.give_up(&mut state, Overrun::Node),
            SendPhase::Closing { .. } => self.end(&mut state, SendPhase::Gone),
            _ => {}
        }
        self.charge(&mut state);
    }
}

impl Drop for SendState {
    fn drop(&mut self) {
        let charged = *self.charged.get_mut();
        if charged > 0 {
            self.options.budget.unregister(std::ptr::from_ref(self).addr());
            self.options.budget.charge(charged, 0);
            self.options.metrics.outbox_bytes.inc_by(-signed(charged));
        }
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
