//! A request, from any thread, to read the keys again at once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

/// Tells the thread that keeps the keys to read them now.
#[derive(Default)]
pub struct Reread {
    asked: AtomicBool,
    /// The thread that reads; none before it starts, or if no keys can change.
    reader: OnceLock<Thread>,
}

impl Reread {
    /// Requests a new read. One read may serve several requests.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        if let Some(reader) = self.reader.get() {
            reader.unpark();
        }
    }

    /// Sets the thread to wake.
    pub(super) fn set_reader(&self, thread: Thread) {
        // A second thread would wake only by its own clock.
        self.reader.set(thread).ok();
    }

    /// Whether there was a request since the last call.
    pub(super) fn take(&self) -> bool {
        self.asked.swap(false, Ordering::AcqRel)
    }
}
