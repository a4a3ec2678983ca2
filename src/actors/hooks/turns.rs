//! Turns of users: how many questions of one user are under way. Others wait, in their order.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use protocol::ids::UserId;

/// The turns of all users. Users without a question take no memory.
pub(super) struct Turns {
    users: Mutex<HashMap<UserId, Arc<Semaphore>>>,
    most: usize,
}

/// A turn of a user, or the wait for it.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    user: UserId,
    permit: Option<OwnedSemaphorePermit>,
}

// === impl Turns ===

impl Turns {
    /// Turns of which each user has so many at once.
    pub(super) fn new(most: usize) -> Self {
        Self { users: Mutex::default(), most }
    }

    /// Waits for a turn of a user.
    pub(super) async fn take(&self, user: &UserId) -> Turn<'_> {
        // Its drop cleans up also where the wait is given up.
        let mut turn = Turn { turns: self, user: user.clone(), permit: None };
        let of_user = {
            let mut users = self.users.lock();
            let of_user = users.entry(user.clone());
            Arc::clone(of_user.or_insert_with(|| Arc::new(Semaphore::new(self.most))))
        };
        // It is never closed.
        turn.permit = of_user.acquire_owned().await.ok();
        turn
    }
}

// === impl Turn ===

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.permit = None;
        let mut users = self.turns.users.lock();
        if users.get(&self.user).is_some_and(|of_user| Arc::strong_count(of_user) == 1) {
            users.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_user_has_so_many_turns_and_others_have_their_own() {
        let (turns, wait) = (Turns::new(2), Duration::from_millis(20));
        let (ann, bob) = ("ann".parse().expect("an id"), "bob".parse().expect("an id"));
        let first = turns.take(&ann).await;
        let second = turns.take(&ann).await;
        assert!(timeout(wait, turns.take(&ann)).await.is_err());
        drop(turns.take(&bob).await);
        drop(first);
        let third = timeout(wait, turns.take(&ann)).await.expect("a turn");
        drop((third, second));
        assert!(turns.users.lock().is_empty(), "nothing is kept of users without a question");
    }
}
