//! The order of reads: reads for admins come before those for back ends, and those before reads for
//! users. Each class has permits of its own, so none is refused because of another.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::db_thread::{DbThread, DbThreads, Job};
use super::error::StoreError;

/// One in this many reads is a user's, even if back ends and admins have reads waiting.
const USER_TURN_EVERY: u8 = 4;

/// The kind of caller that the store works for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerClass {
    /// Admins (bans, revocations) and the health check.
    Admin,
    /// Back ends.
    BackEnd,
    /// Users, over sockets or HTTP.
    User,
}

/// Reads that wait. Each has a permit, which bounds their number.
#[derive(Default)]
pub(super) struct ReadQueue(Mutex<PriorityLanes>);

#[derive(Default)]
struct PriorityLanes {
    lanes: [VecDeque<Job>; CallerClass::COUNT],
    /// Reads since the last one of a user.
    turns_of_others: u8,
}

// === impl CallerClass ===

impl CallerClass {
    /// How many classes there are.
    pub(super) const COUNT: usize = 3;
}

// === impl ReadQueue ===

impl ReadQueue {
    /// Runs a read when its turn has come, unless its caller has given up by then.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        readers: &DbThreads,
        caller: CallerClass,
        read: impl FnOnce(&DbThread) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if !readers.are_running() {
            return Err(StoreError::Closed);
        }
        let (done, answer) = oneshot::channel();
        let job = move |thread: &DbThread| {
            if !done.is_closed() {
                drop(done.send(read(thread)));
            }
        };
        self.0.lock().lanes[caller as usize].push_back(Box::new(job));
        // One for each read that waits, though it may run another one. It must do so even if this
        // caller gives up.
        let queue = Arc::clone(self);
        readers.start_job(move |thread| {
            let next = queue.0.lock().next();
            if let Some(job) = next {
                job(thread);
            }
        });
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

// === impl PriorityLanes ===

impl PriorityLanes {
    fn next(&mut self) -> Option<Job> {
        let [admins, back_ends, users] = &mut self.lanes;
        if self.turns_of_others >= USER_TURN_EVERY - 1
            && let Some(job) = users.pop_front()
        {
            self.turns_of_others = 0;
            return Some(job);
        }
        if let Some(job) = admins.pop_front().or_else(|| back_ends.pop_front()) {
            self.turns_of_others = self.turns_of_others.saturating_add(1);
            return Some(job);
        }
        self.turns_of_others = 0;
        users.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admins_come_first_then_back_ends_and_every_fourth_turn_is_users() {
        let mut lanes = PriorityLanes::default();
        for caller in [CallerClass::User, CallerClass::BackEnd, CallerClass::Admin] {
            for _ in 0..4 {
                lanes.lanes[caller as usize].push_back(Box::new(|_| ()));
            }
        }
        let mut took = Vec::new();
        for _ in 0..12 {
            let before = lanes.lanes.each_ref().map(VecDeque::len);
            assert!(lanes.next().is_some());
            let after = lanes.lanes.each_ref().map(VecDeque::len);
            took.push((0..3).find(|lane| before[*lane] > after[*lane]).expect("one was taken"));
        }
        assert_eq!(took, [0, 0, 0, 2, 0, 1, 1, 2, 1, 1, 2, 2]);
        assert!(lanes.next().is_none());
    }
}
