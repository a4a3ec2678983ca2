//! One write per socket and turn. Each thread lists the outboxes to which it has pushed. One task
//! per thread writes them all after the thread's other tasks have run.

use std::cell::RefCell;
use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use smallvec::SmallVec;

use super::queue::Queue;
use super::ring::{MAX_SENDS, Ring};
use super::send_state::SendState;

/// Sockets written before other tasks of the thread may run.
const SOCKETS_PER_POLL: usize = 1024;

thread_local! {
    static DIRTY: RefCell<Dirty> = const { RefCell::new(Dirty::new()) };
}

/// What one thread has to write.
struct Dirty {
    send_states: Vec<Arc<SendState>>,
    /// Whether this thread's flusher task lives. It ends with the thread's runtime.
    running: bool,
    /// Set while the flusher sleeps.
    flusher: Option<Waker>,
}

impl Dirty {
    const fn new() -> Self {
        Self { send_states: Vec::new(), running: false, flusher: None }
    }
}

/// Schedules a write of what waits in `send_state` at the end of this thread's turn.
///
/// A thread without an arbiter has no flusher task, and writes at once.
pub(super) fn schedule(send_state: &Arc<SendState>) {
    if send_state.dirty.swap(true, Ordering::AcqRel) {
        return;
    }
    // There is no list while a thread ends and its locals are gone.
    let listed = DIRTY.try_with(|dirty| {
        let mut dirty = dirty.borrow_mut();
        if !dirty.running && !has_arbiter() {
            return None;
        }
        dirty.send_states.push(Arc::clone(send_state));
        let spawn = !std::mem::replace(&mut dirty.running, true);
        Some((spawn, dirty.flusher.take()))
    });
    match listed.ok().flatten() {
        None => flush(send_state),
        Some((spawn, flusher)) => {
            // Outside the borrow: a runtime that is ending drops a new task at once.
            if spawn {
                actix_rt::spawn(Flusher::new(send_state.options.io_uring));
            }
            if let Some(flusher) = flusher {
                flusher.wake();
            }
        }
    }
}

/// Whether a task can be spawned on this thread.
pub(super) fn has_arbiter() -> bool {
    actix_rt::Arbiter::try_current().is_some() && tokio::runtime::Handle::try_current().is_ok()
}

fn flush(send_state: &Arc<SendState>) {
    // Swapped, not stored: the swap must see what was pushed by the thread that found the flag set.
    send_state.dirty.swap(false, Ordering::AcqRel);
    if catch_unwind(AssertUnwindSafe(|| send_state.flush())).is_err() {
        log::error!("writing to a socket panicked; its connection is cut");
        send_state.abort();
    }
}

/// The task of one thread that writes what its other tasks pushed.
struct Flusher {
    /// Writes several sockets at once; `None` where the system or the settings do not allow it.
    ring: Option<Ring>,
}

impl Flusher {
    /// The flusher of this thread.
    fn new(io_uring: bool) -> Self {
        let opened = io_uring.then(Ring::open).transpose();
        let opened = opened.inspect_err(|error| log::warn!("io_uring cannot be opened: {error}"));
        Self { ring: opened.ok().flatten() }
    }

    /// Writes what waits in `send_states`, by the ring where there is one.
    fn flush_all(&mut self, send_states: &[Arc<SendState>]) {
        for chunk in send_states.chunks(MAX_SENDS) {
            match &mut self.ring {
                Some(ring) if chunk.len() > 1 => {
                    if let Err(error) = flush_by_uring(ring, chunk) {
                        log::warn!(
                            "io_uring failed; this thread now writes each socket on its own: {error}"
                        );
                        self.ring = None;
                    }
                }
                _ => chunk.iter().for_each(flush),
            }
        }
    }
}

/// Writes what waits in `send_states`: by one system call where possible, else one by one. Fails
/// where the ring fails; all is written then too.
fn flush_by_uring(ring: &mut Ring, send_states: &[Arc<SendState>]) -> io::Result<()> {
    let mut rest = SmallVec::<[&Arc<SendState>; MAX_SENDS]>::new();
    let sent = catch_unwind(AssertUnwindSafe(|| {
        let mut locked = SmallVec::<[_; MAX_SENDS]>::new();
        for send_state in send_states {
            // Swapped for the reason in `flush`.
            send_state.dirty.swap(false, Ordering::AcqRel);
            match send_state.try_lock_for_uring() {
                Some((state, socket)) => locked.push((send_state, state, socket)),
                None => rest.push(send_state),
            }
        }
        let mut taken = [0; MAX_SENDS];
        let queues = locked.iter().map(|(_, state, socket)| (*socket, &state.writer.queue));
        let sent = send_each(ring, queues, &mut taken);
        for ((send_state, mut state, _), taken) in locked.into_iter().zip(taken) {
            if !state.advance(taken) {
                rest.push(send_state);
            }
        }
        sent
    }));
    if sent.is_err() {
        // It is unknown how much each socket was sent.
        log::error!("writing to sockets panicked; their connections are cut");
        send_states.iter().for_each(SendState::abort);
    }
    // No lock is held here: a write may make the budget lock other outboxes.
    rest.into_iter().for_each(flush);
    sent.unwrap_or_else(|_| Err(io::Error::other("a panic")))
}

/// Sends what waits in each of `queues` to its socket, and sets `taken` to the bytes that each
/// took.
fn send_each<'a>(
    ring: &mut Ring,
    queues: impl Iterator<Item = (RawFd, &'a Queue)>,
    taken: &mut [usize; MAX_SENDS],
) -> io::Result<()> {
    let mut slices = SmallVec::<[_; 2 * MAX_SENDS]>::new();
    let mut ends = SmallVec::<[_; MAX_SENDS]>::new();
    for (socket, queue) in queues {
        slices.extend(queue.slices());
        ends.push((socket, slices.len()));
    }
    let mut start = 0;
    let sends: SmallVec<[_; MAX_SENDS]> = ends
        .into_iter()
        .map(|(socket, end)| (socket, &slices[std::mem::replace(&mut start, end)..end]))
        .collect();
    ring.send_each(&sends, taken)
}

impl Future for Flusher {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut written = 0;
        loop {
            let send_states = DIRTY.with_borrow_mut(|dirty| {
                if dirty.send_states.is_empty() {
                    dirty.flusher = Some(cx.waker().clone());
                }
                let count = dirty.send_states.len().min(SOCKETS_PER_POLL - written);
                let rest = dirty.send_states.split_off(count);
                std::mem::replace(&mut dirty.send_states, rest)
            });
            if send_states.is_empty() {
                if written == SOCKETS_PER_POLL {
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
            written += send_states.len();
            self.flush_all(&send_states);
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        // The runtime ends; another may begin on this thread (tests do that). The listed outboxes
        // are written now, because no other task would write them.
        let send_states = DIRTY.try_with(|dirty| dirty.replace(Dirty::new()).send_states);
        send_states.unwrap_or_default().iter().for_each(flush);
    }
}
