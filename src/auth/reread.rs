//! An order to read the keys again at once, from whatever thread.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

/// Tells the thread that keeps the keys to read them now.
#[derive(Default)]
pub struct Reread {
    asked: AtomicBool,
    /// Who reads; none before it has started, and where no keys can change.
    reader: OnceLock<Thread>,
}

impl Reread {
    /// Has the keys read again. One order may do for several.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        if let Some(reader) = self.reader.get() {
            reader.unpark();
        }
    }

    /// Who is to be woken.
    pub(super) fn set_reader(&self, thread: Thread) {
        // A second one would be woken by its own clock alone.
        self.reader.set(thread).ok();
    }

    /// Whether there was an order since the last look.
    pub(super) fn take(&self) -> bool {
        self.asked.swap(false, Ordering::AcqRel)
    }
}
