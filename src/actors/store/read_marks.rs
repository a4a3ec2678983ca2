//! Read marks that wait to be written: the furthest of each user and order. They are written behind
//! chat, at most once a second. If the process is killed, marks that were not written are lost, and
//! some users see messages as unread again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use actix::ArbiterHandle;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::db_thread::{DbThread, DbThreads, MAX_BATCH};
use super::error::StoreError;
use super::{LoadedOrder, Store};
use crate::db::orders;
use crate::db::read_marks::{self, StoredReadMark};
use crate::webhooks::event::EventKind;
use protocol::ids::{OrderId, UserId};
use protocol::time::Timestamp;

/// The most read marks that wait to be written.
pub const MAX_WAITING_MARKS: usize = 16_384;
/// How long marks are collected before they are written.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// The marks that wait, and the task that writes them.
#[derive(Clone)]
pub(super) struct ReadMarkWriter {
    waiting: Arc<ReadMarkQueue>,
    /// Wakes the task that writes.
    wake: mpsc::Sender<()>,
}

#[derive(Default)]
struct ReadMarkQueue {
    marks: Mutex<PendingReadMarks>,
    /// Held during a write: a caller that has this lock and finds no waiting marks knows that all
    /// are written.
    write_lock: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct PendingReadMarks {
    /// By order, which is the order of locking.
    by_order: BTreeMap<OrderId, BTreeMap<UserId, PendingMark>>,
    /// How many marks wait.
    count: usize,
    /// Marks that are being written; they may not be in the database yet.
    writing: Arc<Vec<StoredReadMark>>,
}

#[derive(Clone, Copy)]
struct PendingMark {
    /// The highest message that was read; 0 deletes the mark.
    seq: i64,
    /// Whether the user said so since the last write, and did not only write a message.
    is_receipt: bool,
}

// === impl Store ===

impl Store {
    /// Queues how far a user has read, to be written soon; 0 deletes the mark. `is_receipt` says
    /// whether the user said so, and did not only write a message. False if too many wait.
    #[must_use]
    pub fn queue_read_mark(
        &self,
        order: &OrderId,
        user: &UserId,
        seq: i64,
        is_receipt: bool,
    ) -> bool {
        let mark = PendingMark { seq, is_receipt };
        let noted = self.marks.waiting.marks.lock().put(order, user, mark);
        // If the task is awake already, it checks the queue again.
        self.marks.wake.try_send(()).ok();
        noted
    }

    /// Forgets the waiting marks of an order.
    pub fn forget_read_marks(&self, order: &OrderId) {
        self.marks.waiting.marks.lock().forget(order);
    }

    /// Reads an order with its newest `recent` messages, ascending; they end at `recent` or 48 KiB.
    /// An unknown order has the defaults and `exists: false`. If messages are asked for, it
    /// includes how far users have read, with all marks that were queued before this call, written
    /// or not.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn load_order(&self, order: OrderId, recent: i64) -> Result<LoadedOrder, StoreError> {
        // Before the read: marks that are written meanwhile are found by the read.
        let noted = if recent > 0 {
            self.marks.waiting.marks.lock().unwritten_of(&order)
        } else {
            Vec::new()
        };
        let loaded =
            self.wait_and_read(move |connection| orders::load(connection, &order, recent)).await?;
        let known = loaded.exists && recent > 0;
        let read_marks = if known { merge(loaded.read_marks, noted) } else { Vec::new() };
        Ok(LoadedOrder { read_marks, ..loaded })
    }

    /// The users of an order who said how far they have read, as far as that may not be written.
    pub(super) fn unwritten_receipts(&self, order: &OrderId) -> Vec<UserId> {
        self.marks.waiting.marks.lock().receipts_of(order)
    }

    /// Resolves when every queued mark is written.
    ///
    /// # Errors
    /// If the database is unavailable; the marks still wait then.
    pub async fn flush_read_marks(&self) -> Result<(), StoreError> {
        self.marks.waiting.write(&self.writers).await
    }
}

// === impl ReadMarkWriter ===

