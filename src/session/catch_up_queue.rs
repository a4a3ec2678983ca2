//! The rooms in which a session waits to catch up: few at once, so that they do not overrun its
//! outbox together.

use std::collections::VecDeque;

use crate::permits::{Permit, Permits};
use protocol::ids::OrderId;

/// In how many rooms one session may catch up at once. Each sends a page at a time.
const MAX_CATCH_UPS: usize = 2;

/// The rooms in which a session waits to catch up. Rare, so boxed.
pub struct CatchUpQueue<E>(Option<Box<WaitingRooms<E>>>);

struct WaitingRooms<E> {
    /// Each room once, with how the session enters it; at most as many as the session has
    /// subscriptions.
    rooms: VecDeque<(OrderId, E)>,
    /// Permits for the rooms that catch up.
    permits: Permits,
    /// Whether a timer for the next check is set.
    armed: bool,
}

impl<E> Default for CatchUpQueue<E> {
    fn default() -> Self {
        Self(None)
    }
}

impl<E> CatchUpQueue<E> {
    /// Frees its memory once all rooms have caught up.
    pub fn release(&mut self) {
        if self.0.as_ref().is_some_and(|all| all.rooms.is_empty() && all.permits.taken() == 0) {
            self.0 = None;
        }
    }

    /// Queues a room.
    pub fn push(&mut self, order: OrderId, entry: E) {
        let waiting = self.0.get_or_insert_with(|| {
            let permits = Permits::new(MAX_CATCH_UPS);
            Box::new(WaitingRooms { rooms: VecDeque::new(), permits, armed: false })
        });
        waiting.rooms.push_back((order, entry));
    }

    /// The next room, if one waits and a permit is free.
    pub fn take_next(&mut self) -> Option<(OrderId, E, Permit)> {
        let waiting = self.0.as_mut()?;
        let permit = waiting.permits.take()?;
        let (order, entry) = waiting.rooms.pop_front()?;
        Some((order, entry, permit))
    }

    /// Whether a room waits.
    pub fn has_one(&self) -> bool {
        self.0.as_ref().is_some_and(|waiting| !waiting.rooms.is_empty())
    }

    /// Whether a timer has to be set for rooms that wait. True only once.
    pub fn arm(&mut self) -> bool {
        let waiting = self.0.as_mut().filter(|waiting| !waiting.rooms.is_empty());
        waiting.is_some_and(|waiting| !std::mem::replace(&mut waiting.armed, true))
    }

    /// Notes that the timer has fired.
    pub fn disarm(&mut self) {
        if let Some(waiting) = &mut self.0 {
            waiting.armed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rooms_catch_up_at_once_and_the_next_one_follows() {
        let mut queue = CatchUpQueue::default();
        for id in ["o1", "o2", "o3"] {
            queue.push(id.parse().expect("id"), id);
        }
        let (_, first, permit) = queue.take_next().expect("a permit");
        let (_, second, _other) = queue.take_next().expect("a permit");
        assert_eq!((first, second), ("o1", "o2"));
        assert!(queue.take_next().is_none());
        assert!(queue.arm() && !queue.arm(), "one timer");
        drop(permit);
        assert_eq!(queue.take_next().map(|(_, third, _)| third), Some("o3"));
        assert!(!queue.has_one());
    }
}
