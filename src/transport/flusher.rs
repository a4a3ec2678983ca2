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
    // Beside the end of a thread, when its locals are gone, the list is always there.
    let listed = DIRTY.try_with(|dirty| {
        let mut dirty = dirty.borrow_mut();
        if !dirty.running {
            if !has_arbiter() {
                return false;
            }
            dirty.running = true;
            actix_rt::spawn(Flusher);
        }
        dirty.lines.push(Arc::clone(line));
        if let Some(flusher) = dirty.flusher.take() {
            flusher.wake();
        }
        true
    });
    if !listed.unwrap_or(false) {
        flush(line);
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
        // The runtime ends; another may begin on this thread (tests do that).
        let _ = DIRTY.try_with(|dirty| {
            if let Ok(mut dirty) = dirty.try_borrow_mut() {
                dirty.running = false;
                dirty.flusher = None;
            }
        });
    }
}
