//! The rates of each user, over all connections, requests and reconnects.
//!
//! A session looks up its user's [`UserRates`] once and holds them: an event then costs one atomic
//! operation, and no lookup in the table.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::quota::{Meter, Quota};
use crate::config::LimitsConfig;
use protocol::ids::UserId;

/// How many users without a connection are kept while their rates are in use.
pub const MAX_DISCONNECTED: usize = 65_536;
/// With fewer users than this the table is not swept.
const MIN_SWEEP: usize = 4096;
/// How many HTTP reads of one user run at a time; further ones wait.
const MAX_CONCURRENT_READS: usize = 4;
/// How long a user who was disconnected for a flood stays out.
pub const FLOOD_PAUSE: Duration = Duration::from_secs(10);

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateKind {
    /// An event of a connection, or a post over HTTP; joins have their own rate.
    Event,
    /// A chat message, which is an event too.
    Chat,
    /// A join. A user who watches many orders joins all of them at once.
    Join,
    /// An authentication with a valid token: a connection, a Socket.IO namespace, or a token
    /// refresh.
    Login,
    /// A read over HTTP.
    Read,
}

/// The rates of one hub, which are the same for every user.
#[derive(Debug)]
pub struct UserLimits {
    quotas: [Quota; RateKind::COUNT],
    /// Time 0 of the meters.
    begun: Instant,
}

/// What one user has used.
#[derive(Debug)]
pub struct UserRates {
    limits: Arc<UserLimits>,
    meters: [Meter; RateKind::COUNT],
    /// Until when the user's handshakes wait, as [`UserLimits::nanos`]; 0 where they do not wait.
    flood_pause_until: AtomicU64,
    /// Bounds concurrent HTTP reads; most users never read over HTTP.
    reads: OnceLock<Arc<Semaphore>>,
}

/// The rates of every user that is connected or was recently.
#[derive(Debug)]
pub struct UserRateTable {
    limits: Arc<UserLimits>,
    /// How many are kept without a connection.
    max_disconnected: usize,
    known: Mutex<RateEntries>,
}

#[derive(Debug, Default)]
struct RateEntries {
    users: HashMap<UserId, Arc<UserRates>>,
    /// The number of users at which the next sweep runs.
    sweep_at: usize,
}

// === impl RateKind ===

impl RateKind {
    const COUNT: usize = 5;
}

// === impl UserLimits ===

impl UserLimits {
    /// The limits of the settings.
    pub fn new(limits: &LimitsConfig, begun: Instant) -> Self {
        // Without a limit of events there is none of joins, which once counted as events.
        let joins = if limits.events_per_second == 0 { 0 } else { limits.joins_per_second };
        let quotas = [
            Quota::new(limits.events_per_second, limits.events_burst),
            Quota::new(limits.chat_per_second, limits.chat_burst),
            Quota::new(joins, limits.joins_burst),
            Quota::new(limits.logins_per_second, limits.logins_burst),
            Quota::new(limits.reads_per_second, limits.reads_burst),
        ];
        Self { quotas, begun }
    }

    /// An instant in nanoseconds of the meters.
    fn nanos(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.begun);
        u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
    }
}

// === impl UserRates ===

impl UserRates {
    /// The rates of a user, or of an unauthenticated connection, with nothing used.
    pub fn new(limits: Arc<UserLimits>) -> Self {
        let meters = std::array::from_fn(|_| Meter::default());
        Self { limits, meters, flood_pause_until: AtomicU64::new(0), reads: OnceLock::new() }
    }

    /// Takes one, if the rate allows it.
    ///
    /// # Errors
    /// How long until one may be taken.
    pub fn take(&self, kind: RateKind, now: Instant) -> Result<(), Duration> {
        let quota = self.limits.quotas[kind as usize];
        self.meters[kind as usize].take(quota, self.limits.nanos(now)).map_err(Duration::from_nanos)
    }