impl ReadMarkWriter {
    /// Starts the task that writes marks, on `arbiter`.
    pub(super) fn start(writers: DbThreads, arbiter: &ArbiterHandle) -> Self {
        let waiting = Arc::<ReadMarkQueue>::default();
        let (wake, woken) = mpsc::channel(1);
        arbiter.spawn(write_behind(Arc::clone(&waiting), woken, writers));
        Self { waiting, wake }
    }
}

/// Writes queued marks until the store is gone.
async fn write_behind(
    waiting: Arc<ReadMarkQueue>,
    mut woken: mpsc::Receiver<()>,
    writers: DbThreads,
) {
    while woken.recv().await.is_some() {
        // While the database is down, the marks wait and are tried again.
        while waiting.marks.lock().count > 0 && !woken.is_closed() {
            tokio::time::sleep(WRITE_INTERVAL).await;
            // The writer has logged the error.
            drop(waiting.write(&writers).await);
        }
    }
}

// === impl ReadMarkQueue ===

impl ReadMarkQueue {
    async fn write(&self, writers: &DbThreads) -> Result<(), StoreError> {
        let _write_lock = self.write_lock.lock().await;
        loop {
            let part = self.marks.lock().take();
            if part.is_empty() {
                return Ok(());
            }
            let written = writers.run(move |thread| write_part(thread, &part));
            let written = written.await.flatten();
            // If the database refuses marks, it would refuse them again.
            let again = matches!(&written, Err(error) if !matches!(error, StoreError::Refused(_)));
            self.marks.lock().finish_part(again);
            if again {
                return written;
            }
        }
    }
}

/// Writes marks. It may run twice: a stored mark is written again.
fn write_part(thread: &DbThread, part: &[StoredReadMark]) -> Result<(), StoreError> {
    let listeners = thread.listeners();
    let written = thread.query("read marks were not written", |connection| {
        read_marks::save(connection, part, listeners.as_deref(), Timestamp::now())
    });
    written.inspect(|()| thread.announce(&[EventKind::ChatRead]))
}

// === impl PendingReadMarks ===

impl PendingReadMarks {
    fn put(&mut self, order: &OrderId, user: &UserId, mark: PendingMark) -> bool {
        let known = self.by_order.get_mut(order).and_then(|marks| marks.get_mut(user));
        if let Some(known) = known {
            let is_receipt = mark.is_receipt || known.is_receipt;
            *known = PendingMark { is_receipt, ..mark };
            return true;
        }
        if self.count >= MAX_WAITING_MARKS {
            return false;
        }
        self.by_order.entry(order.clone()).or_default().insert(user.clone(), mark);
        self.count += 1;
        true
    }

    fn forget(&mut self, order: &OrderId) {
        self.count -= self.by_order.remove(order).map_or(0, |marks| marks.len());
    }

    /// Takes some marks, for the holder of the write lock.
    fn take(&mut self) -> Arc<Vec<StoredReadMark>> {
        let mut part = Vec::new();
        while part.len() < MAX_BATCH
            && let Some(mut entry) = self.by_order.first_entry()
        {
            let order = entry.key().clone();
            let Some((user, PendingMark { seq, is_receipt })) = entry.get_mut().pop_first() else {
                entry.remove();
                continue;
            };
            self.count -= 1;
            part.push(StoredReadMark { order, user, seq, is_receipt });
        }
        // Removes orders whose last mark was taken.
        self.by_order.retain(|_, marks| !marks.is_empty());
        self.writing = Arc::new(part);
        Arc::clone(&self.writing)
    }

    /// Ends a write. If `again` is set, its marks wait again, unless newer ones wait.
    fn finish_part(&mut self, again: bool) {
        let part = std::mem::take(&mut self.writing);
        for StoredReadMark { order, user, seq, is_receipt } in part.iter().filter(|_| again) {
            let marks = self.by_order.entry(order.clone()).or_default();
            match marks.entry(user.clone()) {
                Entry::Vacant(place) => {
                    place.insert(PendingMark { seq: *seq, is_receipt: *is_receipt });
                    self.count += 1;
                }
                Entry::Occupied(mut newer) => newer.get_mut().is_receipt |= is_receipt,
            }
        }
    }

