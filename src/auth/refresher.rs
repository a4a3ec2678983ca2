//! Keeps keys up to date while the hub runs. It has a thread of its own, because reading a file or
//! asking a server blocks.
//!
//! After any error the keys of the last successful read stay valid.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::api_keys::ApiKeys;
use super::jwks;
use super::key_source::KeySource;
use super::keyring::{FetchState, FetchedKeys};
use super::reread::Reread;
use super::watched_source::WatchedSource;

/// How often a file is checked, and so how long a change takes.
const FILE_INTERVAL: Duration = Duration::from_secs(2);
/// How often a server is asked regularly, and so how long a withdrawn key may stay valid.
const SERVER_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// How often tokens with unknown keys may cause a fetch.
const ON_DEMAND_INTERVAL: Duration = Duration::from_secs(60);
/// The interval before the first success, when no login can succeed.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// The interval after a failure; doubles up to [`MAX_RETRY`].
const RETRY: Duration = Duration::from_secs(5);
const MAX_RETRY: Duration = Duration::from_secs(60);

/// The sources that are kept up to date. The thread ends when the keys are no longer used.
pub(super) struct KeyRefresher {
    pub(super) jwks: Option<RefreshedSource<Weak<FetchedKeys>>>,
    pub(super) api_keys: Option<RefreshedSource<Weak<ArcSwap<ApiKeys>>>>,
    /// Requests to read both sources at once.
    pub(super) reread: Arc<Reread>,
}

/// One source, and what its content is written to.
pub(super) struct RefreshedSource<T> {
    source: WatchedSource,
    target: T,
    schedule: RefreshSchedule,
}

/// When a source is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RefreshSchedule {
    every: Duration,
    /// The next regular read.
    next: Instant,
    /// Failures in a row.
    failures: u32,
    has_succeeded: bool,
    /// Until then, requests of tokens are ignored.
    rest_until: Option<Instant>,
}

// === impl KeyRefresher ===

impl KeyRefresher {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub(super) fn start(mut self) -> std::io::Result<()> {
        let fetched = self.jwks.as_ref().and_then(|jwks| jwks.target.upgrade());
        let reread = Arc::clone(&self.reread);
        let running = thread::Builder::new().name("keys".to_owned()).spawn(move || {
            while let Some(next) = self.run_due() {
                // A request wakes the thread; a wake-up that comes before the sleep is not lost.
                thread::park_timeout(next.saturating_duration_since(Instant::now()));
            }
        })?;
        reread.set_reader(running.thread().clone());
        if let Some(fetched) = fetched {
            fetched.set_fetcher(running.thread().clone());
        }
        Ok(())
    }

    /// Reads what is due. Returns when to run again; none if the keys are no longer used.
    fn run_due(&mut self) -> Option<Instant> {
        if self.reread.take() {
            self.jwks.iter_mut().for_each(RefreshedSource::read_soon);
            self.api_keys.iter_mut().for_each(RefreshedSource::read_soon);
        }
        let jwks = self.jwks.as_mut().and_then(RefreshedSource::<Weak<FetchedKeys>>::run_due);
        let api_keys =
            self.api_keys.as_mut().and_then(RefreshedSource::<Weak<ArcSwap<_>>>::run_due);
        jwks.into_iter().chain(api_keys).min()
    }
}

// === impl RefreshedSource ===

impl<T> RefreshedSource<T> {
    pub(super) fn new(source: Arc<KeySource>, variable: &'static str, target: T) -> Self {
        let source = WatchedSource::new(source, variable, "keys");
        let every = if source.is_file() { FILE_INTERVAL } else { SERVER_INTERVAL };
        let schedule = RefreshSchedule::new(every, Instant::now());
        Self { source, target, schedule }
    }

    /// Reads the source on the next run, whatever its schedule, and logs its problems again.
    fn read_soon(&mut self) {
        self.schedule.next = Instant::now();
        self.source.forget_problem();
    }
}

impl RefreshedSource<Weak<FetchedKeys>> {
    fn run_due(&mut self) -> Option<Instant> {
        let fetched = self.target.upgrade()?;
        let is_asked = fetched.state() == FetchState::Asked;
        if self.schedule.is_due(is_asked, Instant::now()) {
            let (source, variable) = (self.source.name(), self.source.variable());
            let good = self.source.read_if_changed(jwks::parse, |set| {
                for skipped in &set.skipped {
                    log::warn!("{variable}: {source}: {skipped}; it is left out");
                }
                log::info!("{variable}: {} keys of {source} are in use", set.keys.len());
                fetched.replace(set.keys);
            });
            self.schedule.done(good, is_asked, Instant::now());
        }
        let now = Instant::now();
        let state = self.schedule.state(now);
        // A request that came while the source was read for another reason may have been too late
        // for that read, so it is served next.
        let next = fetched.update_state(|current| match current {
            FetchState::Asked if !is_asked => FetchState::Asked,
            _ => state,
        });
        Some(if next == FetchState::Asked { now } else { self.schedule.wake(now) })
    }
}

