//! One write per socket and turn: each thread keeps a list of the outboxes it has pushed to, and
//! one task that writes them all when the thread's other tasks have had their turn.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use super::line::Line;

/// Sockets written before other tasks of the thread may run.
const SOCKETS_PER_POLL: usize = 1024;

thread_local! {
    static DIRTY: RefCell<Dirty> = const { RefCell::new(Dirty::new()) };
}

/// What one thread has to write.
struct Dirty {
    lines: Vec<Arc<Line>>,
    /// Whether this thread's flusher task lives; it ends with the thread's runtime.
    running: bool,
    /// Set while the flusher sleeps.
    flusher: Option<Waker>,
}

impl Dirty {
    const fn new() -> Self {
        Self { lines: Vec::new(), running: false, flusher: None }
    }
}

/// Has what waits in `line` written at the end of this thread's turn.
///
/// On a thread without an arbiter, where no task could do it, it is written at once.
pub(super) fn schedule(line: &Arc<Line>) {
    if line.dirty.swap(true, Ordering::AcqRel) {
        return;
    }
    // Only while a thread ends, when its locals are gone, there is no list.
    let listed = DIRTY.try_with(|dirty| {
        let mut dirty = dirty.borrow_mut();
        if !dirty.running && !has_arbiter() {
            return None;
        }
        dirty.lines.push(Arc::clone(line));
        let spawn = !std::mem::replace(&mut dirty.running, true);
        Some((spawn, dirty.flusher.take()))
    });
    match listed.ok().flatten() {
        None => flush(line),
        Some((spawn, flusher)) => {
            // Outside the borrow: a runtime that is ending drops a new task at once.
            if spawn {
                actix_rt::spawn(Flusher);
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

fn flush(line: &Arc<Line>) {
    // Swapped, not stored: it must see what the push did that found the flag set.
    line.dirty.swap(false, Ordering::AcqRel);
    if catch_unwind(AssertUnwindSafe(|| line.flush())).is_err() {
        log::error!("writing to a socket panicked; its connection is cut");
        line.abort();
    }
}

/// The task of one thread that writes what its other tasks pushed.
struct Flusher;

impl Future for Flusher {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut written = 0;
        loop {
            let lines = DIRTY.with_borrow_mut(|dirty| {
                if dirty.lines.is_empty() {
                    dirty.flusher = Some(cx.waker().clone());
                }
                let count = dirty.lines.len().min(SOCKETS_PER_POLL - written);
                let rest = dirty.lines.split_off(count);
                std::mem::replace(&mut dirty.lines, rest)
            });
            if lines.is_empty() {
                if written == SOCKETS_PER_POLL {
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
            written += lines.len();
            lines.iter().for_each(flush);
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        // The runtime ends; another may begin on this thread (tests do that). What is listed must
        // not stay so: nobody else would write it.
        let lines = DIRTY.try_with(|dirty| dirty.replace(Dirty::new()).lines);
        lines.unwrap_or_default().iter().for_each(flush);
    }
}
