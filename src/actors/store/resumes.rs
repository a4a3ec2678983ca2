//! Sessions that are taken up again after a stop: written part by part behind chat, and taken out in
//! groups. When a node is back all its clients come within seconds; a commit for each would hold up
//! chat.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use actix::{Handler, Message};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::batcher::MAX_BATCH;
use super::reader::{QUEUE_TIMEOUT, with_timeout};
use super::writer::Writer;
use super::{Store, StoreError};
use crate::db::resumes::{self, MAX_EXPIRED, ResumeKey, StoredResume};
use crate::ids::{Pid, UserId};
use crate::session::resume::SessionRecord;
use crate::time::Timestamp;

/// The most bytes of one transaction, and one record more.
const MAX_PART_BYTES: usize = 1024 * 1024;

/// Write these sessions.
#[derive(Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(super) struct SaveResumeRecords {
    sessions: Vec<StoredResume>,
    expires: Timestamp,
}

/// Take out the sessions for which somebody waits. There is one such message for each who waits;
/// the first serves all, and the others find nobody.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct TakeResumeRecords(Arc<TakeQueue>);

/// Delete the sessions that have expired.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct DeleteExpiredResumes;

/// Who waits for a session. Each has a permit, which is the bound.
#[derive(Default)]
pub(super) struct TakeQueue {
    waiting: Mutex<VecDeque<PendingTake>>,
}

/// One who waits.
struct PendingTake {
    key: ResumeKey,
    asked: Instant,
    done: oneshot::Sender<Result<Option<String>, StoreError>>,
    /// Given back when the session is taken out, not when its caller goes away.
    _permit: OwnedSemaphorePermit,
}

// === impl Store ===

impl Store {
    /// Writes sessions that can be taken out again until `expires`. They go in parts, each in a
    /// transaction of its own behind the chat that waits by then.
    ///
    /// # Errors
    /// Where the database is unavailable or refuses a part; those before it are written.
    pub async fn save_resume_records(
        &self,
        mut records: Vec<SessionRecord>,
        expires: Timestamp,
    ) -> Result<(), StoreError> {
        // Neighbours of the table go together: a part then writes a few pages, not one per record.
        records.sort_by_cached_key(|record| record.pid.to_string());
        let mut records = records.into_iter();
        loop {
            let sessions = next_part(&mut records)?;
            if sessions.is_empty() {
                return Ok(());
            }
            let put = SaveResumeRecords { sessions, expires };
            self.writers.send(put).await.map_err(|_| StoreError::Closed)??;
        }
    }

    /// Takes a session out: nobody else gets it after that. None where there is no such session of
    /// this user, or it has expired; another user's stays where it is.
    ///
    /// # Errors
    /// Where the store is busy or the database unavailable.
    pub async fn take_resume_record(
        &self,
        pid: Pid,
        user_id: UserId,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let (done, taken) = oneshot::channel();
        let text = with_timeout(Arc::clone(&self.health), async {
            let permit = self.wait_for_permit().await?;
            let key = ResumeKey { pid, user_id };
            self.take_queue.push(PendingTake { key, asked: Instant::now(), done, _permit: permit });
            let take = TakeResumeRecords(Arc::clone(&self.take_queue));
            self.writers.send(take).await.map_err(|_| StoreError::Closed)?;
            taken.await.map_err(|_| StoreError::Closed)?
        });
        let text = text.await?;
        // One that another version has written is none: its client joins its rooms again.
        Ok(text.and_then(|text| SessionRecord::from_json(&text).ok()))
    }
}

/// The next records for one transaction, as they are stored.
fn next_part(
    records: &mut impl Iterator<Item = SessionRecord>,
) -> Result<Vec<StoredResume>, StoreError> {
    let (mut part, mut bytes) = (Vec::new(), 0);
    while part.len() < MAX_BATCH && bytes < MAX_PART_BYTES {
        let Some(from) = records.next() else { break };
        let record = from.to_json().map_err(|error| StoreError::Refused(error.to_string()))?;
        bytes += record.len();
        part.push(StoredResume { pid: from.pid, user_id: from.user, record });
    }
    Ok(part)
}

// === impl TakeQueue ===

impl TakeQueue {
    fn push(&self, take: PendingTake) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(take);
    }

    /// The next for one transaction, without those who have given up.
    fn next(&self, now: Instant) -> Vec<PendingTake> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Vec::new();
        while next.len() < MAX_BATCH {
            let Some(take) = waiting.pop_front() else { break };
            if now.saturating_duration_since(take.asked) > QUEUE_TIMEOUT {
                drop(take.done.send(Err(StoreError::Busy)));
            } else if !take.done.is_closed() {
                // Of those who are gone nobody would get the session any more.
                next.push(take);
            }
        }
        next
    }
}

// === impl Writer ===

impl Handler<SaveResumeRecords> for Writer {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, put: SaveResumeRecords, _: &mut Self::Context) -> Self::Result {
        // It may run twice: the same rows are written in place of each other.
        self.run(|connection| resumes::put(connection, &put.sessions, put.expires))
            .map_err(|failure| self.report_failure("sessions were not written", failure))
    }
}

impl Handler<TakeResumeRecords> for Writer {
    type Result = ();

    fn handle(&mut self, TakeResumeRecords(take_queue): TakeResumeRecords, _: &mut Self::Context) {
        let waiting = take_queue.next(Instant::now());
        if waiting.is_empty() {
            return;
        }
        let keys: Vec<ResumeKey> = waiting.iter().map(|take| take.key.clone()).collect();
        let now = Timestamp::now();
        // It may run twice: at worst a session is gone that the lost connection had taken out.
        let mut records = self
            .run(|connection| resumes::take(connection, &keys, now))
            .map(Vec::into_iter)
            .map_err(|failure| self.report_failure("sessions were not taken out", failure));
        for take in waiting {
            let record = records.as_mut().map(|records| records.next().flatten());
            // Whoever no longer wants to know has dropped the other half.
            drop(take.done.send(record.map_err(|error| error.clone())));
        }
    }
}

impl Handler<DeleteExpiredResumes> for Writer {
    type Result = ();

    fn handle(&mut self, _: DeleteExpiredResumes, ctx: &mut Self::Context) {
        match self.run(|connection| resumes::delete_expired(connection, Timestamp::now())) {
            // There may be more: they wait behind the chat that has come meanwhile.
            Ok(MAX_EXPIRED) => ctx.address().do_send(DeleteExpiredResumes),
            Ok(_) => {}
            Err(failure) => drop(self.report_failure("expired sessions were not deleted", failure)),
        }
    }
}
