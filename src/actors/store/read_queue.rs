//! The order of reads: reads for admins come before those for back ends, and those before reads for
//! users. Each class has permits of its own, so none is refused because of another.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use actix::{Handler, Message};
use tokio::sync::oneshot;

use super::reader::{Reader, RunQuery};
use super::{Store, StoreError};

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

/// Run the next read. There is one such message per waiting read.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct RunNextRead(Arc<ReadQueue>);

/// Reads that wait. Each has a permit, which bounds their number.
#[derive(Default)]
pub(super) struct ReadQueue {
    waiting: Mutex<PriorityLanes>,
}

#[derive(Default)]
struct PriorityLanes {
    lanes: [VecDeque<Job>; CallerClass::COUNT],
    /// Reads since the last one of a user.
    turns_of_others: u8,
}

type Job = Box<dyn FnOnce(&mut Reader) + Send>;

// === impl CallerClass ===

impl CallerClass {
    /// How many classes there are.
    pub(super) const COUNT: usize = 3;
}

// === impl Store ===

impl Store {
    /// A handle to the same store for this class of callers.
    #[must_use]
    pub fn on_behalf_of(&self, caller: CallerClass) -> Self {
        let permits = Arc::clone(&self.permits_by_class[caller as usize]);
        Self { caller, permits, ..self.clone() }
    }

    /// Queues a read.
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
                // A caller that no longer waits has dropped the receiver.
                if !answer.is_closed() {
                    drop(answer.send(reader.answer(query)));
                }
            }),
        );
        // Not awaited: the message may serve another read, and must do so even if this caller gives
        // up.
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
