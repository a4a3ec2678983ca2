//! A queue that stores its first element inline: most sockets wait for one frame only, for a
//! moment, and an allocation for each would be waste.

use std::collections::VecDeque;

/// A queue. If it has elements, the first is stored inline.
#[derive(Debug)]
pub(super) struct InlineDeque<T> {
    first: Option<T>,
    rest: VecDeque<T>,
}

// === impl InlineDeque ===

impl<T> InlineDeque<T> {
    pub(super) fn push_back(&mut self, element: T) {
        if self.first.is_none() {
            self.first = Some(element);
        } else {
            self.rest.push_back(element);
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        let next = self.rest.pop_front();
        std::mem::replace(&mut self.first, next)
    }

    /// Inserts an element before the one at `index`, or at the end.
    pub(super) fn insert(&mut self, index: usize, element: T) {
        match index.checked_sub(1) {
            Some(index) => self.rest.insert(index.min(self.rest.len()), element),
            None => {
                if let Some(first) = self.first.replace(element) {
                    self.rest.push_front(first);
                }
            }
        }
    }

    /// Removes the element at `index`.
    pub(super) fn remove(&mut self, index: usize) -> Option<T> {
        match index.checked_sub(1) {
            None => self.pop_front(),
            Some(index) => self.rest.remove(index),
        }
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.first.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        match index.checked_sub(1) {
            None => self.first.as_mut(),
            Some(index) => self.rest.get_mut(index),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.rest)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.first.iter_mut().chain(&mut self.rest)
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[cfg(test)]
    pub(super) fn owns_memory(&self) -> bool {
        self.rest.capacity() > 0
    }

    /// Frees the memory that a burst has taken. To be called when the queue is empty.
    pub(super) fn release(&mut self) {
        if self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
    }
}

impl<T> Default for InlineDeque<T> {
    fn default() -> Self {
        Self { first: None, rest: VecDeque::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deque_is_a_queue_inline_and_on_the_heap() {
        let (mut entries, mut model) = (InlineDeque::default(), VecDeque::new());
        for step in 0..400_usize {
            match step * 7 % 11 {
                0..=5 => {
                    entries.push_back(step);
                    model.push_back(step);
                }
                6 | 7 => assert_eq!(entries.pop_front(), model.pop_front()),
                8 if step % 2 == 0 && model.len() > step % 4 => {
                    entries.insert(step % 4, step);
                    model.insert(step % 4, step);
                }
                8 => assert_eq!(entries.remove(step % 5), model.remove(step % 5)),
                9 => assert_eq!(entries.get_mut(step % 3), model.get_mut(step % 3)),
                _ => entries.iter_mut().zip(&mut model).for_each(|(one, other)| {
                    *one += 1;
                    *other += 1;
                }),
            }
            assert_eq!(entries.iter().collect::<Vec<_>>(), model.iter().collect::<Vec<_>>());
            let shape = (entries.len(), entries.is_empty(), entries.front());
            assert_eq!(shape, (model.len(), model.is_empty(), model.front()));
        }
        while entries.pop_front().is_some() {}
        entries.release();
        assert!(!entries.owns_memory());
    }
}
