//! Locations: judged, put in order, and relayed in the lane where the newest wins.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::entry::Member;
use super::{Locate, OrderRoom};
use crate::actors::broadcast::Broadcast;
use crate::auth::Identity;
use crate::ids::UserId;
use crate::protocol::client::Fix;
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
        self.track_dirty = true;
        self.handle.stats.location(at);
        self.relay(&driver, &locate.fix)
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
    fn relay(&mut self, driver: &UserId, fix: &Fix) -> bool {
        let lane = self.lane(driver);
        let Some(position) = self.track.last() else { return false };
        let update = |battery| {
            ServerEvent::Location(LocationUpdate { order_id: &self.order, position, battery })
        };
        let mut public = Broadcast::new(update(None));
        let mut staff = fix.battery.map(|_| Broadcast::new(update(fix.battery)));
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

    fn lane(&mut self, driver: &UserId) -> LatestKey {
        if let Some(lane) = self.lanes.get_recent(driver) {
            return *lane;
        }
        let lane = next_lane();
        self.lanes.insert(driver.clone(), lane);
        lane
    }
}

/// Whose positions these are, if they count.
fn permitted(verdict: &Result<(), Box<Failure>>, identity: &Identity) -> Result<UserId, Failure> {
    match verdict {
        Ok(()) => Ok(identity.user.clone()),
        Err(failure) => Err(Failure::clone(failure)),
    }
}
