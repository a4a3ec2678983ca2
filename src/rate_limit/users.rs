//! What each user may cost, over all connections, requests and reconnects.
//!
//! A connection takes its user's [`UserRates`] at login and holds them: an event then costs one
//! atomic operation, and no look at the table.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::quota::{Meter, Quota};
use crate::config::LimitsConfig;
use crate::ids::UserId;

/// How many users without a connection are remembered, while their rates are in use.
pub const MAX_AWAY: usize = 65_536;
/// With fewer users than this nobody is forgotten.
const MIN_SWEEP: usize = 4096;
/// How many reads over HTTP of one user run at a time; more wait for their turn.
const MAX_CONCURRENT_READS: usize = 4;
/// How long a user who was cut for a flood stays out.
pub const FLOOD_PAUSE: Duration = Duration::from_secs(10);

/// What is counted of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateKind {
    /// An event of a connection, or a post over HTTP; joins have their own rate.
    Event,
    /// A chat message, which is an event too.
    Chat,
    /// A join. Whoever looks after many orders joins all of them at once.
    Join,
    /// A login with a good token: a connection, a namespace of Socket.IO, another token.
    Login,
    /// A read over HTTP.
    Read,
}

/// The rates of one hub, which are the same for every user.
#[derive(Debug)]
pub struct UserLimits {
    quotas: [Quota; RateKind::COUNT],
    /// From when on the meters count.
    begun: Instant,
}

/// What one user has used.
#[derive(Debug)]
pub struct UserRates {
    limits: Arc<UserLimits>,
    meters: [Meter; RateKind::COUNT],
    /// Until when the user's handshakes wait, as [`UserLimits::nanos`]; 0 where they need not.
    flood_pause_until: AtomicU64,
    /// The turns to read; most users never read over HTTP.
    reads: OnceLock<Arc<Semaphore>>,
}

/// The rates of every user that is connected or has just been.
#[derive(Debug)]
pub struct UserRateTable {
    limits: Arc<UserLimits>,
    /// How many are remembered without a connection.
    max_away: usize,
    known: Mutex<RateEntries>,
}

#[derive(Debug, Default)]
struct RateEntries {
    users: HashMap<UserId, Arc<UserRates>>,
    /// With so many it is worth to look for those that can be forgotten.
    sweep_at: usize,
}

// === impl RateKind ===

impl RateKind {
    const COUNT: usize = 5;
}

// === impl UserLimits ===

impl UserLimits {
    /// As the settings say.
    pub fn new(limits: &LimitsConfig, begun: Instant) -> Self {
        // Without a limit of events there is none of joins, which were events once.
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

    /// An instant as meters count.
    fn nanos(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.begun);
        u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
    }
}

// === impl UserRates ===

impl UserRates {
    /// Of a user, or of a connection that nobody has logged in on, with nothing used.
    pub fn new(limits: Arc<UserLimits>) -> Self {
        let meters = std::array::from_fn(|_| Meter::default());
        Self { limits, meters, flood_pause_until: AtomicU64::new(0), reads: OnceLock::new() }
    }

