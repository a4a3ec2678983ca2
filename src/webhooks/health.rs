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
mod tests {
    use super::*;

    const SECOND: i64 = 1000;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn schedule() -> RetrySchedule {
        RetrySchedule::parse("5s,5m,30m").expect("a schedule")
    }

    /// An endpoint, its clock, and what came of its requests.
    struct Scene {
        state: EndpointState,
        now: i64,
    }

    impl Scene {
        fn new() -> Self {
            Self { state: EndpointState::default(), now: 0 }
        }

        fn admission(&self) -> Admission {
            self.state.admission("e1", at(self.now))
        }

        fn ends(&mut self, is_new: bool, result: Result<(), Failure>) -> bool {
            let admission = self.admission();
            let attempt = Attempt { admission, is_new, at: at(self.now), result };
            self.state.apply(&attempt, "e1", &schedule(), 0.5)
        }

        fn fails(&mut self, is_new: bool) {
            self.ends(is_new, Err(Failure::new("it answers 500")));
        }
    }

    #[test]
    fn an_endpoint_that_fails_for_all_is_tried_once_per_wait() {
        let mut scene = Scene::new();
        (0..2).for_each(|_| scene.fails(true));
        assert_eq!(scene.admission(), Admission::Open);
        scene.fails(true);
        assert_eq!(scene.admission(), Admission::Closed(at(5 * SECOND)));
        // What was on its way when it was found down changes nothing.
        let late = Attempt {
            admission: Admission::Open,
            is_new: true,
            at: at(0),
            result: Err(Failure::new("late")),
        };
        scene.state.apply(&late, "e1", &schedule(), 0.5);
        assert_eq!(scene.admission(), Admission::Closed(at(5 * SECOND)));
        let mut tries = 0;
        // A day, looked at every second.
        for second in 0..86_400 {
            scene.now = second * SECOND;
            if !matches!(scene.admission(), Admission::Closed(_)) {
                tries += 1;
                scene.fails(true);
            }
        }
        // After 5 s, 5 min and then every half an hour.
        assert_eq!(tries, 2 + (86_400 - 305) / 1800);
        scene.now += 3600 * SECOND;
        assert_eq!(scene.admission(), Admission::Probe);
        assert!(scene.ends(true, Ok(())), "it is back");
        assert_eq!(scene.admission(), Admission::Open);
        assert!(!scene.ends(true, Ok(())));
    }

    #[test]
    fn orders_that_fail_alone_do_not_close_the_endpoint() {
        let mut scene = Scene::new();
        for _ in 0..10 {
            scene.fails(false);
            scene.fails(true);
            scene.ends(true, Ok(()));
        }
        (0..10).for_each(|_| scene.fails(false));
        assert_eq!(scene.admission(), Admission::Open);
    }

    #[test]
    fn while_only_orders_that_failed_before_are_tried_a_new_one_may_go() {
        let mut scene = Scene::new();
        (0..3).for_each(|_| scene.fails(true));
        scene.now = 5 * SECOND;
        scene.fails(false);
        let retry_at = at(305 * SECOND);
        assert_eq!(scene.admission(), Admission::OneNew(retry_at));
        scene.fails(true);
        assert_eq!(scene.admission(), Admission::Closed(at(1805 * SECOND)));
        scene.now = 1805 * SECOND;
        scene.fails(false);
        assert!(scene.ends(true, Ok(())));
        assert_eq!(scene.admission(), Admission::Open);
    }

    #[test]
    fn after_410_only_another_entry_or_an_admin_starts_it() {
        let mut scene = Scene::new();
        let gone = Failure { is_gone: true, ..Failure::new("it answers 410") };
        scene.ends(true, Err(gone));
        assert_eq!(scene.admission(), Admission::Stopped);
        scene.now = i64::from(u32::MAX);
        assert_eq!(scene.admission(), Admission::Stopped);
        assert_eq!(scene.state.admission("e2", at(0)), Admission::Open);
        scene.state.enable();
        assert_eq!(scene.admission(), Admission::Open);
    }

    #[test]
    fn another_entry_is_tried_at_once() {
        let mut scene = Scene::new();
        assert!(!scene.state.use_entry("e1"), "the first one");
        (0..3).for_each(|_| scene.fails(true));
        assert!(!scene.state.use_entry("e1"));
        assert!(matches!(scene.admission(), Admission::Closed(_)));
        assert!(scene.state.use_entry("e2"));
        assert_eq!(scene.state.admission("e2", at(0)), Admission::Open);
        // What was on its way for the entry of before says nothing about this one.
        (0..9).for_each(|_| scene.fails(true));
        assert_eq!(scene.state.admission("e2", at(0)), Admission::Open);
        let gone = Failure { is_gone: true, ..Failure::new("it answers 410") };
        scene.ends(true, Err(gone));
        assert!(!scene.state.use_entry("e1"));
        assert_eq!(scene.admission(), Admission::Stopped, "the entry that was answered 410");
        assert_eq!(scene.state.admission("e2", at(0)), Admission::Open);
    }

    #[test]
    fn a_hub_that_lags_behind_with_its_file_starts_nothing() {
        let mut scene = Scene::new();
        scene.state.use_entry("e0");
        scene.state.use_entry("e1");
        (0..3).for_each(|_| scene.fails(true));
        for entry in ["e0", "e1", "e0"] {
            assert!(!scene.state.use_entry(entry), "{entry} is known");
            assert!(matches!(scene.admission(), Admission::Closed(_)), "{entry}");
        }
        let late = Attempt { admission: Admission::Open, is_new: true, at: at(0), result: Ok(()) };
        assert!(!scene.state.apply(&late, "e0", &schedule(), 0.5));
        assert!(matches!(scene.admission(), Admission::Closed(_)));
        // Where only the older one works, as after a rollback, it is in force again.
        let mut back = scene.state.clone();
        let probe = Attempt { admission: Admission::Probe, ..late };
        assert!(back.apply(&probe, "e0", &schedule(), 0.5));
        assert_eq!(back.entries, ["e1", "e0"]);
        let gone = Failure { is_gone: true, ..Failure::new("it answers 410") };
        scene.ends(true, Err(gone));
        assert_eq!(scene.state.admission("e0", at(0)), Admission::Stopped);
        assert!(scene.state.use_entry("e2"), "a new one starts it");
        assert_eq!(scene.state.admission("e2", at(0)), Admission::Open);
    }

    #[test]
    fn a_report_counts_once() {
        let mut state = EndpointState::default();
        assert!(state.is_new_report("r1"));
        assert!(!state.is_new_report("r1"));
        (0..99).for_each(|number| assert!(state.is_new_report(&format!("s{number}"))));
        assert_eq!(state.reports.len(), MAX_REMEMBERED);
    }

    #[test]
    fn retry_after_of_an_overloaded_endpoint_is_for_all_orders() {
        let mut scene = Scene::new();
        let retry_after = Some(Duration::from_secs(60));
        let busy = Failure { retry_after, is_busy: true, ..Failure::new("it answers 429") };
        scene.ends(true, Err(busy));
        assert_eq!(scene.admission(), Admission::Closed(at(60 * SECOND)));
        scene.now = 60 * SECOND;
        assert_eq!(scene.admission(), Admission::Probe);
        let other = Failure { retry_after, ..Failure::new("it answers 500") };
        let mut scene = Scene::new();
        scene.ends(true, Err(other));
        assert_eq!(scene.admission(), Admission::Open);
    }
}
