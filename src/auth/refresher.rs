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
use super::keyring::{Fetched, State};
use super::reread::Reread;
use super::source::Source;

/// How often a file is looked at: so long a change takes to count.
const FILE_EVERY: Duration = Duration::from_secs(2);
/// How often a server is asked without need: so long a key that it withdrew may still count.
const SERVER_EVERY: Duration = Duration::from_secs(10 * 60);
/// At most so often tokens with unknown keys make the hub look.
const ASKED_EVERY: Duration = Duration::from_secs(60);
/// Before the first success nobody can log in, so that is tried for often.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// After a failure; doubles up to the next one.
const RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// The same problem is told so often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What is kept up to date. It ends when nobody uses the keys any more.
pub(super) struct Refresher {
    pub(super) jwks: Option<Refreshed<Weak<Fetched>>>,
    pub(super) api_keys: Option<Refreshed<Weak<ArcSwap<ApiKeys>>>>,
    /// Orders to read both at once.
    pub(super) reread: Arc<Reread>,
}

/// One source, and where what it says goes.
pub(super) struct Refreshed<T> {
    source: Arc<Source>,
    target: T,
    /// The variable that names the source, for the log.
    variable: &'static str,
    /// The hash of what counts now; none before the first success.
    current: Option<Vec<u8>>,
    plan: Plan,
    told: Option<(String, Instant)>,
}

/// When a source is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    every: Duration,
    /// The next time without being asked.
    next: Instant,
    /// Failures in a row.
    failures: u32,
    has_succeeded: bool,
    /// Until then it does not count that tokens ask.
    rest_until: Option<Instant>,
}

// === impl Refresher ===

impl Refresher {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system gives none.
    pub(super) fn start(mut self) -> std::io::Result<()> {
        let fetched = self.jwks.as_ref().and_then(|jwks| jwks.target.upgrade());
        let reread = Arc::clone(&self.reread);
        let running = thread::Builder::new().name("keys".to_owned()).spawn(move || {
            while let Some(next) = self.turn() {
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
    fn turn(&mut self) -> Option<Instant> {
        if self.reread.take() {
            self.jwks.iter_mut().for_each(Refreshed::hurry);
            self.api_keys.iter_mut().for_each(Refreshed::hurry);
        }
        let jwks = self.jwks.as_mut().and_then(Refreshed::<Weak<Fetched>>::turn);
        let api_keys = self.api_keys.as_mut().and_then(Refreshed::<Weak<ArcSwap<_>>>::turn);
        jwks.into_iter().chain(api_keys).min()
    }
}

// === impl Refreshed ===

impl<T> Refreshed<T> {
    pub(super) fn new(source: Arc<Source>, variable: &'static str, target: T) -> Self {
        let every = if source.is_file() { FILE_EVERY } else { SERVER_EVERY };
        let plan = Plan::new(every, Instant::now());
        Self { source, target, variable, current: None, plan, told: None }
    }

    /// It is read next time, whenever it was due, and what is wrong is told again.
    fn hurry(&mut self) {
        self.plan.next = Instant::now();
        self.told = None;
    }

    /// Reads the source, and where it has changed hands its content to `parse`. Whether it can be
    /// read and is good.
    fn look<K>(
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
                if self.told.take().is_some() {
                    log::info!("{}: {} can be read again", self.variable, self.source);
                }
                if let Some((parsed, hash)) = changed {
                    take(parsed);
                    self.current = Some(hash);
                }
                true
            }
            Err(problem) => {
                self.complain(problem);
                false
            }
        }
    }

    /// Warns, of the same thing only now and then.
    fn complain(&mut self, problem: String) {
        let now = Instant::now();
        let is_told = self.told.as_ref().is_some_and(|(told, at)| {
            *told == problem && now.saturating_duration_since(*at) < TOLD_EVERY
        });
        if is_told {
            return;
        }
        let rest = if self.current.is_some() { "; the keys of before still count" } else { "" };
        log::warn!("{}: cannot use {}: {problem}{rest}", self.variable, self.source);
        self.told = Some((problem, now));
    }
}

impl Refreshed<Weak<Fetched>> {
    fn turn(&mut self) -> Option<Instant> {
        let fetched = self.target.upgrade()?;
        let is_asked = fetched.state() == State::Asked;
        if self.plan.is_due(is_asked, Instant::now()) {
            let (source, variable) = (self.source.to_string(), self.variable);
            let good = self.look(jwks::parse, |set| {
                for skipped in &set.skipped {
                    log::warn!("{variable}: {source}: {skipped}; it is left out");
                }
                log::info!("{variable}: {} keys of {source} count", set.keys.len());
                fetched.replace(set.keys);
            });
            self.plan.done(good, is_asked, Instant::now());
        }
        let now = Instant::now();
        let state = self.plan.state(now);
        // Whoever asked while the hub looked for another reason may have come too late for what
        // it found, and is served next.
        let next = fetched.settle(|current| match current {
            State::Asked if !is_asked => State::Asked,
            _ => state,
        });
        Some(if next == State::Asked { now } else { self.plan.wake(now) })
    }
}

impl Refreshed<Weak<ArcSwap<ApiKeys>>> {
    fn turn(&mut self) -> Option<Instant> {
        let keys = self.target.upgrade()?;
        let now = Instant::now();
        if self.plan.is_due(false, now) {
            let (source, variable) = (self.source.to_string(), self.variable);
            let good = self.look(ApiKeys::parse, |parsed| {
                log::info!("{variable}: {} keys of {source} count", parsed.len());
                keys.store(Arc::new(parsed));
            });
            self.plan.done(good, false, now);
        }
        Some(self.plan.wake(now))
    }
}

// === impl Plan ===

impl Plan {
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
            self.rest_until = Some(now + ASKED_EVERY);
        }
        (self.failures, self.has_succeeded) = (0, true);
        self.next = now + self.every;
    }

