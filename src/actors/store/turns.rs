//! Whose turn it is at the threads that read: what an admin asks comes before what back ends ask, and
//! that before what users ask. Each has places of its own, so none is refused because of another.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use actix::{Handler, Message};
use tokio::sync::oneshot;

use super::reader::{Ask, Reader};
use super::{Store, StoreError};

/// Of so many turns one is users', whatever back ends and admins ask meanwhile.
const USERS_TURN: u8 = 4;

/// For whom the store does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
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
pub(super) struct ServeNext(Arc<Turns>);

/// Reads that wait. Each has a permit, which is the bound.
#[derive(Default)]
pub(super) struct Turns {
    waiting: Mutex<Lanes>,
}

#[derive(Default)]
struct Lanes {
    lanes: [VecDeque<Job>; Caller::COUNT],
    /// Turns since the last one that was users'.
    others: u8,
}

type Job = Box<dyn FnOnce(&mut Reader) + Send>;

// === impl Caller ===

impl Caller {
    /// How many there are.
    pub(super) const COUNT: usize = 3;
}

// === impl Store ===

impl Store {
    /// The same store, as it serves them.
    #[must_use]
    pub fn on_behalf_of(&self, caller: Caller) -> Self {
        let asking = Arc::clone(&self.places[caller as usize]);
        Self { caller, asking, ..self.clone() }
    }

    /// Has a read done when it is its turn.
    pub(super) async fn in_turn<T: Send + 'static>(&self, ask: Ask<T>) -> Result<T, StoreError> {
        if !self.readers.connected() {
            return Err(StoreError::Closed);
        }
        let (answer, found) = oneshot::channel();
        self.turns.push(
            self.caller,
            Box::new(move |reader| {
                // Who no longer wants to know has dropped the other half.
                if !answer.is_closed() {
                    drop(answer.send(reader.answer(ask)));
                }
            }),
        );
        // Not awaited: it may serve another read, and must do so even if this one is given up.
        self.readers.do_send(ServeNext(Arc::clone(&self.turns)));
        found.await.map_err(|_| StoreError::Closed)?
    }
}

// === impl Turns ===

impl Turns {
    fn push(&self, caller: Caller, job: Job) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.lanes[caller as usize].push_back(job);
    }

    fn next(&self) -> Option<Job> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

// === impl Lanes ===

impl Lanes {
    fn next(&mut self) -> Option<Job> {
        let [admins, back_ends, users] = &mut self.lanes;
        if self.others >= USERS_TURN - 1
            && let Some(job) = users.pop_front()
        {
            self.others = 0;
            return Some(job);
        }
        if let Some(job) = admins.pop_front().or_else(|| back_ends.pop_front()) {
            self.others = self.others.saturating_add(1);
            return Some(job);
        }
        self.others = 0;
        users.pop_front()
    }
}

// === impl Reader ===

impl Handler<ServeNext> for Reader {
    type Result = ();

    fn handle(&mut self, ServeNext(turns): ServeNext, _: &mut Self::Context) {
        if let Some(job) = turns.next() {
            job(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admins_come_first_then_back_ends_and_every_fourth_turn_is_users() {
        let mut lanes = Lanes::default();
        for caller in [Caller::User, Caller::BackEnd, Caller::Admin] {
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
