//! Whether an endpoint takes deliveries: one that fails for every order is tried once per wait, and
//! not once per order, and one that answered 410 is stopped.

use std::time::Duration;

use super::schedule::RetrySchedule;
use protocol::time::Timestamp;

/// How many orders must fail one after the other, without a success between them, before the
/// endpoint itself counts as down.
const STREAK: u32 = 3;
/// How many entries of an endpoint are remembered, and how many reports.
const MAX_REMEMBERED: usize = 16;

/// What is known of an endpoint, in the database and so by every hub.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointState {
    /// The hashes of the entries that were used, in the order in which they were first used. The last
    /// one is in force: a hub that comes with an older one lags behind.
    pub entries: Vec<String>,
    /// The ids of the newest reports that were applied.
    pub reports: Vec<String>,
    /// The hash of the entry that was answered 410. It and the ones before it are stopped.
    pub stopped_entry: Option<String>,
    /// New orders that failed since the last success.
    pub streak: u32,
    /// How often the endpoint as a whole was found down since the last success; 0: it is up.
    pub level: u32,
    /// Until then nothing is sent.
    pub retry_at: Option<Timestamp>,
    /// Whether an order that has never failed may be tried before that. It may if the last failures
    /// were of orders that had failed before: they may be the reason themselves.
    pub open_for_new: bool,
    /// Why the last delivery failed.
    pub last_error: Option<String>,
    /// When the last delivery succeeded.
    pub last_delivered: Option<Timestamp>,
}

/// What may be sent to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Nothing, until another entry or an admin starts it.
    Stopped,
    /// Nothing until then.
    Closed(Timestamp),
    /// One order that has not failed yet; others at this time.
    OneNew(Timestamp),
    /// One order, to find out whether the endpoint is back.
    Probe,
    /// As many orders as there is room for.
    Open,
}

/// The outcome of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// How it was admitted.
    pub admission: Admission,
    /// Whether its order had not failed before.
    pub is_new: bool,
    /// When it ended.
    pub at: Timestamp,
    /// Its result.
    pub result: Result<(), Failure>,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In one line, without bodies of answers.
    pub reason: String,
    /// How long the endpoint asked to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether it is gone for good (410).
    pub is_gone: bool,
    /// Whether it is overloaded or down as a whole (429, 503), so `Retry-After` is for every order.
    pub is_busy: bool,
}

// === impl Failure ===

impl Failure {
    /// A failure without an answer.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry_after: None, is_gone: false, is_busy: false }
    }
}

// === impl EndpointState ===

impl EndpointState {
    /// What may be sent now to the endpoint with this entry.
    pub fn admission(&self, entry: &str, now: Timestamp) -> Admission {
        if self.is_stopped(entry) {
            return Admission::Stopped;
        }
        match self.retry_at {
            Some(at) if now < at && self.open_for_new => Admission::OneNew(at),
            Some(at) if now < at => Admission::Closed(at),
            _ if self.level > 0 => Admission::Probe,
            _ => Admission::Open,
        }
    }

    /// Whether it is down, stopped or not.
    pub fn is_down(&self) -> bool {
        self.level > 0
    }

    /// Whether this entry was answered 410, or was in force before the one that was.
    pub fn is_stopped(&self, entry: &str) -> bool {
        let Some(stopped) = self.stopped_entry.as_deref() else { return false };
        stopped == entry
            || self.age(entry).is_some_and(|age| self.age(stopped).is_none_or(|of| age < of))
    }

    /// The place of an entry among those that were used.
    fn age(&self, entry: &str) -> Option<usize> {
        self.entries.iter().position(|known| known == entry)
    }

    /// Whether another entry came into force after this one.
    fn is_former(&self, entry: &str) -> bool {
        self.age(entry).is_some_and(|age| age + 1 < self.entries.len())
    }

    /// Notes which entry is used. One that was never used before may have mended what failed: it
    /// begins anew, and this is true.
    pub fn use_entry(&mut self, entry: &str) -> bool {
        if self.age(entry).is_some() {
            return false;
        }
        let is_other = !self.entries.is_empty();
        if is_other {
            self.enable();
        }
        remember(&mut self.entries, entry);
        is_other
    }

    /// Notes a report. False if it was applied before: its hub did not learn of that, and sends it
    /// again.
    pub fn is_new_report(&mut self, id: &str) -> bool {
        let is_new = !self.reports.iter().any(|known| known == id);
        if is_new {
            remember(&mut self.reports, id);
        }
        is_new
    }

    /// Applies the outcome of a request. Returns whether the endpoint is back after it was down. What
    /// comes of a former entry says nothing about the one in force, unless that is down and the former
    /// one, by which it is tried, is not. `random` is from 0 to 1.
    pub fn apply(
        &mut self,
        attempt: &Attempt,
        entry: &str,
        schedule: &RetrySchedule,
        random: f64,
    ) -> bool {
        match &attempt.result {
            Ok(()) if self.is_former(entry) && attempt.admission == Admission::Open => {
                self.last_delivered = self.last_delivered.max(Some(attempt.at));
                false
            }
            Ok(()) => {
                if let Some(age) = self.age(entry).filter(|_| self.is_former(entry)) {
                    let in_force = self.entries.remove(age);
                    self.entries.push(in_force);
                }
                let is_back = self.is_down() || self.retry_at.is_some();
                self.last_delivered = self.last_delivered.max(Some(attempt.at));
                (self.streak, self.level) = (0, 0);
                (self.retry_at, self.open_for_new) = (None, false);
                is_back
            }
            Err(failure) => {
                self.last_error = Some(failure.reason.clone());
                self.fail(attempt, failure, entry, schedule, random);
                false
            }
        }
    }

    fn fail(
        &mut self,
        attempt: &Attempt,
        failure: &Failure,
        entry: &str,
        schedule: &RetrySchedule,
        random: f64,
    ) {
        if failure.is_gone {
            if !self.is_stopped(entry) {
                self.stopped_entry = Some(entry.to_owned());
            }
            return;
        }
        if self.is_former(entry) {
            return;
        }
        let is_found_down = match attempt.admission {
            // Others that were sent before it was found down say nothing new.
            Admission::Open => {
                self.streak += u32::from(attempt.is_new);
                self.level == 0 && self.streak >= STREAK
            }
            _ => true,
        };
        if is_found_down {
            self.level += 1;
            self.open_for_new = !attempt.is_new;
            let next = Some(attempt.at.plus(schedule.wait_forever(self.level, random)));
            // The time until which others waited for a probe is over with it.
            let is_probe = attempt.admission == Admission::Probe;
            self.retry_at = if is_probe { next } else { self.retry_at.max(next) };
        }
        if let Some(wait) = failure.retry_after.filter(|_| failure.is_busy) {
            self.level = self.level.max(1);
            self.open_for_new = false;
            self.retry_at = self.retry_at.max(Some(attempt.at.plus(wait)));
        }
    }

    /// Starts it again, as if nothing had failed.
    pub fn enable(&mut self) {
        let Self { entries, reports, last_delivered, .. } = std::mem::take(self);
        *self = Self { entries, reports, last_delivered, ..Self::default() };
    }
}

/// Adds a text to a list that holds no more than [`MAX_REMEMBERED`], in place of the oldest.
fn remember(known: &mut Vec<String>, text: &str) {
    known.push(text.to_owned());
    let surplus = known.len().saturating_sub(MAX_REMEMBERED);
    known.drain(..surplus);
}

#[cfg(test)]
mod tests;
