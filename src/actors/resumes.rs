//! The sessions of this node that a client can resume: those still attached to their connection,
//! and, for a while, the records of those that ended uncleanly.
//!
//! One lock protects all of it. A session takes the lock two or three times in its life, each time
//! for a few map lookups. Records are dropped after the lock is released.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix::{Message, Recipient};
use prometheus_client::metrics::gauge::Gauge;

use super::reachable::Reachable;
use crate::metrics::Metrics;
use crate::session::resume::SessionRecord;
use protocol::ids::{Pid, UserId};

/// The most bytes that kept records may take, by estimate.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The most records of one user, so that one user's reconnects cannot push out the records of
/// others.
const MAX_PER_USER: usize = 100;
/// About how many bytes a record takes in the maps, beside itself.
const OVERHEAD_BYTES: usize = 192;
/// How many expired records one hold of the lock removes.
const SWEEP_AT_ONCE: usize = 256;

/// Asks a session to end as if its connection had broken, because its client is back on another
/// connection. The new connection then finds the record with [`ResumableSessions::claim`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct TakeOver {
    /// The pid of the session.
    pub pid: Pid,
}

/// The answer to a client that presents a pid.
#[derive(Debug)]
pub enum Claim {
    /// The record of a session that has ended. Only the claimant has it now.
    Detached(Box<SessionRecord>),
    /// The session may still be live, and can be asked to end with this. A second claim, after its
    /// answer or a timeout, tells how it ended.
    Attached(Recipient<TakeOver>),
    /// Another connection of the same user has claimed it, and will resume it or give it back.
    Claimed,
    /// There is no such record: it never existed, belongs to another user, expired, or was evicted.
    Unknown,
}

/// The sessions of one node that can be resumed.
pub struct ResumableSessions {
    /// How long a record is kept; zero keeps none.
    keep: Duration,
    /// The most records that are kept.
    most: usize,
    /// The most bytes that they may take.
    most_bytes: usize,
    /// The metric of how many are kept.
    gauge: Gauge,
    state: Mutex<ResumeTable>,
}

#[derive(Default)]
struct ResumeTable {
    /// Every session that can be resumed.
    sessions: HashMap<Pid, ResumeEntry>,
    /// The records of ended sessions, in the order in which they ended, which is that of expiry.
    kept: BTreeMap<u64, KeptRecord>,
    /// The estimated size of `kept`.
    bytes: usize,
    /// The keys in `kept` of each user, the oldest first.
    users: HashMap<UserId, VecDeque<u64>>,
    /// The next key in `kept`.
    next: u64,
}

enum ResumeEntry {
    /// Its connection may still be live.
    Attached { user: UserId, owner: Arc<dyn Reachable<TakeOver>> },
    /// It has ended; this is its key in `kept`.
    Detached(u64),
    /// It has ended, and a claimant holds its record for the moment.
    Claimed { user: UserId },
}

/// A record that waits for its client.
struct KeptRecord {
    record: SessionRecord,
    /// When it expires.
    until: Instant,
    /// Its share of [`ResumeTable::bytes`].
    bytes: usize,
}

// === impl ResumableSessions ===

impl ResumableSessions {
    /// Keeps at most `most` records for `keep` each; beyond that the oldest goes.
    pub fn new(keep: Duration, most: usize, metrics: &Metrics) -> Self {
        let gauge = metrics.resumable_sessions.clone();
        Self { keep, most, most_bytes: MAX_BYTES, gauge, state: Mutex::default() }
    }

    /// Registers a live session of `user` with this pid, in place of one that it resumed.
    pub fn attach(&self, pid: Pid, user: UserId, owner: Arc<dyn Reachable<TakeOver>>) {
        let mut state = self.lock();
        let before = state.forget(pid);
        state.sessions.insert(pid, ResumeEntry::Attached { user, owner });
        self.show(state);
        drop(before);
    }

    /// Keeps the record of a session that has ended uncleanly, so that its client can resume.
    pub fn detach(&self, record: SessionRecord, now: Instant) {
        let bytes = record.size() + OVERHEAD_BYTES;
        let mut state = self.lock();
        let mut gone: Vec<_> = state.forget(record.pid).into_iter().collect();
        if !self.keep.is_zero() {
            gone.extend(state.keep(KeptRecord { record, until: now + self.keep, bytes }));
        }
        while state.kept.len() > self.most || state.bytes > self.most_bytes {
            gone.extend(state.forget_first());
        }
        self.show(state);
        drop(gone);
    }

