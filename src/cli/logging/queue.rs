//! The queue before stderr, and the thread that writes it.
//!
//! A pipe whose reader stalls blocks every writer. So the threads that serve only put lines into
//! this queue. If the queue is full, a line is dropped and counted.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::metrics::LogLosses;

/// How many bytes may wait. The same amount may be in writing: together two seconds of a busy hub's
/// log.
const CAPACITY: usize = 1024 * 1024;
/// How much memory the queue keeps after a burst.
const KEPT: usize = 64 * 1024;
/// How long the thread waits when a non-blocking stderr takes no more.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// Makes a line about this many dropped lines.
pub(super) type DropNotice = fn(u64) -> Vec<u8>;

/// Lines on their way to a stream.
pub(super) struct LogQueue {
    state: Mutex<State>,
    /// Notified when there is something to write.
    filled: Condvar,
    /// Notified when everything is written.
    idle: Condvar,
    losses: &'static LogLosses,
}

#[derive(Default)]
struct State {
    /// Complete lines, oldest first.
    waiting: Vec<u8>,
    /// Lines dropped since the writing thread last took lines.
    dropped: u64,
    /// Whether the thread has lines that are not written yet.
    writing: bool,
}

// === impl LogQueue ===

impl LogQueue {
    /// Starts the thread that writes to `output`. It lives as long as the process.
    pub(super) fn start(
        output: impl Write + Send + 'static,
        notice: DropNotice,
        losses: &'static LogLosses,
    ) -> io::Result<Arc<Self>> {
        let (state, filled, idle) = Default::default();
        let queue = Arc::new(Self { state, filled, idle, losses });
        let writer = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_lines(output, notice))?;
        Ok(queue)
    }

    /// Adds a line, or drops it if the queue is full. Never waits for the stream.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + line.len() > CAPACITY {
            state.dropped += 1;
            self.losses.queue_full(1);
            return;
        }
        let sleeps = state.waiting.is_empty() && !state.writing;
        state.waiting.extend_from_slice(line);
        drop(state);
        // Each wake-up is a system call, so a burst causes only one.
        if sleeps {
            self.filled.notify_one();
        }
    }

    /// Waits until all lines are written, for at most `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let busy = |state: &mut State| state.writing || !state.waiting.is_empty();
        // In time or not, there is nothing more to do.
        drop(self.idle.wait_timeout_while(self.lock(), patience, busy));
    }

    fn write_lines(&self, mut output: impl Write, notice: DropNotice) {
        let mut lines = Vec::new();
        loop {
            let dropped = self.take(&mut lines);
            if dropped > 0 {
                // The dropped lines came after the lines that filled the queue.
                lines.extend(notice(dropped));
            }
            if write_all(&mut output, &lines).is_err() {
                // The stream is closed. The next line tries it again.
                self.losses.write_failed(count_lines(&lines));
            }
            lines.clear();
            lines.shrink_to(KEPT);
        }
    }

    /// Waits for lines and takes all of them; returns how many were dropped after them.
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        let mut state = self.lock();
        state.writing = false;
        if state.waiting.is_empty() {
            self.idle.notify_all();
        }
        let empty = |state: &mut State| state.waiting.is_empty();
        let waited = self.filled.wait_while(state, empty);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.writing = true;
        std::mem::swap(&mut state.waiting, lines);
        std::mem::take(&mut state.dropped)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As [`Write::write_all`], also for a non-blocking stream.
fn write_all(output: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(RETRY_INTERVAL);
            }
            Err(error) => return Err(error),
        }
    }
    output.flush()
}

fn count_lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    /// A stream that takes one write per permit, with all its bytes.
    struct Gated {
        permits: Receiver<io::Result<()>>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Without a permit it blocks; after the test it takes everything.
            self.permits.recv().unwrap_or(Ok(()))?;
            self.written.send(bytes.to_vec()).ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Fixture {
        queue: Arc<LogQueue>,
        permits: Sender<io::Result<()>>,
        written: Receiver<Vec<u8>>,
        losses: &'static LogLosses,
    }

    fn start() -> Fixture {
        let (permits, taken) = channel();
        let (sent, written) = channel();
        let losses: &'static LogLosses = Box::leak(Box::default());
        let notice = |count| format!("{count} dropped\n").into_bytes();
        let gated = Gated { permits: taken, written: sent };
        let queue = LogQueue::start(gated, notice, losses).expect("a thread");
        Fixture { queue, permits, written, losses }
    }

    impl Fixture {
        fn permit(&self, result: io::Result<()>) {
            self.permits.send(result).expect("the thread lives");
        }

        fn next_write(&self) -> String {
            let bytes = self.written.recv_timeout(TIMEOUT).expect("a write");
            String::from_utf8(bytes).expect("UTF-8")
        }

        /// Blocks the stream in the write of the first line.
        fn stall(&self) {
            self.queue.push(b"first\n");
            self.wait_until(|state| state.writing);
        }

        fn wait_until(&self, reached: impl Fn(&State) -> bool) {
            while !reached(&self.queue.lock()) {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn lines_that_do_not_fit_are_dropped_and_their_number_is_logged_in_place() {
        let fixture = start();
        fixture.stall();
        let long = ["x".repeat(CAPACITY / 2 - 1).as_bytes(), b"\n"].concat();
        for _ in 0..5 {
            fixture.queue.push(&long);
        }
        assert_eq!(fixture.losses.counts(), [3, 0, 0]);
        fixture.permit(Ok(()));
        assert_eq!(fixture.next_write(), "first\n");
        fixture.permit(Ok(()));
        let rest = fixture.next_write();
        assert_eq!((rest.len(), rest.ends_with("\n3 dropped\n")), (CAPACITY + 10, true));
        // The stream works again, and the memory of the burst is released.
        fixture.permit(Ok(()));
        fixture.queue.push(b"later\n");
        assert_eq!(fixture.next_write(), "later\n");
        fixture.queue.flush(TIMEOUT);
        assert!(fixture.queue.lock().waiting.capacity() <= KEPT);
    }

    #[test]
    fn the_end_waits_for_what_is_queued_but_not_for_ever() {
        let fixture = start();
        fixture.queue.flush(TIMEOUT);
        fixture.stall();
        fixture.queue.push(b"second\n");
        // Returns although the stream is blocked.
        fixture.queue.flush(Duration::from_millis(20));
        assert!(fixture.written.try_recv().is_err());
        fixture.permit(Ok(()));
        fixture.permit(Ok(()));
        fixture.queue.flush(TIMEOUT);
        let written: Vec<_> = fixture.written.try_iter().collect();
        assert_eq!(written, [b"first\n".to_vec(), b"second\n".to_vec()]);
    }

    #[test]
    fn a_failing_stream_loses_lines_and_a_full_nonblocking_one_delays_them() {
        let fixture = start();
        fixture.queue.push(b"one\ntwo\n");
        fixture.permit(Err(ErrorKind::BrokenPipe.into()));
        fixture.queue.flush(TIMEOUT);
        assert_eq!(fixture.losses.counts(), [0, 2, 0]);
        fixture.permit(Err(ErrorKind::WouldBlock.into()));
        fixture.permit(Ok(()));
        fixture.queue.push(b"three\n");
        assert_eq!(fixture.next_write(), "three\n");
        assert_eq!(fixture.losses.counts(), [0, 2, 0]);
    }
}
