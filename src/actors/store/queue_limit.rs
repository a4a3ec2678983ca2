//! A bound on the number of queued items and their bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

/// Counts the queued items and refuses more at its limits.
pub(super) struct QueueLimit {
    max_items: usize,
    max_bytes: usize,
    items: AtomicUsize,
    bytes: AtomicUsize,
    /// Shows the number of items in the metrics.
    gauge: Gauge,
    /// Notified whenever the last item leaves.
    empty: Notify,
}

/// The right of one item to be queued; dropping it releases the place.
pub(super) struct QueuePermit {
    limit: Arc<QueueLimit>,
    bytes: usize,
}

// === impl QueueLimit ===

impl QueueLimit {
    pub(super) fn new(max_items: usize, max_bytes: usize, gauge: Gauge) -> Arc<Self> {
        let (items, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { max_items, max_bytes, items, bytes, gauge, empty: Notify::new() })
    }

    /// Admits one item, unless too many items or bytes are queued already.
    pub(super) fn try_admit(self: &Arc<Self>, bytes: usize) -> Option<QueuePermit> {
        let items_before = self.items.fetch_add(1, Ordering::Relaxed);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.gauge.inc();
        let permit = QueuePermit { limit: Arc::clone(self), bytes };
        (items_before < self.max_items && bytes_before < self.max_bytes).then_some(permit)
    }

    pub(super) fn count(&self) -> usize {
        self.items.load(Ordering::Acquire)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Resolves when nothing is queued.
    pub(super) async fn wait_until_empty(&self) {
        loop {
            // Registered before the check, or the last item could leave between the two.
            let mut emptied = std::pin::pin!(self.empty.notified());
            emptied.as_mut().enable();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        self.limit.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.limit.gauge.dec();
        if self.limit.items.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.limit.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_and_bytes_are_bounded() {
        let limit = QueueLimit::new(2, 10, Gauge::default());
        let first = limit.try_admit(9).expect("empty");
        let second = limit.try_admit(100).expect("below the limit when it came");
        assert!(limit.try_admit(0).is_none(), "two are inside");
        drop(first);
        assert!(limit.try_admit(0).is_none(), "a hundred bytes are inside");
        drop(second);
        assert!(limit.is_empty());
        assert!(limit.try_admit(1).is_some());
    }

    #[actix::test]
    async fn the_wait_ends_when_the_last_one_leaves() {
        let limit = QueueLimit::new(2, 10, Gauge::default());
        limit.wait_until_empty().await;
        let permit = limit.try_admit(1).expect("empty");
        let waiting = tokio::spawn({
            let limit = Arc::clone(&limit);
            async move { limit.wait_until_empty().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(permit);
        waiting.await.expect("no panic");
    }
}
