//! Session records that are resumed after a stop: written in parts behind chat, and taken out in
//! groups. When a node is back, all its clients come within seconds, and a commit for each of them
//! would delay chat.

use std::sync::Arc;
use std::time::Instant;

use super::Store;
use super::db_thread::{DbThread, MAX_BATCH, with_timeout};
use super::error::StoreError;
use super::group_queue::GroupQueue;
use crate::db::resumes::{self, ResumeKey, StoredResume};
use crate::session::resume::SessionRecord;
use protocol::ids::{Pid, UserId};
use protocol::time::Timestamp;

/// The most bytes of one transaction; one more record may exceed them.
const MAX_PART_BYTES: usize = 1024 * 1024;

/// Callers that wait for a session record.
pub(super) type TakeQueue = GroupQueue<ResumeKey, Option<String>>;

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
            let written = self.writers.run(move |thread| {
                // It may run twice: the same rows replace each other.
                thread.query("sessions were not written", |connection| {
                    resumes::put(connection, &sessions, expires)
                })
            });
            written.await??;
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
        let text = with_timeout(Arc::clone(&self.health), async {
            let permit = self.wait_for_permit().await?;
            let taken = self.take_queue.push(ResumeKey { pid, user_id }, permit);
            let take_queue = Arc::clone(&self.take_queue);
            // Each caller starts a job; the first one serves all, and the rest find an empty queue.
            self.writers.start_job(move |thread| take_next(&take_queue, thread));
            taken.await
        })
        .await?;
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

/// Takes out the session records that callers wait for.
fn take_next(take_queue: &TakeQueue, thread: &DbThread) {
    let mut waiting = take_queue.next(MAX_BATCH, Instant::now());
    // A record that is taken for a caller that is gone would be lost.
    waiting.retain(|(_, reply)| !reply.is_abandoned());
    if waiting.is_empty() {
        return;
    }
    let (keys, replies): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
    let now = Timestamp::now();
    // It may run twice: at worst a record is lost that the broken connection had taken out.
    let mut records = thread
        .query("sessions were not taken out", |connection| resumes::take(connection, &keys, now))
        .map(Vec::into_iter);
    for reply in replies {
        let record = records.as_mut().map(|records| records.next().flatten());
        reply.send(record.map_err(|error| error.clone()));
    }
}
