//! Session records that are resumed after a stop: written in parts behind chat, and taken out in
//! groups. When a node is back, all its clients come within seconds, and a commit for each of them
//! would delay chat.

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
use crate::session::resume::SessionRecord;
use protocol::ids::{Pid, UserId};
use protocol::time::Timestamp;

/// The most bytes of one transaction; one more record may exceed them.
const MAX_PART_BYTES: usize = 1024 * 1024;

/// Write these sessions.
#[derive(Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(super) struct SaveResumeRecords {
    sessions: Vec<StoredResume>,
    expires: Timestamp,
}

/// Take out the session records that callers wait for. There is one such message per caller; the
/// first one serves all, and the rest find an empty queue.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct TakeResumeRecords(Arc<TakeQueue>);

/// Delete the sessions that have expired.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct DeleteExpiredResumes;

/// Callers that wait for a session record. Each has a permit, which bounds their number.
#[derive(Default)]
pub(super) struct TakeQueue {
    waiting: Mutex<VecDeque<PendingTake>>,
}

/// A caller that waits.
struct PendingTake {
    key: ResumeKey,
    asked: Instant,
    done: oneshot::Sender<Result<Option<String>, StoreError>>,
    /// Released when the record is taken out, not when its caller goes away.
    _permit: OwnedSemaphorePermit,
}

// === impl Store ===

impl Store {
    /// Writes session records that can be taken until `expires`. They are written in parts, each in
    /// a transaction of its own, behind the chat that waits at that time.
    ///
    /// # Errors
    /// If the database is unavailable or refuses a part; earlier parts are written.
    pub async fn save_resume_records(
        &self,
        mut records: Vec<SessionRecord>,
        expires: Timestamp,
    ) -> Result<(), StoreError> {
        // Records that are neighbours in the table are written together, so a part writes a few
        // pages, not one per record.
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

    /// Takes a session record out; no other caller gets it after that. None if this user has no
    /// such session or it has expired; another user's record stays.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
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
        // A record that another version has written is ignored: its client joins its rooms again.
        Ok(text.and_then(|text| SessionRecord::from_json(&text).ok()))
    }
}

/// The next records for one transaction, in stored form.
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

    /// The next requests for one transaction, without those whose callers have given up.
    fn next(&self, now: Instant) -> Vec<PendingTake> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Vec::new();
        while next.len() < MAX_BATCH {
            let Some(take) = waiting.pop_front() else { break };
            if now.saturating_duration_since(take.asked) > QUEUE_TIMEOUT {
                drop(take.done.send(Err(StoreError::Busy)));
            } else if !take.done.is_closed() {
                // A record that is taken for a caller that is gone would be lost.
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
        // It may run twice: the same rows replace each other.
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
        // It may run twice: at worst a record is lost that the broken connection had taken out.
        let mut records = self
            .run(|connection| resumes::take(connection, &keys, now))
            .map(Vec::into_iter)
            .map_err(|failure| self.report_failure("sessions were not taken out", failure));
        for take in waiting {
            let record = records.as_mut().map(|records| records.next().flatten());
            // A caller that no longer waits has dropped the receiver.
            drop(take.done.send(record.map_err(|error| error.clone())));
        }
    }
}

impl Handler<DeleteExpiredResumes> for Writer {
    type Result = ();

    fn handle(&mut self, _: DeleteExpiredResumes, ctx: &mut Self::Context) {
        match self.run(|connection| resumes::delete_expired(connection, Timestamp::now())) {
            // There may be more; they wait behind the chat that has arrived meanwhile.
            Ok(MAX_EXPIRED) => ctx.address().do_send(DeleteExpiredResumes),
            Ok(_) => {}
            Err(failure) => drop(self.report_failure("expired sessions were not deleted", failure)),
        }
    }
}