    /// Forgets a session that has ended for good.
    pub fn remove(&self, pid: Pid) {
        let mut state = self.lock();
        let gone = state.forget(pid);
        self.show(state);
        drop(gone);
    }

    /// Claims the session with this pid for `user`. A claim by another user changes nothing. A
    /// claimant that gets the record gives it back, attaches the session, or removes it.
    pub fn claim(&self, pid: Pid, user: &UserId, now: Instant) -> Claim {
        let mut state = self.lock();
        match state.sessions.get(&pid) {
            Some(ResumeEntry::Attached { user: owner_is, owner }) if owner_is == user => {
                let owner = owner.recipient();
                if owner.connected() {
                    return Claim::Attached(owner);
                }
                // Its actor panicked and left no record.
            }
            Some(ResumeEntry::Claimed { user: claimant }) if claimant == user => {
                return Claim::Claimed;
            }
            Some(ResumeEntry::Detached(key))
                if state.kept.get(key).is_some_and(|kept| kept.record.user == *user) => {}
            _ => return Claim::Unknown,
        }
        let found = state.forget(pid).filter(|kept| now < kept.until);
        if found.is_some() {
            state.sessions.insert(pid, ResumeEntry::Claimed { user: user.clone() });
        }
        self.show(state);
        found.map_or(Claim::Unknown, |kept| Claim::Detached(Box::new(kept.record)))
    }

    /// Removes records that have expired at `now`, and returns how many. A claim never returns an
    /// expired record; this frees its memory.
    pub fn sweep(&self, now: Instant) -> usize {
        let mut swept = 0;
        loop {
            let mut state = self.lock();
            let expired: Vec<KeptRecord> =
                std::iter::from_fn(|| state.forget_expired(now)).take(SWEEP_AT_ONCE).collect();
            self.show(state);
            swept += expired.len();
            if expired.len() < SWEEP_AT_ONCE {
                return swept;
            }
        }
    }

    /// Takes out every record that has not expired at `now`, for the database.
    pub fn drain(&self, now: Instant) -> Vec<SessionRecord> {
        let mut state = self.lock();
        let kept: Vec<KeptRecord> = std::iter::from_fn(|| state.forget_first()).collect();
        self.show(state);
        let alive = kept.into_iter().filter(|kept| now < kept.until);
        alive.map(|kept| kept.record).collect()
    }

    /// How many records are kept.
    pub fn kept(&self) -> usize {
        self.lock().kept.len()
    }

    fn lock(&self) -> MutexGuard<'_, ResumeTable> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Updates the gauge and releases the lock.
    fn show(&self, state: MutexGuard<'_, ResumeTable>) {
        self.gauge.set(i64::try_from(state.kept.len()).unwrap_or(i64::MAX));
    }
}

// === impl ResumeTable ===

impl ResumeTable {
    /// Keeps a record. Returns the user's oldest one, where the user has too many.
    fn keep(&mut self, kept: KeptRecord) -> Option<KeptRecord> {
        let key = self.next;
        self.next += 1;
        self.bytes += kept.bytes;
        let keys = self.users.entry(kept.record.user.clone()).or_default();
        keys.push_back(key);
        let oldest = (keys.len() > MAX_PER_USER).then(|| keys.front().copied()).flatten();
        self.sessions.insert(kept.record.pid, ResumeEntry::Detached(key));
        self.kept.insert(key, kept);
        let pid = self.kept.get(&oldest?)?.record.pid;
        self.forget(pid)
    }

    /// Forgets a session. Returns its record, if it is kept here.
    fn forget(&mut self, pid: Pid) -> Option<KeptRecord> {
        let ResumeEntry::Detached(key) = self.sessions.remove(&pid)? else { return None };
        let kept = self.kept.remove(&key)?;
        self.bytes -= kept.bytes;
        if let Some(keys) = self.users.get_mut(&kept.record.user) {
            keys.retain(|known| *known != key);
            if keys.is_empty() {
                self.users.remove(&kept.record.user);
            }
        }
        Some(kept)
    }

    /// Forgets the session that ended first.
    fn forget_first(&mut self) -> Option<KeptRecord> {
        let pid = self.kept.first_key_value()?.1.record.pid;
        self.forget(pid)
    }

    /// Forgets the session that ended first, if it has expired.
    fn forget_expired(&mut self, now: Instant) -> Option<KeptRecord> {
        let (_, first) = self.kept.first_key_value()?;
        if first.until <= now { self.forget_first() } else { None }
    }
}
