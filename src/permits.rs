//! Permits: the bound of a queue that has none of its own.
//!
//! An actix mailbox is no bound: every way of sending accepts every message. So a message that a
//! client can cause takes a permit of its receiver first, and carries it until it is handled.

mod keyed;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use keyed::{KeyedPermit, KeyedPermits};

/// The permits of one receiver: how much may wait for it.
#[derive(Debug, Clone)]
pub struct Permits {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// One or more places in a receiver's queue, given back when this is dropped.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once bounds nothing"]
pub struct Permit<C: PermitCounter = AtomicUsize> {
    /// The counter to give them back to.
    counter: Arc<C>,
    /// How many places it holds.
    size: usize,
}

/// Counts the places that are taken. A receiver may keep the count among its own counters, which
/// saves an allocation.
pub trait PermitCounter {
    /// The count, which only permits change.
    fn taken(&self) -> &AtomicUsize;
}

/// Takes `size` of the `most` places of this counter, if that many are free.
pub fn take<C: PermitCounter>(counter: &Arc<C>, size: usize, most: usize) -> Option<Permit<C>> {
    let before = counter.taken().fetch_add(size, Ordering::Relaxed);
    // Built first, so that its drop gives the places back where too few are free.
    let permit = Permit { counter: Arc::clone(counter), size };
    (before + size <= most).then_some(permit)
}

impl Permits {
    /// Permits with `most` places.
    pub fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// Takes one place, if one is free.
    pub fn take(&self) -> Option<Permit> {
        self.take_many(1)
    }

    /// Takes `size` places at once, if that many are free.
    pub fn take_many(&self, size: usize) -> Option<Permit> {
        take(&self.taken, size, self.most)
    }

    /// How many places there are in all.
    pub fn most(&self) -> usize {
        self.most
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl PermitCounter for AtomicUsize {
    fn taken(&self) -> &Self {
        self
    }
}

impl<C: PermitCounter> Permit<C> {
    /// Takes over the places of another permit of the same receiver.
    pub fn merge(&mut self, mut other: Self) {
        self.size += std::mem::take(&mut other.size);
    }
}

impl<C: PermitCounter> Drop for Permit<C> {
    fn drop(&mut self) {
        self.counter.taken().fetch_sub(self.size, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_until_a_permit_is_given_back() {
        let permits = Permits::new(3);
        let two = permits.take_many(2).expect("room for two");
        let one = permits.take().expect("room for one");
        assert!(permits.take().is_none());
        assert_eq!(permits.taken(), 3);
        drop(one);
        assert!(permits.take_many(2).is_none());
        assert!(permits.take().is_some());
        drop(two);
        assert_eq!(permits.taken(), 0);
    }
}