    fn retry(&self) -> Duration {
        let wait = if self.has_succeeded {
            let doubled = RETRY.saturating_mul(1 << (self.failures.saturating_sub(1)).min(8));
            doubled.min(LONGEST_RETRY)
        } else {
            FIRST_RETRY
        };
        wait.min(self.every)
    }

    fn state(&self, now: Instant) -> State {
        match self.rest_until {
            _ if self.failures > 0 => State::Down,
            Some(until) if now < until => State::Resting,
            _ => State::Calm,
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
    fn answered() -> (Plan, Instant) {
        let now = Instant::now();
        let mut plan = Plan::new(SERVER_EVERY, now);
        assert!(plan.is_due(false, now));
        plan.done(true, true, now);
        (plan, now)
    }

    #[test]
    fn the_first_reading_leaves_the_next_token_free_to_ask() {
        let (plan, now) = answered();
        assert_eq!(plan.state(now), State::Calm);
        assert_eq!(plan.wake(now), now + SERVER_EVERY);
        assert!(!plan.is_due(false, now + SECOND));
        assert!(plan.is_due(true, now) && plan.is_due(false, now + SERVER_EVERY));
    }

    #[test]
    fn tokens_make_the_hub_look_once_a_minute() {
        let (mut plan, now) = answered();
        plan.done(true, true, now + SECOND);
        let rested = now + SECOND + ASKED_EVERY;
        assert_eq!(plan.state(now + ASKED_EVERY), State::Resting);
        assert_eq!(plan.wake(now + SECOND), rested);
        assert_eq!(plan.state(rested), State::Calm);
        // A look that nobody asked for changes nothing of that.
        plan.done(true, false, now + 2 * SECOND);
        assert_eq!(plan.state(now + ASKED_EVERY), State::Resting);
    }

    #[test]
    fn a_server_that_is_down_is_asked_less_and_less_often() {
        let (mut plan, mut now) = answered();
        for wait in [5, 10, 20, 40, 60, 60] {
            plan.done(false, true, now);
            assert_eq!(plan.state(now), State::Down);
            assert_eq!(plan.wake(now), now + wait * SECOND);
            now += wait * SECOND;
        }
        (0..100).for_each(|_| plan.done(false, false, now));
        assert_eq!(plan.wake(now), now + LONGEST_RETRY);
        plan.done(true, false, now);
        assert_eq!((plan.state(now), plan.wake(now)), (State::Calm, now + SERVER_EVERY));
    }

    #[test]
    fn before_the_first_success_it_is_tried_for_often() {
        let now = Instant::now();
        let mut plan = Plan::new(SERVER_EVERY, now);
        (0..9).for_each(|_| plan.done(false, true, now));
        assert_eq!((plan.state(now), plan.wake(now)), (State::Down, now + FIRST_RETRY));
    }

    #[test]
    fn a_file_is_looked_at_as_often_when_it_is_broken() {
        let now = Instant::now();
        let mut plan = Plan::new(FILE_EVERY, now);
        plan.done(true, false, now);
        (0..9).for_each(|_| plan.done(false, false, now));
        assert_eq!(plan.wake(now), now + FILE_EVERY);
    }
}
