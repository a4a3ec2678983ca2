//! Permits: the bound of a queue that has none of its own.
//!
//! No actix mailbox is a bound (every way of sending admits everything), so whatever a client can
//! cause takes a permit of its receiver first and carries it until it is handled.

mod keyed;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use keyed::{KeyedPermit, KeyedPermits};

/// How much may wait for one receiver.
#[derive(Debug, Clone)]
pub struct Permits {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// A place in a receiver's queue; given back when dropped.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once bounds nothing"]
pub struct Permit<C: PermitCounter = AtomicUsize> {
    /// What it is given back to.
    counter: Arc<C>,
    /// How many places it takes.
    size: usize,
}

/// What counts the places that are taken. Where a receiver counts them among its own figures, a
/// message need not look for another piece of memory.
pub trait PermitCounter {
    /// The count; only permits change it.
    fn taken(&self) -> &AtomicUsize;
}

/// Takes `size` of the `most` places that are counted here, if there are so many.
pub fn take<C: PermitCounter>(counter: &Arc<C>, size: usize, most: usize) -> Option<Permit<C>> {
    let before = counter.taken().fetch_add(size, Ordering::Relaxed);
    // Built first: where there is no room its drop gives the places back.
    let permit = Permit { counter: Arc::clone(counter), size };
    (before + size <= most).then_some(permit)
}

impl Permits {
    /// `most` places.
    pub fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// One place, if there is one.
    pub fn take(&self) -> Option<Permit> {
        self.take_many(1)
    }

    /// `size` places at once, if there are so many.
    pub fn take_many(&self, size: usize) -> Option<Permit> {
        take(&self.taken, size, self.most)
    }

    /// How many places there are.
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
    /// Takes over the places of another of the same receiver.
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
    fn what_is_full_refuses_until_something_is_given_back() {
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