    /// Reserves one in advance. Returns when it may be used.
    pub fn reserve(&self, kind: RateKind, now: Instant) -> Instant {
        let (quota, at) = (self.limits.quotas[kind as usize], self.limits.nanos(now));
        let from = self.meters[kind as usize].reserve(quota, at);
        now + Duration::from_nanos(from.saturating_sub(at))
    }

    /// Waits until the user may run one more HTTP read.
    pub async fn acquire_read(&self) -> Option<OwnedSemaphorePermit> {
        let turns = self.reads.get_or_init(|| Arc::new(Semaphore::new(MAX_CONCURRENT_READS)));
        // The semaphore is never closed.
        Arc::clone(turns).acquire_owned().await.ok()
    }

    /// Starts the pause after a flood: the user's next handshakes wait.
    pub fn start_flood_pause(&self, now: Instant) {
        self.flood_pause_until.store(self.limits.nanos(now + FLOOD_PAUSE), Ordering::Relaxed);
    }

    /// How much longer the user's handshakes wait. `None` where they do not wait.
    pub fn flood_wait(&self, now: Instant) -> Option<Duration> {
        let until = self.flood_pause_until.load(Ordering::Relaxed);
        let wait = until.saturating_sub(self.limits.nanos(now));
        (wait > 0).then(|| Duration::from_nanos(wait))
    }

    /// Whether nothing is lost if these rates are forgotten.
    fn is_unused(&self, now: Instant) -> bool {
        let at = self.limits.nanos(now);
        self.meters.iter().all(|meter| meter.is_unused(at)) && self.flood_wait(now).is_none()
    }
}

// === impl UserRateTable ===

impl UserRateTable {
    /// The table of a hub that starts now.
    pub fn new(limits: UserLimits) -> Self {
        Self::with_room_for(MAX_DISCONNECTED, limits)
    }

    fn with_room_for(max_disconnected: usize, limits: UserLimits) -> Self {
        Self { limits: Arc::new(limits), max_disconnected, known: Mutex::default() }
    }

    /// The rates of a user.
    pub fn of(&self, user: &UserId, now: Instant) -> Arc<UserRates> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rates) = known.users.get(user) {
            return Arc::clone(rates);
        }
        if known.users.len() >= known.sweep_at {
            known.sweep(self.max_disconnected, now);
        }
        let rates = Arc::new(UserRates::new(Arc::clone(&self.limits)));
        known.users.insert(user.clone(), Arc::clone(&rates));
        rates
    }

    /// The rates of an unauthenticated connection.
    pub fn unauthenticated(&self) -> Arc<UserRates> {
        Arc::new(UserRates::new(Arc::clone(&self.limits)))
    }
}

// === impl RateEntries ===

