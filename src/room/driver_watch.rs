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

    /// Looks at the drivers who are connected and at the one who is assigned. `is_shown` says whether
    /// customers wait for positions.
    pub fn observe(
        &mut self,
        connected: &[&UserId],
        assigned: Option<&UserId>,
        is_shown: bool,
        now: Instant,
    ) -> Vec<DriverNews> {
        let mut news = Vec::new();
        let told = connected.iter().copied().find(|driver| self.online.as_ref() == Some(driver));
        let connected = told.or(connected.first().copied());
        self.watch_connection(connected, now, &mut news);
        let expected = assigned.or(connected).filter(|_| is_shown);
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
        let mut see = |connected: &[&UserId], secs| {
            let news = told(watch.observe(connected, None, false, now + secs * SECOND));
            (news, watch.next_due(), watch.is_settled())
        };
        assert_eq!(see(&[&dan], 0).0, ["driver.online dan"]);
        assert_eq!(see(&[], 0), (vec![], Some(now + 15 * SECOND), false));
        assert_eq!(see(&[&dan], 14), (vec![], None, false));
        see(&[], 20);
        assert_eq!(see(&[], 35), (vec!["driver.offline dan".to_owned()], None, true));
        see(&[&dan], 40);
        assert_eq!(see(&[&eve], 41).0, ["driver.offline dan", "driver.online eve"]);
    }

    #[test]
    fn of_two_drivers_the_one_told_as_online_is_told_as_offline() {
        let ((mut watch, now), dan, eve) = (watch(), user("dan"), user("eve"));
        let mut see =
            |connected: &[&UserId]| told(watch.observe(connected, None, true, now + 30 * SECOND));
        assert_eq!(see(&[&dan, &eve]), ["driver.online dan"]);
        assert!(see(&[&eve, &dan]).is_empty());
        assert_eq!(see(&[&eve]), ["driver.offline dan", "driver.online eve"]);
        // Nor does it begin the wait for positions anew who of the two comes first.
        assert!(watch.observe(&[&dan, &eve], None, true, now + 80 * SECOND).is_empty());
        let stale = told(watch.observe(&[&dan, &eve], None, true, now + 90 * SECOND));
        assert_eq!(stale, ["driver.stale eve"]);
    }

    #[test]
    fn a_driver_without_positions_is_stale_once_and_then_fresh() {
        let ((mut watch, now), dan) = (watch(), user("dan"));
        let see = |watch: &mut DriverWatch, is_shown, secs| {
            told(watch.observe(&[], Some(&dan), is_shown, now + secs * SECOND))
        };
        assert!(see(&mut watch, true, 0).is_empty());
        assert_eq!(watch.fix(&dan, now + 30 * SECOND), None);
        assert_eq!(watch.fix(&user("eve"), now + 60 * SECOND), None);
        assert!(see(&mut watch, true, 89).is_empty());
        assert_eq!(see(&mut watch, true, 90), ["driver.stale dan"]);
        assert_eq!(watch.next_due(), None);
        assert!(see(&mut watch, true, 900).is_empty());
        let fresh = watch.fix(&dan, now + 901 * SECOND);
        assert_eq!(told(fresh.into_iter().collect()), ["driver.fresh dan"]);
        assert_eq!(watch.next_due(), Some(now + 961 * SECOND));
        assert!(see(&mut watch, false, 999).is_empty(), "nobody waits for them");
        assert!(watch.is_settled());
    }

    #[test]
    fn a_stale_time_of_zero_is_off() {
        let (now, dan) = (Instant::now(), user("dan"));
        let mut watch = DriverWatch::new(SECOND, Duration::ZERO, now);
        assert!(watch.observe(&[], Some(&dan), true, now + 9999 * SECOND).is_empty());
    }
}
