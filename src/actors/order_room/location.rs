//! Locations: judged, put in order, and relayed in the lane where the newest wins.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::entry::Member;
use super::{Locate, OrderRoom};
use crate::actors::broadcast::Broadcast;
use crate::auth::Identity;
use crate::ids::UserId;
use crate::protocol::error::Failure;
use crate::protocol::server::{LocationUpdate, ServerEvent};
use crate::time::Timestamp;
use crate::transport::LatestKey;

use crate::actors::shared::unavailable;

/// The next key of a latest-wins lane, over all rooms: a session is in several.
static NEXT_LANE: AtomicU64 = AtomicU64::new(0);

/// A key that was not used before.
pub(super) fn next_lane() -> LatestKey {
    LatestKey(NEXT_LANE.fetch_add(1, Ordering::Relaxed))
}

/// How often a last position that changes is written at least, however far apart the points of
/// the trail are.
const LAST_AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// What a room remembers of a driver.
pub(super) struct Lane {
    /// The key of the driver's positions in the latest-wins lane.
    pub(super) key: LatestKey,
    /// When the driver was where the position says that was last written.
    kept_ms: i64,
}

impl OrderRoom {
    /// Takes a fix. True where a member turned out to be gone.
    pub(super) fn locate(&mut self, locate: Locate, now: Instant) -> bool {
        let (driver, verdict) = match self.may_locate(&locate) {
            Ok(driver) => (driver, locate.verdict),
            Err(failure) => {
                locate.verdict.refuse(failure);
                return false;
            }
        };
        let at = Timestamp::now();
        let accepted = self.track.accept(&driver, &locate.fix, at, now).is_some();
        verdict.taken(accepted);
        if !accepted {
            self.shared.metrics.locations_dropped.inc();
            return false;
        }
        self.took(&driver, locate.fix.battery, at)
    }

    /// The last position is a new one of this driver: it goes to the members, and every so often
    /// behind them to the database. True where a member turned out to be gone.
    pub(super) fn took(&mut self, driver: &UserId, battery: Option<f64>, at: Timestamp) -> bool {
        self.track_dirty = true;
        self.handle.stats.location(at);
        let Some(position) = self.track.last() else { return false };
        let taken_ms = position.taken_at().as_millis();
        let every = self.shared.config.rooms.trail_interval.min(LAST_AT_LEAST_EVERY);
        let lane = match self.lanes.get_recent(driver) {
            Some(lane) => lane,
            None => self.lanes.entry(driver.clone()).or_insert_with(Lane::new),
        };
        let (key, is_due) = (lane.key, lane.is_due(taken_ms, every));
        if is_due {
            self.shared.store.keep_behind(&self.order, position);
        }
        self.relay(key, battery)
    }

    /// The driver, by whom the fix counts.
    fn may_locate(&mut self, locate: &Locate) -> Result<UserId, Failure> {
        if let Some(member) = self.members.get_recent(&locate.session) {
            permitted(&member.may_locate, &member.identity)
        } else if let Some(sender) = self.senders.get(&locate.session) {
            permitted(&sender.may_locate, &sender.identity)
        } else {
            Err(unavailable("the session is not in the room any more"))
        }
    }

    /// Sends the last position to every member. True where one turned out to be gone.
    fn relay(&mut self, lane: LatestKey, battery: Option<f64>) -> bool {
        let Some(position) = self.track.last() else { return false };
        let update = |battery| {
            ServerEvent::Location(LocationUpdate { order_id: &self.order, position, battery })
        };
        let mut public = Broadcast::new(update(None));
        let mut staff = battery.map(|_| Broadcast::new(update(battery)));
        let (mut delivered, mut gone) = (0, false);
        let hears = |member: &&mut Member| member.sees_location && !member.is_held();
        for member in self.members.values_mut().filter(hears) {
            let frame = match &mut staff {
                Some(staff) if member.identity.role.is_staff() => staff.frame(member.codec),
                _ => public.frame(member.codec),
            };
            match member.outbox.push_latest(lane, frame) {
                Ok(()) => delivered += 1,
                Err(_) => gone = true,
            }
        }
        let metrics = &self.shared.metrics;
        metrics.events_out.inc(update(None).index());
        metrics.deliveries.inc_by(delivered);
        if gone {
            self.drop_the_gone();
        }
        gone
    }
}

// === impl Lane ===

impl Lane {
    fn new() -> Self {
        Self { key: next_lane(), kept_ms: i64::MIN }
    }

    /// Whether a position of this time is to be written, and then notes that it is. Also one from
    /// well before the last: the phone's clock was set back.
    fn is_due(&mut self, taken_ms: i64, every: Duration) -> bool {
        let is_due = Duration::from_millis(taken_ms.abs_diff(self.kept_ms)) >= every;
        if is_due {
            self.kept_ms = taken_ms;
        }
        is_due
    }
}

/// Whose positions these are, if they count.
fn permitted(verdict: &Result<(), Box<Failure>>, identity: &Identity) -> Result<UserId, Failure> {
    match verdict {
        Ok(()) => Ok(identity.user.clone()),
        Err(failure) => Err(Failure::clone(failure)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_written_every_so_often() {
        let (mut lane, every) = (Lane::new(), Duration::from_secs(10));
        let mut due = |ms| lane.is_due(ms, every);
        assert!(due(5000), "the first");
        assert!(!due(5000) && !due(14_999));
        assert!(due(15_000));
        assert!(!due(5001), "a little back");
        assert!(due(-1), "well back");
        assert!(!due(9998) && due(9999));
    }
}
