//! The sending side of one socket: its queue under a lock, the phase of its connection, and the
//! write calls. Rooms reach it through [`super::Outbox`], the connection's task through
//! [`super::Inbound`], which drives it while the socket is blocked or closing.

mod limits;

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::task::AtomicWaker;

use super::frame_writer::{FrameWriter, Sink, WriteOutcome};
use super::queue::Queue;
use super::{Overrun, TransportOptions};

/// The sending side of one socket. The fields that a push touches come first and together: most
/// sockets are out of the cache when a push comes.
#[repr(C)]
#[derive(Debug)]
pub(super) struct SendState {
    /// Whether this is on some thread's list to flush. A push sets it, and it is cleared before the
    /// flush, so a push in between is either flushed now or lists this again.
    pub(super) dirty: AtomicBool,
    /// Whether the connection's task has work here: the socket is blocked or the end began. Written
    /// under the lock.
    attention: AtomicBool,
    /// Whether pushes are refused. Written under the lock.
    closed: AtomicBool,
    /// Whether a user is authenticated on the connection.
    pub(super) authenticated: AtomicBool,
    /// How many guards pause reading.
    pub(super) pauses: AtomicU32,
    pub(super) options: Arc<TransportOptions>,
    state: Mutex<SendInner>,
    /// The bytes that the budget counts for this outbox. Written under the lock.
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

/// The phase of a connection. It only moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SendPhase {
    /// Pushes are accepted.
    Open,
    /// A limit was exceeded; the connection actor has to finish.
    Overrun { why: Overrun, reported: bool },
    /// What waits must be sent by then.
    Closing { by: Instant },
    /// A write failed. Bytes that the peer sent before may still be read.
    Broken,
    /// The connection has ended.
    Gone,
}

/// What the connection's task has to do for the sending side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendAction {
    /// Nothing.
    None,
    /// Poll again when the socket takes more (the task is registered for that), or at this time.
    AwaitWritable(Option<Instant>),
    /// Report the overrun to the connection actor.
    ReportOverrun(Overrun),
    /// Continue with the WebSocket to which the client has moved.
    SwitchToSocket,
    /// Discard what still comes until the peer ends or the time is over. `sent`: all is sent.
    AwaitClose { by: Instant, sent: bool },
    /// End the connection.
    End,
}

// === impl SendInner ===

impl SendInner {
    /// Removes what the ring has sent. Returns whether nothing else remains to do.
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

    /// Whether the connection closes in order.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.lock().phase, SendPhase::Closing { .. })
    }

    /// Whether a guard pauses reading.
    pub(super) fn is_read_paused(&self) -> bool {
        self.pauses.load(Ordering::Acquire) > 0
    }

    pub(super) fn wants_attention(&self) -> bool {
        self.attention.load(Ordering::Acquire)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SendInner> {
        // A panic under the lock ends this connection (the flusher aborts it). The abort replaces
        // any state that was left half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what waits, unless the socket is known to be blocked.
    pub(super) fn flush(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.writer.blocked {
            return;
        }
        self.write(&mut state);
        let _ = self.charge_and_enforce(state);
    }

    /// Locks this if the lock is free and the ring may send what waits. Returns the socket, too.
    pub(super) fn try_lock_for_uring(&self) -> Option<(MutexGuard<'_, SendInner>, RawFd)> {
        // Never waits: the caller holds several of these locks, and another thread may hold one and
        // want another.
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
            // All frames are sent: the peer reads them, then the end. If the peer has ended
            // already, the task waited only for this.
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

    /// Begins an orderly close. `last` adds the last frames. A peer that is `given_up` as dead gets
    /// them only if that needs no wait. Only the first call has an effect.
    pub(super) fn close(self: &Arc<Self>, given_up: bool, last: impl FnOnce(&mut Queue)) -> bool {
        let mut state = self.lock();
        match state.phase {
            SendPhase::Open | SendPhase::Overrun { .. } => {}
            SendPhase::Broken => {
                // The frames cannot reach the peer, and the connection's task has only the end left
                // to do.
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

    /// What the connection's task has to do now. Writes if the socket takes more, and registers the
    /// task for when it does.
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

    /// Handles a deadline that has passed.
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

    /// Wakes the connection's task to call `drive`.
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
        // A connection that was closing has nothing more to read from this peer.
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

    /// Gives up the sink, so that another connection can continue with the socket. `None` where
    /// this connection has ended or has unsent frames.
    pub(super) fn take_sink(&self) -> Option<Sink> {
        let mut state = self.lock();
        if state.phase != SendPhase::Open || !state.writer.queue.is_empty() {
            return None;
        }
        state.phase = SendPhase::Gone;
        self.closed.store(true, Ordering::Release);
        Some(state.writer.replace(Sink::Gone))
    }
}