    fn receipts_of(&self, order: &OrderId) -> Vec<UserId> {
        let begun = self.writing.iter().filter(|mark| mark.order == *order && mark.is_receipt);
        let later = self.by_order.get(order).into_iter().flatten();
        let later = later.filter(|(_, mark)| mark.is_receipt).map(|(user, _)| user);
        begun.map(|mark| &mark.user).chain(later).cloned().collect()
    }

    /// Marks of an order that may not be in the database, the newest last.
    fn unwritten_of(&self, order: &OrderId) -> Vec<(UserId, i64)> {
        let begun = self.writing.iter().filter(|mark| mark.order == *order);
        let begun = begun.map(|mark| (mark.user.clone(), mark.seq));
        let later = self.by_order.get(order).into_iter().flatten();
        begun.chain(later.map(|(user, mark)| (user.clone(), mark.seq))).collect()
    }
}

/// The stored marks, overridden by queued ones.
fn merge(stored: Vec<(UserId, i64)>, noted: Vec<(UserId, i64)>) -> Vec<(UserId, i64)> {
    let mut marks: BTreeMap<UserId, i64> = stored.into_iter().collect();
    for (user, seq) in noted {
        let mark = marks.entry(user).or_default();
        // The mark is deleted or raised, as it will be in the database.
        *mark = if seq == 0 { 0 } else { seq.max(*mark) };
    }
    marks.into_iter().filter(|(_, seq)| *seq > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(order: &str, user: &str) -> (OrderId, UserId) {
        (order.parse().expect("an id"), user.parse().expect("an id"))
    }

    fn mark(seq: i64) -> PendingMark {
        PendingMark { seq, is_receipt: true }
    }

    #[test]
    fn the_newest_of_each_waits_and_there_is_an_end_to_how_many() {
        let mut noted = PendingReadMarks::default();
        let put = |noted: &mut PendingReadMarks, order: &str, user: &str, seq| {
            let (order, user) = ids(order, user);
            noted.put(&order, &user, mark(seq))
        };
        for number in 0..MAX_WAITING_MARKS {
            assert!(put(&mut noted, "o", &format!("u{number:05}"), 1));
        }
        assert!(!put(&mut noted, "o", "one-more", 1), "too many");
        assert!(put(&mut noted, "o", "u00001", 5), "one that waits already");
        let part = noted.take();
        assert_eq!((part.len(), part[0].seq, part[1].seq), (MAX_BATCH, 1, 5));
        assert!(put(&mut noted, "o", "u00000", 9));
        noted.finish_part(true);
        let (order, first) = ids("o", "u00000");
        assert_eq!((noted.count, noted.by_order[&order][&first].seq), (MAX_WAITING_MARKS, 9));
        noted.take();
        noted.finish_part(false);
        assert_eq!(noted.count, MAX_WAITING_MARKS - MAX_BATCH);
        noted.forget(&order);
        assert_eq!((noted.count, noted.take().len(), noted.by_order.len()), (0, 0, 0));
    }

    #[test]
    fn unwritten_read_marks_of_an_order_are_returned() {
        let mut noted = PendingReadMarks::default();
        let (order, ann) = ids("o", "ann");
        let (other, bob) = ids("p", "bob");
        noted.put(&order, &ann, mark(3));
        noted.put(&other, &bob, mark(8));
        noted.take();
        noted.put(&order, &bob, mark(4));
        assert_eq!(noted.unwritten_of(&order), [(ann.clone(), 3), (bob.clone(), 4)]);
        noted.put(&order, &ann, mark(5));
        let stored = vec![(ann.clone(), 2), (bob.clone(), 7), (ids("o", "carl").1, 1)];
        let told = merge(stored.clone(), noted.unwritten_of(&order));
        assert_eq!(told, [(ann.clone(), 5), (bob.clone(), 7), (ids("o", "carl").1, 1)]);
        noted.put(&order, &bob, mark(0));
        let told = merge(stored, noted.unwritten_of(&order));
        assert_eq!(told, [(ann, 5), (ids("o", "carl").1, 1)], "forgotten");
    }
}
