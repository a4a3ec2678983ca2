//! The bound on what waits: a gate that lets in so many things and so many bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

/// Counts what is inside and refuses beyond its limits.
pub(super) struct Gate {
    max_things: usize,
    max_bytes: usize,
    things: AtomicUsize,
    bytes: AtomicUsize,
    /// Shows `things` to the operator.
    gauge: Gauge,
    /// Told whenever the last one leaves.
    empty: Notify,
}

/// The right to be inside; dropping it leaves.
pub(super) struct Permit {
    gate: Arc<Gate>,
    bytes: usize,
}

// === impl Gate ===

impl Gate {
    pub(super) fn new(max_things: usize, max_bytes: usize, gauge: Gauge) -> Arc<Self> {
        let (things, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { max_things, max_bytes, things, bytes, gauge, empty: Notify::new() })
    }

    /// Lets one thing in, unless so many things or bytes are inside already.
    pub(super) fn enter(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let things_before = self.things.fetch_add(1, Ordering::Relaxed);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.gauge.inc();
        let permit = Permit { gate: Arc::clone(self), bytes };
        (things_before < self.max_things && bytes_before < self.max_bytes).then_some(permit)
    }

    pub(super) fn inside(&self) -> usize {
        self.things.load(Ordering::Acquire)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.inside() == 0
    }

    /// Ends when nothing is inside.
    pub(super) async fn idle(&self) {
        loop {
            // Registered before the look, or the last leave could fall between the two.
            let mut emptied = std::pin::pin!(self.empty.notified());
            emptied.as_mut().enable();
            if self.is_idle() {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.gate.gauge.dec();
        if self.gate.things.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.gate.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_things_or_bytes_get_in_and_no_more() {
        let gate = Gate::new(2, 10, Gauge::default());
        let first = gate.enter(9).expect("empty");
        let second = gate.enter(100).expect("below the limit when it came");
        assert!(gate.enter(0).is_none(), "two are inside");
        drop(first);
        assert!(gate.enter(0).is_none(), "a hundred bytes are inside");
        drop(second);
        assert!(gate.is_idle());
        assert!(gate.enter(1).is_some());
    }

    #[actix::test]
    async fn idle_ends_when_the_last_one_leaves() {
        let gate = Gate::new(2, 10, Gauge::default());
        gate.idle().await;
        let permit = gate.enter(1).expect("empty");
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.idle().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(permit);
        waiting.await.expect("no panic");
    }
}