impl RateEntries {
    /// Forgets users without a connection whose rates are unused. Where too many of those without a
    /// connection are left, all of them are forgotten and start with unused rates: memory must stay
    /// bounded.
    fn sweep(&mut self, max_disconnected: usize, now: Instant) {
        let is_connected = |rates: &Arc<UserRates>| Arc::strong_count(rates) > 1;
        self.users.retain(|_, rates| is_connected(rates) || !rates.is_unused(now));
        let connected = self.users.values().filter(|rates| is_connected(rates)).count();
        if self.users.len() - connected >= max_disconnected {
            self.users.retain(|_, rates| is_connected(rates));
        }
        // Rare enough that a user costs few checks in all, and frequent enough to bound the users
        // without a connection.
        let left = self.users.len();
        self.sweep_at =
            (2 * left).clamp(MIN_SWEEP.min(max_disconnected), connected + max_disconnected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn users(flags: &[&str], max_disconnected: usize, begun: Instant) -> UserRateTable {
        let config = Config::from_flags(flags.iter().copied()).expect("settings");
        UserRateTable::with_room_for(max_disconnected, UserLimits::new(&config.limits, begun))
    }

    fn id(name: &str) -> UserId {
        name.parse().expect("an id")
    }

    fn count(users: &UserRateTable) -> usize {
        users.known.lock().expect("no panic").users.len()
    }

    #[test]
    fn all_connections_of_a_user_share_one_rate_over_time() {
        let begun = Instant::now();
        let users = users(&["--chat-per-second=5", "--chat-burst=10"], 100, begun);
        let (one, other) = (users.of(&id("ann"), begun), users.of(&id("ann"), begun));
        assert!((0..5).all(|_| one.take(RateKind::Chat, begun).is_ok()));
        assert!((0..5).all(|_| other.take(RateKind::Chat, begun).is_ok()));
        assert!(
            one.take(RateKind::Chat, begun).is_err() && other.take(RateKind::Chat, begun).is_err()
        );
        drop((one, other));
        let back = users.of(&id("ann"), begun);
        assert_eq!(back.take(RateKind::Chat, begun), Err(Duration::from_millis(200)));
        assert!(users.of(&id("bob"), begun).take(RateKind::Chat, begun).is_ok());
        assert_eq!(back.take(RateKind::Event, begun), Ok(()), "each kind has its own rate");
    }

    #[test]
    fn users_with_unused_rates_are_forgotten_first() {
        let begun = Instant::now();
        let users = users(&["--events-per-second=1", "--events-burst=2"], 3, begun);
        let here = users.of(&id("here"), begun);
        for name in ["ann", "bob"] {
            users.of(&id(name), begun).take(RateKind::Event, begun).expect("the first");
        }
        users.of(&id("ann"), begun).take(RateKind::Event, begun).expect("the second");
        // Bob's rate is unused again, Ann's is not.
        let later = begun + Duration::from_millis(1500);
        for name in ["carl", "dan"] {
            users.of(&id(name), later);
        }
        assert!(count(&users) <= 5, "{}", count(&users));
        let ann = users.of(&id("ann"), later);
        assert_eq!(ann.take(RateKind::Event, later), Ok(()));
        assert!(ann.take(RateKind::Event, later).is_err(), "still remembered");
        assert!(Arc::ptr_eq(&here, &users.of(&id("here"), later)), "a connected user stays");
    }

    #[test]
    fn memory_is_bounded_for_any_number_of_users() {
        let begun = Instant::now();
        let users = users(&[], 50, begun);
        let here: Vec<_> = (0..20).map(|n| users.of(&id(&format!("here-{n}")), begun)).collect();
        for number in 0..10_000 {
            users.of(&id(&format!("u{number}")), begun).take(RateKind::Event, begun).expect("one");
        }
        assert!(count(&users) <= 20 + 2 * 50, "{}", count(&users));
        assert!(Arc::ptr_eq(&here[7], &users.of(&id("here-7"), begun)));
    }

    #[test]
    fn a_flood_pause_lasts_ten_seconds_and_is_remembered_as_long() {
        let begun = Instant::now();
        let users = users(&[], 50, begun);
        assert_eq!(users.of(&id("ann"), begun).flood_wait(begun), None);
        users.of(&id("ann"), begun).start_flood_pause(begun);
        let later = begun + Duration::from_secs(4);
        users.known.lock().expect("no panic").sweep(50, later);
        assert_eq!(users.of(&id("ann"), later).flood_wait(later), Some(Duration::from_secs(6)));
        assert_eq!(users.of(&id("ann"), later).flood_wait(begun + FLOOD_PAUSE), None);
        users.known.lock().expect("no panic").sweep(50, begun + FLOOD_PAUSE);
        assert_eq!(count(&users), 0);
    }

    #[test]
    fn the_defaults_let_three_devices_start_and_a_desk_join_two_hundred_orders() {
        let begun = Instant::now();
        let users = users(&[], 50, begun);
        let desk = users.of(&id("desk"), begun);
        assert!((0..10).all(|_| desk.take(RateKind::Login, begun).is_ok()));
        assert!((0..200).all(|_| desk.take(RateKind::Join, begun).is_ok()));
        assert!((0..200).all(|_| desk.take(RateKind::Read, begun).is_ok()));
        let phones = users.of(&id("ann"), begun);
        for _ in 0..3 {
            assert!(phones.take(RateKind::Login, begun).is_ok());
            assert!((0..10).all(|_| phones.take(RateKind::Event, begun).is_ok()));
        }
    }
}
