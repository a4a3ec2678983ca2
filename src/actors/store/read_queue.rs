//! Whose turn it is at the threads that read: what an admin asks comes before what back ends ask, and
//! that before what users ask. Each has places of its own, so none is refused because of another.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use actix::{Handler, Message};
use tokio::sync::oneshot;

use super::reader::{Reader, RunQuery};
use super::{Store, StoreError};

/// Of so many turns one is users', whatever back ends and admins ask meanwhile.
const USER_TURN_EVERY: u8 = 4;

/// For whom the store does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerClass {
    /// Admins: bans, revocations; and the health check.
    Admin,
    /// Back ends.
    BackEnd,
    /// Users, on whichever way.
    User,
}

/// Serve the read whose turn it is. There is one such message for each that waits.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct RunNextRead(Arc<ReadQueue>);

/// Reads that wait. Each has a permit, which is the bound.
#[derive(Default)]
pub(super) struct ReadQueue {
    waiting: Mutex<PriorityLanes>,
}

#[derive(Default)]
struct PriorityLanes {
    lanes: [VecDeque<Job>; CallerClass::COUNT],
    /// Turns since the last one that was users'.
    turns_of_others: u8,
}

type Job = Box<dyn FnOnce(&mut Reader) + Send>;

// === impl CallerClass ===

impl CallerClass {
    /// How many there are.
    pub(super) const COUNT: usize = 3;
}

// === impl Store ===

impl Store {
    /// The same store, as it serves them.
    #[must_use]
    pub fn on_behalf_of(&self, caller: CallerClass) -> Self {
        let permits = Arc::clone(&self.permits_by_class[caller as usize]);
        Self { caller, permits, ..self.clone() }
    }

    /// Has a read done when it is its turn.
    pub(super) async fn queue_read<T: Send + 'static>(
        &self,
        query: RunQuery<T>,
    ) -> Result<T, StoreError> {
        if !self.readers.connected() {
            return Err(StoreError::Closed);
        }
        let (answer, found) = oneshot::channel();
        self.read_queue.push(
            self.caller,
            Box::new(move |reader| {
                // Who no longer wants to know has dropped the other half.
                if !answer.is_closed() {
                    drop(answer.send(reader.answer(query)));
                }
            }),
        );
        // Not awaited: it may serve another read, and must do so even if this one is given up.
        self.readers.do_send(RunNextRead(Arc::clone(&self.read_queue)));
        found.await.map_err(|_| StoreError::Closed)?
    }
}

// === impl ReadQueue ===

impl ReadQueue {
    fn push(&self, caller: CallerClass, job: Job) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.lanes[caller as usize].push_back(job);
    }

    fn next(&self) -> Option<Job> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).next()
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

// === impl Reader ===

impl Handler<RunNextRead> for Reader {
    type Result = ();

    fn handle(&mut self, RunNextRead(read_queue): RunNextRead, _: &mut Self::Context) {
        if let Some(job) = read_queue.next() {
            job(self);
        }
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
