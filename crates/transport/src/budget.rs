//! The hub's limit on bytes that wait for blocked sockets. When all outboxes together exceed it,
//! the largest are closed first.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The bytes that wait in all blocked outboxes, and their limit.
pub struct OutboxBudget {
    /// The most bytes that may wait in all.
    limit: usize,
    /// Bytes that wait now.
    total: AtomicUsize,
    /// The blocked outboxes with waiting bytes, by their address.
    blocked: Mutex<HashMap<usize, Weak<dyn BudgetMember>>>,
}

/// An outbox, as the budget sees it.
pub(super) trait BudgetMember: Send + Sync {
    /// The bytes that it has charged.
    fn charged(&self) -> usize;
    /// Drops what waits, and ends the connection.
    fn evict(self: Arc<Self>);
}

// === impl OutboxBudget ===

impl OutboxBudget {
    /// The default limit, in bytes.
    pub const DEFAULT_BYTES: usize = 256 * 1024 * 1024;

    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, total: AtomicUsize::new(0), blocked: Mutex::default() }
    }

    /// Bytes that wait now.
    pub fn waiting(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Adds an outbox that begins to wait.
    pub(super) fn register(&self, address: usize, member: Weak<dyn BudgetMember>) {
        self.lock().insert(address, member);
    }

    /// Removes an outbox in which nothing waits.
    pub(super) fn unregister(&self, address: usize) {
        self.lock().remove(&address);
    }

    /// Changes the charge of one outbox from `before` to `now`.
    pub(super) fn charge(&self, before: usize, now: usize) {
        if now >= before {
            self.total.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.total.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// Evicts the largest outboxes while the limit is exceeded.
    ///
    /// The caller must hold no outbox's lock: eviction locks the evicted outbox.
    pub(super) fn enforce(&self) {
        if self.waiting() <= self.limit {
            return;
        }
        let mut members: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        members.sort_by_cached_key(|member| std::cmp::Reverse(member.charged()));
        // Stops a little below the limit, so that the next push need not sort again.
        let enough = self.limit - self.limit / 16;
        for member in members {
            if self.waiting() <= enough {
                return;
            }
            member.evict();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Weak<dyn BudgetMember>>> {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for OutboxBudget {
    fn default() -> Self {
        Self::new(Self::DEFAULT_BYTES)
    }
}

impl std::fmt::Debug for OutboxBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget")
            .field("limit", &self.limit)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Outbox {
        charged: AtomicUsize,
        budget: Arc<OutboxBudget>,
    }

    impl BudgetMember for Outbox {
        fn charged(&self) -> usize {
            self.charged.load(Ordering::Relaxed)
        }

        fn evict(self: Arc<Self>) {
            self.budget.charge(self.charged.swap(0, Ordering::Relaxed), 0);
            self.budget.unregister(Arc::as_ptr(&self).addr());
        }
    }

    fn outbox(budget: &Arc<OutboxBudget>, bytes: usize) -> Arc<Outbox> {
        let outbox = Arc::new(Outbox { charged: bytes.into(), budget: Arc::clone(budget) });
        let weak: Weak<Outbox> = Arc::downgrade(&outbox);
        budget.register(Arc::as_ptr(&outbox).addr(), weak);
        budget.charge(0, bytes);
        outbox
    }

    #[test]
    fn the_largest_outboxes_are_cut_until_the_rest_fits() {
        let budget = Arc::new(OutboxBudget::new(100));
        let boxes: Vec<_> = [10, 50, 20, 20].map(|bytes| outbox(&budget, bytes)).into();
        budget.enforce();
        assert_eq!(budget.waiting(), 100, "the limit is inclusive");
        let more = outbox(&budget, 30);
        budget.enforce();
        let left: Vec<_> = boxes.iter().chain([&more]).map(|outbox| outbox.charged()).collect();
        assert_eq!(left, [10, 0, 20, 20, 30]);
        assert_eq!(budget.waiting(), 80);
        assert_eq!(budget.lock().len(), 4);
    }
}
