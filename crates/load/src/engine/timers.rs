//! Timers: one heap for all members.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::check::MemberId;

/// What is due. A number beside a member is the generation of the connection that it is for; later
/// connections ignore it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wake {
    /// Connect.
    Connect(MemberId, u32),
    /// The timeout of a step: connecting, joining or closing.
    Overdue(MemberId, u32),
    /// Send a position.
    Location(MemberId),
    /// Send a chat message.
    Chat(MemberId),
    /// Leave for a while.
    Depart(MemberId, u32),
    /// Read a little.
    Read(MemberId, u32),
    /// Check that a closed loop still progresses.
    Turn(MemberId, u32),
    /// All connections break.
    Storm(usize),
    /// A command of the scenario.
    Step(usize),
    /// A second has ended.
    Second,
}

/// The heap: sorted by time, and for the same time by insertion.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(u64, u64, Wake)>>,
    count: u64,
}

impl Timers {
    /// Sets a timer for a time in microseconds.
    pub fn at(&mut self, due: u64, wake: Wake) {
        self.count += 1;
        self.heap.push(Reverse((due, self.count, wake)));
    }

    /// When the next timer is due.
    pub fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((due, ..))| *due)
    }

    /// Removes the next timer that is due, with its time.
    pub fn pop(&mut self, now: u64) -> Option<(u64, Wake)> {
        self.next().filter(|due| *due <= now)?;
        self.heap.pop().map(|Reverse((due, _, wake))| (due, wake))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_timers_fire_by_time_and_then_in_order() {
        let mut timers = Timers::default();
        timers.at(20, Wake::Second);
        timers.at(10, Wake::Location(1));
        timers.at(10, Wake::Chat(0));
        assert_eq!((timers.next(), timers.pop(9)), (Some(10), None));
        assert_eq!(timers.pop(15), Some((10, Wake::Location(1))));
        assert_eq!(timers.pop(15), Some((10, Wake::Chat(0))));
        assert_eq!(timers.pop(15), None);
        assert_eq!(timers.pop(20), Some((20, Wake::Second)));
    }
}
