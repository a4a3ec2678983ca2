//! What webhooks are told of an order's driver: connected or not, and whether positions come while
//! customers wait for them.

use std::time::{Duration, Instant};

use crate::webhooks::event::EventKind;
use protocol::ids::UserId;

/// Watches the driver of one order.
#[derive(Debug)]
pub struct DriverWatch {
    /// How long a driver who is not connected counts as connected.
    grace: Duration,
    /// How long no position may come; zero is not watched.
    stale_after: Duration,
    /// The driver who was told as connected.
    online: Option<UserId>,
    /// When that ends, if the driver does not come back.
    gone_at: Option<Instant>,
    /// The driver whose positions customers wait for.
    expected: Option<UserId>,
    /// When the last position came, or since when it is waited for.
    fix_at: Instant,
    /// Whether that was too long ago, and told.
    is_stale: bool,
}

/// Something to tell of a driver.
pub type DriverNews = (EventKind, UserId);

// === impl DriverWatch ===

impl DriverWatch {
    /// A watch that knows of no driver yet.
    pub fn new(grace: Duration, stale_after: Duration, now: Instant) -> Self {
        Self {
            grace,
            stale_after,
            online: None,
            gone_at: None,
            expected: None,
            fix_at: now,
            is_stale: false,
        }
    }

    /// Looks at the driver who is connected and at the one whose positions customers wait for.
    pub fn observe(
        &mut self,
        connected: Option<&UserId>,
        expected: Option<&UserId>,
        now: Instant,
    ) -> Vec<DriverNews> {
        let mut news = Vec::new();
        self.watch_connection(connected, now, &mut news);
        if self.expected.as_ref() != expected {
            self.expected = expected.cloned();
            (self.fix_at, self.is_stale) = (now, false);
        }
        if self.stale_at().is_some_and(|at| at <= now)
            && let Some(driver) = &self.expected
        {
            news.push((EventKind::DriverStale, driver.clone()));
            self.is_stale = true;
        }
        news
    }

    fn watch_connection(
        &mut self,
        connected: Option<&UserId>,
        now: Instant,
        news: &mut Vec<DriverNews>,
    ) {
        if self.online.as_ref() == connected {
            self.gone_at = None;
            return;
        }
        if self.online.is_some() {
            let gone_at = *self.gone_at.get_or_insert(now + self.grace);
            // Another driver has come, or this one has not come back.
            if (connected.is_some() || gone_at <= now)
                && let Some(driver) = self.online.take()
            {
                news.push((EventKind::DriverOffline, driver));
            }
        }
        if let (None, Some(driver)) = (&self.online, connected) {
            self.online = Some(driver.clone());
            self.gone_at = None;
            news.push((EventKind::DriverOnline, driver.clone()));
        }
    }

    /// Notes that a position of a driver came.
    pub fn fix(&mut self, driver: &UserId, now: Instant) -> Option<DriverNews> {
        if self.expected.as_ref() != Some(driver) {
            return None;
        }
        self.fix_at = now;
        let was_stale = std::mem::take(&mut self.is_stale);
        was_stale.then(|| (EventKind::DriverFresh, driver.clone()))
    }

    fn stale_at(&self) -> Option<Instant> {
        let is_watched = self.expected.is_some() && !self.is_stale && !self.stale_after.is_zero();
        is_watched.then(|| self.fix_at + self.stale_after)
    }

    /// When it is to look again.
    pub fn next_due(&self) -> Option<Instant> {
        let gone_at = self.gone_at.filter(|_| self.online.is_some());
        gone_at.into_iter().chain(self.stale_at()).min()
    }

    /// Whether there will be nothing to tell until something happens.
    pub fn is_settled(&self) -> bool {
        self.next_due().is_none() && self.online.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn user(id: &str) -> UserId {
        id.parse().expect("an id")
    }

    fn told(news: Vec<DriverNews>) -> Vec<String> {
        news.iter().map(|(kind, driver)| format!("{} {driver}", kind.as_str())).collect()
    }

    fn watch() -> (DriverWatch, Instant) {
        let now = Instant::now();
        (DriverWatch::new(15 * SECOND, 60 * SECOND, now), now)
    }

    #[test]
    fn a_driver_who_comes_back_in_time_was_never_gone() {
        let ((mut watch, now), dan, eve) = (watch(), user("dan"), user("eve"));
        assert_eq!(told(watch.observe(Some(&dan), None, now)), ["driver.online dan"]);
        assert!(watch.observe(None, None, now).is_empty());
        assert_eq!(watch.next_due(), Some(now + 15 * SECOND));
        assert!(watch.observe(Some(&dan), None, now + 14 * SECOND).is_empty());
        assert_eq!(watch.next_due(), None);
        assert!(!watch.is_settled());
        watch.observe(None, None, now + 20 * SECOND);
        let gone = watch.observe(None, None, now + 35 * SECOND);
        assert_eq!((told(gone), watch.is_settled()), (vec!["driver.offline dan".to_owned()], true));
        watch.observe(Some(&dan), None, now);
        let next = told(watch.observe(Some(&eve), None, now));
        assert_eq!(next, ["driver.offline dan", "driver.online eve"]);
    }

    #[test]
    fn a_driver_without_positions_is_stale_once_and_then_fresh() {
        let ((mut watch, now), dan) = (watch(), user("dan"));
        assert!(watch.observe(None, Some(&dan), now).is_empty());
        assert_eq!(watch.fix(&dan, now + 30 * SECOND), None);
        assert_eq!(watch.fix(&user("eve"), now + 60 * SECOND), None);
        assert!(watch.observe(None, Some(&dan), now + 89 * SECOND).is_empty());
        let stale = watch.observe(None, Some(&dan), now + 90 * SECOND);
        assert_eq!((told(stale), watch.next_due()), (vec!["driver.stale dan".to_owned()], None));
        assert!(watch.observe(None, Some(&dan), now + 900 * SECOND).is_empty());
        let fresh = watch.fix(&dan, now + 901 * SECOND);
        assert_eq!(told(fresh.into_iter().collect()), ["driver.fresh dan"]);
        assert_eq!(watch.next_due(), Some(now + 961 * SECOND));
        assert!(watch.observe(None, None, now + 999 * SECOND).is_empty(), "nobody waits for them");
        assert!(watch.is_settled());
    }

    #[test]
    fn a_stale_time_of_zero_is_off() {
        let now = Instant::now();
        let mut watch = DriverWatch::new(SECOND, Duration::ZERO, now);
        assert!(watch.observe(None, Some(&user("dan")), now + 9999 * SECOND).is_empty());
    }
}
