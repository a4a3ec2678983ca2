//! The sessions of this node that a client can take up again: those that are attached to their
//! client still, and the records of those that have ended uncleanly, for a while.
//!
//! One lock holds all of it. A session takes it two or three times in its life, each time for a few
//! looks into a map; records are dropped after it is given back.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix::{Message, Recipient};
use prometheus_client::metrics::gauge::Gauge;

use super::reachable::Reachable;
use crate::ids::{Pid, UserId};
use crate::metrics::Metrics;
use crate::session::resume::SessionRecord;

/// The most bytes that kept records may take, by estimate.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The most records of one user: one who comes and goes must not push out everybody else's.
const MAX_PER_USER: usize = 100;
/// About what a record takes here beside itself: its places in the maps.
const OVERHEAD_BYTES: usize = 192;
/// How many expired records are taken out under one hold of the lock.
const SWEEP_AT_ONCE: usize = 256;

/// Your client has come back on another connection: end, as if yours had broken. Whoever asks finds
/// the record behind that with [`ResumableSessions::claim`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct TakeOver {
    /// Which session is meant.
    pub pid: Pid,
}

/// What there is for a client that presents a pid.
#[derive(Debug)]
pub enum Claim {
    /// The record of a session that has ended. It is the claimant's now, and nobody else's.
    Detached(Box<SessionRecord>),
    /// The session is not known to have ended: it is asked to. Claiming once more, behind its answer
    /// or where none comes, finds out how it ended.
    Attached(Recipient<TakeOver>),
    /// Another connection of the same client has just claimed it, and is about to take it up or to
    /// give it back.
    Claimed,
    /// Nothing: never there, of another user, expired, or dropped for others.
    Unknown,
}

/// The sessions of one node that can be taken up again.
pub struct ResumableSessions {
    /// How long a record is kept; zero keeps none.
    keep: Duration,
    /// The most records that are kept.
    most: usize,
    /// The most bytes that they may take.
    most_bytes: usize,
    /// Shows to the operator how many are kept.
    gauge: Gauge,
    state: Mutex<ResumeTable>,
}

#[derive(Default)]
struct ResumeTable {
    /// Every session that can be taken up again.
    sessions: HashMap<Pid, ResumeEntry>,
    /// The records of ended sessions, in the order in which these ended: so the first expires first.
    kept: BTreeMap<u64, KeptRecord>,
    /// What `kept` takes, by estimate.
    bytes: usize,
    /// The keys in `kept` of each user, the oldest first.
    users: HashMap<UserId, VecDeque<u64>>,
    /// The key of the next in `kept`.
    next: u64,
}

enum ResumeEntry {
    /// Its client may be there still.
    Attached { user: UserId, owner: Arc<dyn Reachable<TakeOver>> },
    /// It has ended; its key in `kept`.
    Detached(u64),
    /// It has ended, and somebody has its record for the moment.
    Claimed { user: UserId },
}

/// A record that waits for its client.
struct KeptRecord {
    record: SessionRecord,
    /// When nobody can have it any more.
    until: Instant,
    /// What it counts for in [`ResumeTable::bytes`].
    bytes: usize,
}

// === impl ResumableSessions ===

impl ResumableSessions {
    /// Keeps at most `most` records for `keep` each; beyond that the oldest goes.
    pub fn new(keep: Duration, most: usize, metrics: &Metrics) -> Self {
        let gauge = metrics.resumable_sessions.clone();
        Self { keep, most, most_bytes: MAX_BYTES, gauge, state: Mutex::default() }
    }

    /// A session of `user` has this pid from now on, in place of one that ended for it.
    pub fn attach(&self, pid: Pid, user: UserId, owner: Arc<dyn Reachable<TakeOver>>) {
        let mut state = self.lock();
        let before = state.forget(pid);
        state.sessions.insert(pid, ResumeEntry::Attached { user, owner });
        self.show(state);
        drop(before);
    }

    /// A session has ended uncleanly: its client may come back for it.
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

    /// A session has ended for good.
    pub fn remove(&self, pid: Pid) {
        let mut state = self.lock();
        let gone = state.forget(pid);
        self.show(state);
        drop(gone);
    }

    /// What there is at `now` for `user`, who presents this pid. Another user's claim changes
    /// nothing. Whoever gets the record gives it back, attaches the session, or removes it.
    pub fn claim(&self, pid: Pid, user: &UserId, now: Instant) -> Claim {
        let mut state = self.lock();
        match state.sessions.get(&pid) {
            Some(ResumeEntry::Attached { user: owner_is, owner }) if owner_is == user => {
                let owner = owner.recipient();
                if owner.connected() {
                    return Claim::Attached(owner);
                }
                // Its actor is gone without a word: it panicked.
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

    /// Forgets what has expired at `now`, and says how much that was. Nobody gets an expired record
    /// in any case; this gives its memory back.
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

    /// Takes every record out that has not expired at `now`, for the database.
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

    /// Brings the gauge up to date and gives the lock back.
    fn show(&self, state: MutexGuard<'_, ResumeTable>) {
        self.gauge.set(i64::try_from(state.kept.len()).unwrap_or(i64::MAX));
    }
}

// === impl ResumeTable ===

impl ResumeTable {
    /// Keeps a record; gives back the user's oldest, where that is one too many.
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

    /// Forgets a session; gives back its record, if it has one here.
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