    /// Takes one, if there is one.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&self, kind: RateKind, now: Instant) -> Result<(), Duration> {
        let quota = self.limits.quotas[kind as usize];
        self.meters[kind as usize].take(quota, self.limits.nanos(now)).map_err(Duration::from_nanos)
    }

    /// Takes one in advance; says from when on it may be used.
    pub fn reserve(&self, kind: RateKind, now: Instant) -> Instant {
        let (quota, at) = (self.limits.quotas[kind as usize], self.limits.nanos(now));
        let from = self.meters[kind as usize].reserve(quota, at);
        now + Duration::from_nanos(from.saturating_sub(at))
    }

    /// Waits for one of the user's turns to read.
    pub async fn acquire_read(&self) -> Option<OwnedSemaphorePermit> {
        let turns = self.reads.get_or_init(|| Arc::new(Semaphore::new(MAX_CONCURRENT_READS)));
        // They are never closed.
        Arc::clone(turns).acquire_owned().await.ok()
    }

    /// The user was cut for a flood: the next handshakes wait.
    pub fn start_flood_pause(&self, now: Instant) {
        self.flood_pause_until.store(self.limits.nanos(now + FLOOD_PAUSE), Ordering::Relaxed);
    }

    /// How much longer the user's handshakes wait; none where they need not.
    pub fn flood_wait(&self, now: Instant) -> Option<Duration> {
        let until = self.flood_pause_until.load(Ordering::Relaxed);
        let wait = until.saturating_sub(self.limits.nanos(now));
        (wait > 0).then(|| Duration::from_nanos(wait))
    }

    /// Whether a user who comes later would be the same if this was forgotten.
    fn is_unused(&self, now: Instant) -> bool {
        let at = self.limits.nanos(now);
        self.meters.iter().all(|meter| meter.is_unused(at)) && self.flood_wait(now).is_none()
    }
}

// === impl UserRateTable ===

impl UserRateTable {
    /// Of a hub that begins now.
    pub fn new(limits: UserLimits) -> Self {
        Self::with_room_for(MAX_AWAY, limits)
    }

    fn with_room_for(max_away: usize, limits: UserLimits) -> Self {
        Self { limits: Arc::new(limits), max_away, known: Mutex::default() }
    }

    /// The rates of a user.
    pub fn of(&self, user: &UserId, now: Instant) -> Arc<UserRates> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rates) = known.users.get(user) {
            return Arc::clone(rates);
        }
        if known.users.len() >= known.sweep_at {
            known.sweep(self.max_away, now);
        }
        let rates = Arc::new(UserRates::new(Arc::clone(&self.limits)));
        known.users.insert(user.clone(), Arc::clone(&rates));
        rates
    }

    /// The rates of a connection that nobody has logged in on yet.
    pub fn unauthenticated(&self) -> Arc<UserRates> {
        Arc::new(UserRates::new(Arc::clone(&self.limits)))
    }
}

// === impl RateEntries ===

impl RateEntries {
    /// Forgets those that are away and have nothing in use. Where too many are left that are away,
    /// all of these are forgotten, and may begin anew: that costs less than memory without end.
    fn sweep(&mut self, max_away: usize, now: Instant) {
        let is_here = |rates: &Arc<UserRates>| Arc::strong_count(rates) > 1;
        self.users.retain(|_, rates| is_here(rates) || !rates.is_unused(now));
        let here = self.users.values().filter(|rates| is_here(rates)).count();
        if self.users.len() - here >= max_away {
            self.users.retain(|_, rates| is_here(rates));
        }
        // Seldom enough that a user costs a few looks in all, soon enough to bound those away.
        let left = self.users.len();
        self.sweep_at = (2 * left).clamp(MIN_SWEEP.min(max_away), here + max_away);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn users(flags: &[&str], max_away: usize, begun: Instant) -> UserRateTable {
        let config = Config::from_flags(flags.iter().copied()).expect("settings");
        UserRateTable::with_room_for(max_away, UserLimits::new(&config.limits, begun))
    }

    fn id(name: &str) -> UserId {
        name.parse().expect("an id")
    }

    fn count(users: &UserRateTable) -> usize {
        users.known.lock().expect("no panic").users.len()
    }

    #[test]
    fn two_connections_of_a_user_have_one_rate_and_so_has_the_next_one() {
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
    fn those_whose_rates_are_unused_are_forgotten_first() {
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
        assert!(Arc::ptr_eq(&here, &users.of(&id("here"), later)), "one who is here stays");
    }

    #[test]
    fn memory_is_bounded_however_many_users_come_and_go() {
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
    fn one_who_flooded_waits_for_ten_seconds_and_is_remembered_so_long() {
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