impl RefreshedSource<Weak<ArcSwap<ApiKeys>>> {
    fn run_due(&mut self) -> Option<Instant> {
        let keys = self.target.upgrade()?;
        let now = Instant::now();
        if self.schedule.is_due(false, now) {
            let (source, variable) = (self.source.name(), self.source.variable());
            let good = self.source.read_if_changed(ApiKeys::parse, |parsed| {
                log::info!("{variable}: {} keys of {source} are in use", parsed.len());
                keys.store(Arc::new(parsed));
            });
            self.schedule.done(good, false, now);
        }
        Some(self.schedule.wake(now))
    }
}

// === impl RefreshSchedule ===

impl RefreshSchedule {
    fn new(every: Duration, now: Instant) -> Self {
        Self { every, next: now, failures: 0, has_succeeded: false, rest_until: None }
    }

    fn is_due(&self, asked: bool, now: Instant) -> bool {
        asked || now >= self.next
    }

    /// Records a read of the source, whether a token requested it or not.
    fn done(&mut self, good: bool, asked: bool, now: Instant) {
        if !good {
            self.failures = self.failures.saturating_add(1);
            self.next = now + self.retry();
            return;
        }
        // The first read was not requested by a token, so the next token may request one at once.
        if asked && self.has_succeeded {
            self.rest_until = Some(now + ON_DEMAND_INTERVAL);
        }
        (self.failures, self.has_succeeded) = (0, true);
        self.next = now + self.every;
    }

    fn retry(&self) -> Duration {
        let wait = if self.has_succeeded {
            let doubled = RETRY.saturating_mul(1 << (self.failures.saturating_sub(1)).min(8));
            doubled.min(MAX_RETRY)
        } else {
            FIRST_RETRY
        };
        wait.min(self.every)
    }

    fn state(&self, now: Instant) -> FetchState {
        match self.rest_until {
            _ if self.failures > 0 => FetchState::Down,
            Some(until) if now < until => FetchState::Resting,
            _ => FetchState::Calm,
        }
    }

    /// When the next regular read is due.
    fn wake(&self, now: Instant) -> Instant {
        let rested = self.rest_until.filter(|until| *until > now);
        rested.map_or(self.next, |until| until.min(self.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A schedule for a server that has answered once, at this instant.
    fn answered() -> (RefreshSchedule, Instant) {
        let now = Instant::now();
        let mut schedule = RefreshSchedule::new(SERVER_INTERVAL, now);
        assert!(schedule.is_due(false, now));
        schedule.done(true, true, now);
        (schedule, now)
    }

    #[test]
    fn the_first_reading_leaves_the_next_token_free_to_ask() {
        let (schedule, now) = answered();
        assert_eq!(schedule.state(now), FetchState::Calm);
        assert_eq!(schedule.wake(now), now + SERVER_INTERVAL);
        assert!(!schedule.is_due(false, now + SECOND));
        assert!(schedule.is_due(true, now) && schedule.is_due(false, now + SERVER_INTERVAL));
    }

    #[test]
    fn tokens_make_the_hub_look_once_a_minute() {
        let (mut schedule, now) = answered();
        schedule.done(true, true, now + SECOND);
        let rested = now + SECOND + ON_DEMAND_INTERVAL;
        assert_eq!(schedule.state(now + ON_DEMAND_INTERVAL), FetchState::Resting);
        assert_eq!(schedule.wake(now + SECOND), rested);
        assert_eq!(schedule.state(rested), FetchState::Calm);
        // A regular read does not change that.
        schedule.done(true, false, now + 2 * SECOND);
        assert_eq!(schedule.state(now + ON_DEMAND_INTERVAL), FetchState::Resting);
    }

    #[test]
    fn a_server_that_is_down_is_asked_less_and_less_often() {
        let (mut schedule, mut now) = answered();
        for wait in [5, 10, 20, 40, 60, 60] {
            schedule.done(false, true, now);
            assert_eq!(schedule.state(now), FetchState::Down);
            assert_eq!(schedule.wake(now), now + wait * SECOND);
            now += wait * SECOND;
        }
        (0..100).for_each(|_| schedule.done(false, false, now));
        assert_eq!(schedule.wake(now), now + MAX_RETRY);
        schedule.done(true, false, now);
        assert_eq!(
            (schedule.state(now), schedule.wake(now)),
            (FetchState::Calm, now + SERVER_INTERVAL)
        );
    }

    #[test]
    fn before_the_first_success_it_is_tried_for_often() {
        let now = Instant::now();
        let mut schedule = RefreshSchedule::new(SERVER_INTERVAL, now);
        (0..9).for_each(|_| schedule.done(false, true, now));
        assert_eq!(
            (schedule.state(now), schedule.wake(now)),
            (FetchState::Down, now + FIRST_RETRY)
        );
    }

    #[test]
    fn a_file_is_looked_at_as_often_when_it_is_broken() {
        let now = Instant::now();
        let mut schedule = RefreshSchedule::new(FILE_INTERVAL, now);
        schedule.done(true, false, now);
        (0..9).for_each(|_| schedule.done(false, false, now));
        assert_eq!(schedule.wake(now), now + FILE_INTERVAL);
    }
}
