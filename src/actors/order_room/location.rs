//! Locations: checked, put in order, and relayed in the latest-wins lane.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;

use super::membership::{LocationRight, Member, Sender};
use super::{OrderRoom, UpdateLocation};
use crate::actors::broadcast::Broadcast;
use crate::actors::peer::Peer;
use crate::actors::shared::unavailable;
use crate::ids::SessionId;
use crate::protocol::error::Failure;
use crate::protocol::server::{LocationUpdate, ServerEvent};
use crate::recent::RecentMap;
use crate::room::fix_times::normalize_time;
use crate::time::Timestamp;
use crate::transport::LatestKey;

/// The next key of a latest-wins lane, over all rooms: a session is in several.
static NEXT_LATEST_KEY: AtomicU64 = AtomicU64::new(0);

/// A new, unused key.
pub(super) fn next_latest_key() -> LatestKey {
    LatestKey(NEXT_LATEST_KEY.fetch_add(1, Ordering::Relaxed))
}

/// For how many members the outboxes are prefetched before the first push. Prefetched data of more
/// members would leave the processor's nearest cache before its turn.
const PREFETCHED: usize = 64;

/// A last position that changes is written at least this often, however far apart the points of the
/// trail are.
const MAX_SAVE_INTERVAL: Duration = Duration::from_secs(10);

/// What a room keeps of a driver.
pub(super) struct DriverLane {
    /// The key of the driver's positions in the latest-wins lane.
    pub(super) key: LatestKey,
    /// The time of the position that was last written.
    saved_ms: i64,
}

impl OrderRoom {
    /// Handles a fix. Returns whether a member is gone.
    pub(super) fn update_location(&mut self, update: UpdateLocation) -> bool {
        self.members.values().take(PREFETCHED).for_each(|member| member.outbox.prefetch());
        let UpdateLocation { session, at: came, mut fix, reply, .. } = update;
        let metrics = &self.shared.metrics;
        let driver = match sender(&mut self.members, &self.senders, session) {
            Some((Ok(driver), _)) => driver,
            Some((Err(failure), peer)) => {
                reply.refuse(Failure::clone(failure), Some(peer));
                return false;
            }
            None => {
                metrics.locations_dropped.inc();
                reply.refuse(unavailable("the session is not in the room any more"), None);
                return false;
            }
        };
        let at = Timestamp::now();
        if let Some(recorded_at) = &mut fix.recorded_at {
            let (settled, correction) = normalize_time(*recorded_at, at);
            *recorded_at = settled;
            if let Some(correction) = correction {
                metrics.position_times_corrected.inc(correction as usize);
            }
        }
        let accepted = self.track.accept(driver, &fix, at, came).is_some();
        reply.complete(accepted);
        if !accepted {
            metrics.locations_dropped.inc();
            return false;
        }
        self.publish_position(fix.battery, at)
    }

    /// Publishes a new last position: to the members, and from time to time, write-behind, to the
    /// database. Returns whether a member is gone.
    pub(super) fn publish_position(&mut self, battery: Option<f64>, at: Timestamp) -> bool {
        self.track_dirty = true;
        self.watch_fix();
        self.handle.stats.location(at);
        let Some(position) = self.track.last() else { return false };
        let taken_ms = position.taken_at().as_millis();
        let every = self.shared.config.rooms.trail_interval.min(MAX_SAVE_INTERVAL);
        let lane = match self.lanes.get_recent(&position.driver_id) {
            Some(lane) => lane,
            None => self.lanes.entry(position.driver_id.clone()).or_insert_with(DriverLane::new),
        };
        let (key, is_due) = (lane.key, lane.is_due(taken_ms, every));
        if is_due {
            self.shared.store.write_position_behind(&self.order, position);
        }
        self.broadcast_position(key, battery)
    }

    /// Sends the last position to every member that may see it. Returns whether a member is gone.
    fn broadcast_position(&mut self, lane: LatestKey, battery: Option<f64>) -> bool {
        let Some(position) = self.track.last() else { return false };
        let update = |battery| {
            ServerEvent::Location(LocationUpdate { order_id: &self.order, position, battery })
        };
        let mut public = Broadcast::new(update(None));
        let mut staff = battery.map(|_| Broadcast::new(update(battery)));
        let (mut delivered, mut gone) = (0, false);
        let taken_ms = position.taken_at().as_millis();
        let hears = |member: &&mut Member| member.visibility.shows(taken_ms) && !member.is_held();
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
            self.remove_closed_members();
        }
        gone
    }
}

// === impl DriverLane ===

impl DriverLane {
    fn new() -> Self {
        Self { key: next_latest_key(), saved_ms: i64::MIN }
    }

    /// Whether a position of this time is due to be written; if so, notes that it is. A time well
    /// before the last one is due too: the phone's clock was set back.
    fn is_due(&mut self, taken_ms: i64, every: Duration) -> bool {
        let is_due = Duration::from_millis(taken_ms.abs_diff(self.saved_ms)) >= every;
        if is_due {
            self.saved_ms = taken_ms;
        }
        is_due
    }
}

/// The driver for whom the positions of a session count, and the peer that is told where they do
/// not count.
fn sender<'a>(
    members: &'a mut RecentMap<SessionId, Member>,
    senders: &'a HashMap<SessionId, Sender, RandomState>,
    session: SessionId,
) -> Option<(&'a LocationRight, &'a Peer)> {
    match members.get_recent(&session) {
        Some(member) => Some((&member.location_right, &member.guard.peer)),
        None => senders.get(&session).map(|sender| (&sender.location_right, &*sender.guard.peer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_written_every_so_often() {
        let (mut lane, every) = (DriverLane::new(), Duration::from_secs(10));
        let mut due = |ms| lane.is_due(ms, every);
        assert!(due(5000), "the first");
        assert!(!due(5000) && !due(14_999));
        assert!(due(15_000));
        assert!(!due(5001), "a little back");
        assert!(due(-1), "well back");
        assert!(!due(9998) && due(9999));
    }
}
