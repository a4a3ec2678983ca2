//! Keeps keys up to date while the hub runs, on a thread of its own: reading a file or asking a
//! server blocks.
//!
//! Whatever goes wrong, the keys of the last good reading stay in force.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};

use super::api_keys::ApiKeys;
use super::jwks;
use super::key_source::KeySource;
use super::keyring::{FetchState, FetchedKeys};
use super::reread::Reread;

/// How often a file is looked at: so long a change takes to count.
const FILE_INTERVAL: Duration = Duration::from_secs(2);
/// How often a server is asked without need: so long a key that it withdrew may still count.
const SERVER_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// At most so often tokens with unknown keys make the hub look.
const ON_DEMAND_INTERVAL: Duration = Duration::from_secs(60);
/// Before the first success nobody can log in, so that is tried for often.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// After a failure; doubles up to the next one.
const RETRY: Duration = Duration::from_secs(5);
const MAX_RETRY: Duration = Duration::from_secs(60);
/// The same problem is told so often.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// What is kept up to date. It ends when nobody uses the keys any more.
pub(super) struct KeyRefresher {
    pub(super) jwks: Option<RefreshedSource<Weak<FetchedKeys>>>,
    pub(super) api_keys: Option<RefreshedSource<Weak<ArcSwap<ApiKeys>>>>,
    /// Orders to read both at once.
    pub(super) reread: Arc<Reread>,
}

/// One source, and where what it says goes.
pub(super) struct RefreshedSource<T> {
    source: Arc<KeySource>,
    target: T,
    /// The variable that names the source, for the log.
    variable: &'static str,
    /// The hash of what counts now; none before the first success.
    current: Option<Vec<u8>>,
    schedule: RefreshSchedule,
    warned: Option<(String, Instant)>,
}

/// When a source is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RefreshSchedule {
    every: Duration,
    /// The next time without being asked.
    next: Instant,
    /// Failures in a row.
    failures: u32,
    has_succeeded: bool,
    /// Until then it does not count that tokens ask.
    rest_until: Option<Instant>,
}

// === impl KeyRefresher ===

impl KeyRefresher {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system gives none.
    pub(super) fn start(mut self) -> std::io::Result<()> {
        let fetched = self.jwks.as_ref().and_then(|jwks| jwks.target.upgrade());
        let reread = Arc::clone(&self.reread);
        let running = thread::Builder::new().name("keys".to_owned()).spawn(move || {
            while let Some(next) = self.run_due() {
                // Whoever asks wakes it; that the wake-up comes before the sleep is no matter.
                thread::park_timeout(next.saturating_duration_since(Instant::now()));
            }
        })?;
        reread.set_reader(running.thread().clone());
        if let Some(fetched) = fetched {
            fetched.set_fetcher(running.thread().clone());
        }
        Ok(())
    }

    /// Does what is due. Says when to come again; none where nobody needs it.
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
        let every = if source.is_file() { FILE_INTERVAL } else { SERVER_INTERVAL };
        let schedule = RefreshSchedule::new(every, Instant::now());
        Self { source, target, variable, current: None, schedule, warned: None }
    }

    /// It is read next time, whenever it was due, and what is wrong is told again.
    fn read_soon(&mut self) {
        self.schedule.next = Instant::now();
        self.warned = None;
    }

    /// Reads the source, and where it has changed hands its content to `parse`. Whether it can be
    /// read and is good.
    fn read_if_changed<K>(
        &mut self,
        parse: impl FnOnce(&[u8]) -> Result<K, String>,
        take: impl FnOnce(K),
    ) -> bool {
        // A client of HTTP is much code, and the thread must go on: without it, logins would wait.
        let read = catch_unwind(AssertUnwindSafe(|| self.source.read()));
        let read = read.unwrap_or_else(|_| Err("reading it panicked".to_owned()));
        let read = read.and_then(|content| {
            let hash = digest(&SHA256, &content).as_ref().to_vec();
            let is_new = self.current.as_ref() != Some(&hash);
            let parsed = is_new.then(|| parse(&content)).transpose()?;
            Ok(parsed.map(|parsed| (parsed, hash)))
        });
        match read {
            Ok(changed) => {
                if self.warned.take().is_some() {
                    log::info!("{}: {} can be read again", self.variable, self.source);
                }
                if let Some((parsed, hash)) = changed {
                    take(parsed);
                    self.current = Some(hash);
                }
                true
            }
            Err(problem) => {
                self.warn_once_in_a_while(problem);
                false
            }
        }
    }

    /// Warns, of the same thing only now and then.
    fn warn_once_in_a_while(&mut self, problem: String) {
        let now = Instant::now();
        let is_told = self.warned.as_ref().is_some_and(|(warned, at)| {
            *warned == problem && now.saturating_duration_since(*at) < LOG_INTERVAL
        });
        if is_told {
            return;
        }
        let rest = if self.current.is_some() { "; the keys of before still count" } else { "" };
        log::warn!("{}: cannot use {}: {problem}{rest}", self.variable, self.source);
        self.warned = Some((problem, now));
    }
}

impl RefreshedSource<Weak<FetchedKeys>> {
    fn run_due(&mut self) -> Option<Instant> {
        let fetched = self.target.upgrade()?;
        let is_asked = fetched.state() == FetchState::Asked;
        if self.schedule.is_due(is_asked, Instant::now()) {
            let (source, variable) = (self.source.to_string(), self.variable);
            let good = self.read_if_changed(jwks::parse, |set| {
                for skipped in &set.skipped {
                    log::warn!("{variable}: {source}: {skipped}; it is left out");
                }
                log::info!("{variable}: {} keys of {source} count", set.keys.len());
                fetched.replace(set.keys);
            });
            self.schedule.done(good, is_asked, Instant::now());
        }
        let now = Instant::now();
        let state = self.schedule.state(now);
        // Whoever asked while the hub looked for another reason may have come too late for what
        // it found, and is served next.
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
            let (source, variable) = (self.source.to_string(), self.variable);
            let good = self.read_if_changed(ApiKeys::parse, |parsed| {
                log::info!("{variable}: {} keys of {source} count", parsed.len());
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

    /// The source was read, because a token asked or without that.
    fn done(&mut self, good: bool, asked: bool, now: Instant) {
        if !good {
            self.failures = self.failures.saturating_add(1);
            self.next = now + self.retry();
            return;
        }
        // The first reading is no token's: the next one may ask at once.
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

    /// When something happens next without anybody asking.
    fn wake(&self, now: Instant) -> Instant {
        let rested = self.rest_until.filter(|until| *until > now);
        rested.map_or(self.next, |until| until.min(self.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A plan for a server that has answered once, at this instant.
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
        // A look that nobody asked for changes nothing of that.
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
