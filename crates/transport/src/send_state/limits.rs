//! Pushes within the limits of an outbox, and what it costs the budget of the node.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, Weak};

use super::{SendInner, SendPhase, SendState};
use crate::budget::BudgetMember;
use crate::queue::LatestKey;
use crate::{Closed, Overrun, TransportOptions};

impl SendState {
    /// Queues a frame with `add`, within the limits. Returns whether this must be flushed.
    pub(crate) fn push(
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
            // The socket is not known to be slow: the turn has not ended yet.
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
            // From now on the queue has a deadline.
            self.wake_task();
        } else if reliable && state.writer.blocked && !timed {
            // The first frame with a deadline: the connection's task must arm a timer.
            self.wake_task();
        }
        self.charge_and_enforce(state)
    }

    /// Ends a change under the lock. Then the budget is enforced where something waits.
    pub(crate) fn charge_and_enforce(
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

    /// Drops the waiting latest-wins frames of a key.
    pub(crate) fn discard_latest(self: &Arc<Self>, key: LatestKey) {
        let mut state = self.lock();
        state.writer.queue.discard_latest(key);
        self.charge(&mut state);
    }

    /// Drops latest-wins frames, the oldest first, until the limits are kept. Returns whether they
    /// are.
    fn drop_latest_to_fit(&self, state: &mut SendInner) -> bool {
        loop {
            let within = state.writer.queue.bytes() <= self.options.outbox_bytes
                && state.writer.queue.len() <= self.options.outbox_messages;
            // Nothing is dropped before a write was tried.
            if within || !state.writer.blocked {
                return within;
            }
            if !state.writer.queue.drop_oldest_latest() {
                return false;
            }
            self.options.metrics.conflated.inc();
        }
    }

    /// The limit that is exceeded at once. The limit of frames alone may be exceeded for a moment,
    /// because rooms can be faster than the socket for a turn.
    fn exceeded_limit(&self, state: &SendInner) -> Option<Overrun> {
        let (bytes, frames) = (state.writer.queue.bytes(), state.writer.queue.len());
        if bytes > self.options.outbox_bytes {
            return Some(Overrun::Bytes);
        }
        let most = TransportOptions::max_frames(self.options.outbox_messages);
        (frames > most).then_some(Overrun::Messages)
    }

    /// Updates the budget and the gauge to what waits now.
    pub(crate) fn charge(self: &Arc<Self>, state: &mut SendInner) {
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
